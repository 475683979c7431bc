"""A folder of files gives the rows that a tar of the same files gives, and the same reasons for faults."""

import json
import os

import pytest

from pipeline.pool.kinds.tars import Tars
from pipeline.pool.shards import Shard
from tests.pipeline.pool.kinds.made_folders import (
    JPEG,
    default,
    kind,
    put,
    read,
    rows_of,
)
from tests.support.decided_pool import jpeg, write_tar

FORMATS = ("jpg", "gif", "heic", "tif")
UID = "0123456789abcdef" * 2
SETS = {
    "whole": ["1.jpg", "1.txt", ("1.json", b'{"original_width": 640, "original_height": 480}')],
    "suffixes": ["1.png", "2.jpeg", "3.webp", "4.JPG", "4.Txt", "5.gif", "6.jpg", "6.png"],
    "a caption in the json alone": ["1.jpg", ("1.json", b'{"caption": "a dog"}')],
    "a picture without caption": ["1.jpg", "1.json"],
    "a caption without picture": ["0.jpg", "1.txt", "1.json"],
    "a json without the rest": ["0.jpg", "1.json"],
    "nothing but a picture": ["1.jpg"],
    "a json that cannot be parsed": ["1.jpg", ("1.json", b"{"), "2.jpg", ("2.json", b"[1]")],
    "an empty picture": [("1.jpg", b""), "1.txt"],
    "a picture of garbage": [("1.jpg", b"garbage"), "1.txt"],
    "bytes that are not UTF-8": ["1.jpg", ("1.txt", b"caf\xe9")],
    "an own uid": ["1.jpg", ("1.json", json.dumps({"uid": UID.upper()}).encode())],
    "a uid of text and url": ["1.jpg", "1.txt", ("1.json", b'{"url": "http://x/1"}')],
    "the same name in two cases": ["1.JPG", "1.jpg", "1.txt"],
    "dots in names": ["v1.5_cat.jpg", "v1.5_cat.txt", "v1.6_dog.jpg"],
    "compound suffixes": ["d.jpg", "d.seg.png", "d.txt", ("d.embedding.npy", b"123")],
    "names without a dot, or that begin with one": ["1.jpg", "LICENSE", ".DS_Store", "__meta__"],
    "blanks and signs": ["a b#c%20?.jpg", "a b#c%20?.txt", "-o.jpg"],
}


@pytest.mark.parametrize("name", SETS)
def test_rows_equal_those_of_a_tar(tmp_path, name):
    put(tmp_path / "pool", *SETS[name])
    both = [file if isinstance(file, tuple) else (file, default(file)) for file in SETS[name]]
    write_tar(tmp_path / "00000.tar", sorted(both))
    tar = rows_of(Tars((), {}), [Shard("00000", f"{tmp_path}/00000.tar")])
    found = read(tmp_path / "pool")
    assert len(found) == len(tar) > 0
    ranges = ("offset", "length", "image_offset")
    for row, expected in zip(found, tar, strict=True):
        assert {n: v for n, v in row.items() if n not in ranges} == {
            n: v for n, v in expected.items() if n not in ranges
        }
        assert (row["offset"], row["image_offset"]) == (None, None)
    sizes = dict(both)
    assert sum(row["length"] for row in found) == sum(
        len(data) for file, data in sizes.items() if file[0] != "." and "." in file
    )


def test_names_that_are_not_utf8(tmp_path):
    """Two files whose names are not UTF-8 stay two samples, with two uids, and are exported as two."""
    put(tmp_path, (b"\xfe.jpg", jpeg(1)), (b"\xff.jpg", jpeg(2)), (b"\xff.txt", b"a"), "a.jpg")
    files = kind(tmp_path)
    (shard,) = files.list_shards().shards
    rows = rows_of(files, [shard])
    assert [row["key"] for row in rows] == ["a", "%FE", "%FF"]
    assert [row["image"] for row in rows] == [JPEG, jpeg(1), jpeg(2)]
    assert len({row["uid"] for row in rows}) == 3
    with files.members(shard) as members_of:
        found = [[(suffix, bytes(data)) for suffix, data in members_of(row)] for row in rows]
    assert found == [[("jpg", JPEG)], [("jpg", jpeg(1))], [("jpg", jpeg(2)), ("txt", b"a")]]


def test_names_without_picture_caption_and_json_are_passed_over(tmp_path):
    put(tmp_path, "1.jpg", "metadata.csv", "weights.npy")
    assert [row["key"] for row in read(tmp_path)] == ["1"]


def test_pictures_of_other_formats_are_read(tmp_path):
    put(tmp_path, "1.jpg", "2.gif", "3.HEIC", "4.Tif")
    rows = read(tmp_path)
    assert [(row["key"], row["image_format"]) for row in rows] == [*zip("1234", FORMATS, strict=True)]
    assert {row["error"] for row in rows} == {"no caption; no json"}


def test_links_to_files_are_read_as_the_files(tmp_path):
    put(tmp_path / "pool", "1.txt", "2.jpg")
    put(tmp_path / "outside", "1.jpg", ("caption", b"elsewhere"))
    (tmp_path / "pool" / "1.jpg").symlink_to(tmp_path / "outside" / "1.jpg")
    (tmp_path / "pool" / "2.txt").symlink_to(tmp_path / "outside" / "caption")
    rows = read(tmp_path / "pool")
    assert [(r["key"], r["text"], r["image"], r["error"]) for r in rows] == [
        ("1", "text of 1.txt", JPEG, "no json"),
        ("2", "elsewhere", JPEG, "no json"),
    ]


def test_a_file_that_is_too_large(tmp_path):
    put(tmp_path, "1.jpg", "1.txt")
    os.truncate(tmp_path / "1.jpg", (256 << 20) + 1)
    (row,) = read(tmp_path)
    assert row["error"] == "image member larger than 256 MiB; no json"
    assert (row["image"], row["image_length"]) == (None, (256 << 20) + 1)


def test_batches_are_cut_by_rows_and_by_bytes(tmp_path, monkeypatch):
    put(tmp_path, *(f"{i}.jpg" for i in range(7)))
    files = kind(tmp_path)
    (shard,) = files.list_shards().shards
    assert [len(frame) for frame, _ in files.read(shard, 3, {})] == [3, 3, 1]
    monkeypatch.setattr("pipeline.pool.tar_reader.cut.__defaults__", (2 * len(JPEG) + 1, True))
    assert [len(frame) for frame, _ in files.read(shard, 100, {})] == [2, 2, 2, 1]

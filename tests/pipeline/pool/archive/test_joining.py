"""Unsorted tars: samples are joined by key within a window, and beyond it the tar is called unsorted."""

import random

import pytest

from pipeline.pool.fields import Limits
from pipeline.pool.kinds.tars import Tars
from pipeline.pool.shards import Shard
from pipeline.pool.tar_reader import read_samples
from tests.pipeline.pool.made_samples import make, rows_of

KEYS = [f"{i:03}" for i in range(60)]
SUFFIXES = ("jpg", "txt", "json")
SORTED = [f"{key}.{suffix}" for key in KEYS for suffix in SUFFIXES]
ORDERS = {
    "a suffix at a time": [f"{key}.{suffix}" for suffix in SUFFIXES for key in KEYS],
    "captions first": [f"{key}.{suffix}" for suffix in reversed(SUFFIXES) for key in KEYS],
    "two writers in turn": [
        f"{key}.{suffix}"
        for pair in zip(KEYS[::2], KEYS[1::2], strict=True)
        for suffix in SUFFIXES
        for key in pair
    ],
    "at random": random.Random(1).sample(SORTED, len(SORTED)),
}
WINDOW = 60 * 3 * 1024 * 3  # bytes: more than any of these tars has


def read(tmp_path, names, **limits):
    path = tmp_path / "0.tar"
    path.write_bytes(make(*names))
    reader = read_samples(Shard("s", str(path)), limits=Limits(**limits))
    return rows_of(reader), reader


@pytest.mark.parametrize("order", ORDERS)
def test_samples_equal_those_of_the_sorted_tar(tmp_path, order):
    expected, _ = read(tmp_path, SORTED)
    found, reader = read(tmp_path, ORDERS[order], join_bytes=WINDOW)
    assert reader.damage is None
    assert len(found) == len(KEYS)
    same = ("key", "uid", "text", "image", "image_format", "width", "height", "error")
    by_key = {row["key"]: row for row in found}
    assert [[by_key[row["key"]][n] for n in same] for row in expected] == [
        [row[n] for n in same] for row in expected
    ]
    firsts = list(dict.fromkeys(name.partition(".")[0] for name in ORDERS[order]))
    assert [row["key"] for row in found] == firsts  # in the order of the first members


@pytest.mark.parametrize("order", ORDERS)
def test_exports_find_all_files_of_a_sample(tmp_path, order):
    rows, _ = read(tmp_path, ORDERS[order], join_bytes=WINDOW)
    (shard,) = Tars([str(tmp_path / "0.tar")], {}).list_shards().shards
    with Tars([], {}).members(shard) as members_of:
        for row in rows:
            found = {suffix: bytes(data) for suffix, data in members_of(row)}
            assert set(found) == set(SUFFIXES)
            assert (found["txt"].decode(), found["jpg"]) == (row["text"], row["image"])


@pytest.mark.parametrize("order", ["a suffix at a time", "captions first"])
def test_beyond_the_window_it_is_called_unsorted(tmp_path, order):
    rows, reader = read(tmp_path, ORDERS[order], join_bytes=20_000)
    assert len(rows) <= len(KEYS)  # never twice the samples
    assert "the tar is not sorted by key: " in reader.damage.reason
    assert "raise limits.join_bytes" in reader.damage.reason
    assert reader.seen is not None  # the whole file counts towards the content


@pytest.mark.parametrize("limit", [1, 3000, 1 << 20])
def test_sorted_tars_read_the_same_whatever_the_window(tmp_path, limit):
    holes = [name for i, name in enumerate(SORTED) if i % 7 and i % 11]  # many samples lack something
    expected, _ = read(tmp_path, holes)
    found, reader = read(tmp_path, holes, join_bytes=limit)
    assert (found, reader.damage) == (expected, None)


def test_one_key_for_all_samples_joins_nothing(tmp_path):
    names = ["k.jpg", "k.jpg", "k.txt", "k.txt", "k.jpg", "k.txt"]
    rows, reader = read(tmp_path, names)
    assert [(row["image_format"], row["text"] is not None) for row in rows] == [
        ("jpg", False),
        ("jpg", True),
        ("jpg", True),
        (None, True),
    ]
    assert reader.damage is None


def test_compound_suffixes_come_late(tmp_path):
    names = [f"{key}.{suffix}" for suffix in ("jpg", "txt", "seg.png") for key in KEYS]
    rows, reader = read(tmp_path, names, join_bytes=WINDOW)
    assert [row["key"] for row in rows] == KEYS
    assert reader.damage is None


def test_a_break_leaves_out_what_may_not_be_whole(tmp_path):
    data = make(*ORDERS["a suffix at a time"][:100])  # 60 pictures, 40 captions
    path = tmp_path / "0.tar"
    path.write_bytes(data[: data.rindex(b"text of") + 3])
    reader = read_samples(Shard("s", str(path)))
    rows = rows_of(reader)
    assert [row["key"] for row in rows] == KEYS[:39]
    assert all(row["text"] is not None for row in rows)
    assert reader.damage.member == "039.txt"


def test_the_number_of_files_is_bounded(tmp_path):
    rows, _ = read(tmp_path, ["0.jpg", "0.txt", *[f"0.{i}.npy" for i in range(10)], "1.jpg"], sample_files=5)
    assert [row["key"] for row in rows] == ["0", "1"]
    assert rows[0]["error"] == "it has more than 5 files (limits.sample_files)"
    assert rows[0]["image"] is None

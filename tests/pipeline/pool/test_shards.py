"""Which tars a pool has, and which samples a tar has: grouping, rows, reasons, uids, cuts."""

import hashlib
import io
import json
import struct
import tarfile
import zlib
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.pool import tar, webdataset
from pipeline.pool.shards import Shard, list_shards
from pipeline.pool.tar_reader import binary, iter_fields, read_samples
from pipeline.pool.webdataset import image_size
from pipeline.schema import SAMPLE_SCHEMA

PHOTOS = Path(__file__).parents[4] / "shared" / "data" / "photos"


def picture(width=3, height=2, format="JPEG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height)).save(out, format)
    return out.getvalue()


JPEG = picture()
UID = "0123456789abcdef" * 2


def make(*files, format=tarfile.GNU_FORMAT) -> bytes:
    """A tar of names (contents follow from the suffix) or (name, contents)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as writer:
        for file in files:
            name, data = file if isinstance(file, tuple) else (file, default(file))
            info = tarfile.TarInfo(name)
            info.size = len(data)
            writer.addfile(info, io.BytesIO(data))
    return out.getvalue()


def default(name: str) -> bytes:
    suffix = name.rpartition(".")[2]
    return {"txt": b"text of " + name.encode("utf-8", "replace"), "json": b"{}"}.get(suffix, JPEG)


@pytest.fixture
def read(tmp_path):
    """Write a tar and read all of its rows."""

    def read(*files, name="s", **options) -> list[dict]:
        (tmp_path / "0.tar").write_bytes(make(*files))
        reader = read_samples(Shard(name, str(tmp_path / "0.tar")), **options)
        rows = [row for table in reader for row in table.to_pylist()]
        assert reader.damage is None
        assert reader.rows == len(rows)
        return rows

    return read


def one(read, *files, **options) -> dict:
    (row,) = read(*files, **options)
    return row


# --- listing


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"12345")


def named(patterns) -> list[tuple[str, int | None]]:
    return [(shard.name, shard.size) for shard in list_shards(patterns)]


def test_braces_keep_zeros_and_are_not_looked_up():
    shards = list_shards("/none/{00008..00011}.tar")
    assert shards == [Shard(n, f"/none/{n}.tar", None) for n in ("00008", "00009", "00010", "00011")]
    assert [s.name for s in list_shards("/none/{a,b}/{0..1}.tar")] == ["a/0", "a/1", "b/0", "b/1"]
    urls = list_shards("s3://pool/small/{0000..0001}.tar") if has_s3() else []
    assert [s.path for s in urls] == ["s3://pool/small/0000.tar", "s3://pool/small/0001.tar"][: len(urls)]


def has_s3() -> bool:
    try:
        import s3fs  # noqa: F401
    except ImportError:
        return False
    return True


def test_globs_and_folders_are_looked_up(tmp_path):
    touch(tmp_path, "a/0.tar", "b/c/0.tar", "b/1.tar", "b/1.parquet", "b/2.tar.tmp", "b/._1.tar")
    touch(tmp_path, "b/.tmp.host.1.x/3.tar", "b/.cache/4.tar")
    (tmp_path / "a/folder.tar").mkdir()
    assert named(f"{tmp_path}/b/.cache") == [("4", 5)]
    assert named(f"{tmp_path}/*/*.tar") == [("a/0", 5), ("b/1", 5)]
    assert named(f"{tmp_path}/**/*.tar") == [("a/0", 5), ("b/1", 5), ("b/c/0", 5)]
    assert named(str(tmp_path)) == [("a/0", 5), ("b/1", 5), ("b/c/0", 5)]
    assert named(f"{tmp_path}/b/") == [("1", 5), ("c/0", 5)]
    assert named([f"{tmp_path}/b/1.tar", f"{tmp_path}/{{a,b}}"]) == [
        ("a/0", 5),
        ("b/1", 5),
        ("b/c/0", 5),
    ]


def test_a_single_shard_is_named_by_its_stem(tmp_path, monkeypatch):
    assert named(f"{tmp_path}/deep/00000.tar") == [("00000", None)]
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for same in ("~/0.tar", "0.tar", "x/../0.tar", f"file://{tmp_path}/0.tar"):
        assert list_shards([same, f"{tmp_path}/0.tar"]) == [Shard("0", f"{tmp_path}/0.tar", None)]


def test_other_storage():
    fs = fsspec.filesystem("memory")
    fs.pipe({"/test_list/a/0.tar": b"123", "/test_list/b/0.tar": b"12345"})
    try:
        for pattern in ("memory://test_list", "memory://test_list/*/*.tar"):
            assert named(pattern) == [("a/0", 3), ("b/0", 5)]
        both = list_shards(["memory://test_list/{a,b}/0.tar", "memory://test_list"])
        assert [(s.name, s.size) for s in both] == [("a/0", 3), ("b/0", 5)]
        assert all(fsspec.open(shard.path).open().read(2) == b"12" for shard in both)
    finally:
        fs.rm("/test_list", recursive=True)


def test_different_storages_stay_apart():
    assert [s.name for s in list_shards(["/pool/0.tar", "memory://pool/0.tar"])] == [
        "pool/0",
        "memory/pool/0",
    ]


@pytest.mark.parametrize("pattern", ["*.tar", "", "empty", "none", "{a,b}/*.tar"])
def test_what_matches_nothing_is_named(tmp_path, monkeypatch, pattern):
    touch(tmp_path, "a/0.tar", "x.txt")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"pool\.shards: no \*\.tar matches") as raised:
        list_shards(pattern)
    assert repr(pattern) in str(raised.value)


def test_a_file_of_another_name_counts_where_it_is_named(tmp_path):
    touch(tmp_path, "a.wds", "._0.tar")
    assert named([f"{tmp_path}/a.wds", f"{tmp_path}/._0.tar"]) == [("._0", None), ("a.wds", 5)]


def test_tables_where_there_are_no_tars(tmp_path):
    touch(tmp_path, "b/0.parquet", "b/1.tsv.gz", "a/2.jsonl", "a/.3.csv", "a/x.json", "a/x.txt", "c/4.tar")
    assert named([f"{tmp_path}/a", f"{tmp_path}/b"]) == [("a/2", 5), ("b/0", 5), ("b/1", 5)]
    assert named(f"{tmp_path}/b/*") == [("0", 5), ("1", 5)]
    assert named(f"{tmp_path}/b/{{0.parquet,9.csv.gz}}") == [("0", None), ("9", None)]
    assert named(str(tmp_path)) == [("4", 5)]  # what lies beside tars are sidecars
    assert named(f"{tmp_path}/*/*") == [("4", 5)]
    assert named(f"{tmp_path}/**/*.parquet") == [("0", 5)]
    touch(tmp_path, "spark.parquet/part-0.parquet")
    assert named(f"{tmp_path}/spark.parquet/") == [("part-0", 5)]
    with pytest.raises(ValueError, match=r"pool\.shards: .*4\.tar is a tar and .*0\.parquet a table"):
        list_shards([f"{tmp_path}/c", f"{tmp_path}/b/0.parquet"])
    with pytest.raises(ValueError, match="two shards would be named '0'"):
        list_shards(f"{tmp_path}/b/0.{{parquet,tsv}}")


def test_the_format_of_a_shard():
    kinds = {"tar": "tar", "wds": "tar", "tsv.gz": "tsv", "ndjson": "ndjson", "parquet": "parquet"}
    assert {suffix: Shard("s", f"/p/s.{suffix}").format for suffix in kinds} == kinds
    assert Shard("s", "https://host/s.csv?signed=1.tar").format == "csv"
    assert [Shard("s", f"s.{suffix}").table for suffix in ("tar", "jsonl.gz")] == [False, True]


def test_an_empty_list_and_unsafe_names():
    with pytest.raises(ValueError, match="empty"):
        list_shards([])
    with pytest.raises(ValueError, match="safe"):
        list_shards(["memory://a/../../x.tar", "memory://a/y.tar"])
    with pytest.raises(ValueError, match="safe"):
        list_shards("/pool/.tar")


# --- grouping

GROUPS = {
    "plain": (["0.jpg", "0.txt", "1.txt", "1.jpg"], ["0", "1"]),
    "folders are part of the key": (["a/0.jpg", "b/0.jpg", "./0.jpg"], ["a/0", "b/0", "./0"]),
    "dots in folders": (["v1.5/a.jpg", "v1.5/b.jpg"], ["v1.5/a", "v1.5/b"]),
    "compound suffixes": (["d.seg.png", "d.jpg", "d.txt", "e.jpg", "e.a.b.npy"], ["d", "e"]),
    "compound suffixes only": (["a.b.jpg", "a.b.txt", "a.c.jpg", "a.c.txt"], ["a.b", "a.c"]),
    "versions": (["v1.5_x.jpg", "v1.5_x.json", "v1.6_x.jpg"], ["v1.5_x", "v1.6_x"]),
    "repeated suffix": (["0.jpg", "0.txt", "0.jpg", "0.txt"], ["0", "0"]),
    "repeated suffix in capitals": (["0.jpg", "0.JPG"], ["0", "0"]),
    "repeated later": (["0.jpg", "1.jpg", "0.txt"], ["0", "1", "0"]),
    "not of a sample": (
        ["README", "0.jpg", ".hidden", "a/.b.jpg", "0.txt", "__meta__", "__m__/x.jpg"],
        ["0"],
    ),
    "like a name about the tar": (["__a__.jpg"], ["__a__"]),
    "outside": (["../../etc/passwd", "../../x.jpg", "/y.jpg"], ["../../x", "/y"]),
    "odd dots": (["a..jpg", "b..jpg", "c."], ["a.", "b.", "c"]),
    "surrogates": ([b"\xff.jpg".decode("utf-8", "surrogateescape")], ["\ufffd"]),
}


@pytest.mark.parametrize("name", GROUPS)
def test_keys(read, name):
    files, keys = GROUPS[name]
    assert [row["key"] for row in read(*files)] == keys


def test_a_compound_suffix_is_never_the_image(read):
    for files in (
        ["d.seg.png", "d.jpg", "d.txt"],
        ["d.jpg", "d.seg.png", "d.txt"],
        ["d.txt", "d.seg.png", "d.jpg"],
    ):
        row = one(read, *files)
        assert (row["key"], row["image_format"], row["image"], row["text"]) == (
            "d",
            "jpg",
            JPEG,
            "text of d.txt",
        )


def test_the_look_ahead_is_bounded(read):
    names = [f"x.{i:04}.jpg" for i in range(webdataset.LOOK_AHEAD)]
    assert [row["key"] for row in read(*names, "x.jpg")] == [n[:-4] for n in names] + ["x"]
    assert {row["key"] for row in read(*names[1:], "x.jpg")} == {"x"}
    assert [row["key"] for row in read(*names[:2], ("x.a.jpg", bytes(64 << 20)), "x.jpg")] == [
        "x.0000",
        "x.0001",
        "x.a",
        "x",
    ]


def test_byte_ranges_are_worked_out_by_hand(read):
    rows = read(("0.jpg", b"x" * 600), ("0.txt", b"a"), "dir", ("1.npy", b"1"), ("1.png", b"22"))
    keep = ("offset", "length", "image_offset", "image_length", "image_format")
    assert [tuple(row[name] for name in keep) for row in rows] == [
        (0, 512 + 1024 + 1024, 512, 600, "jpg"),
        (
            2560 + 512 + -(-len(JPEG) // 512) * 512,
            2048,
            2560 + 1024 + 1024 - 512 + -(-len(JPEG) // 512) * 512 + 512,
            2,
            "png",
        ),
    ]


def test_fields_of_a_range(tmp_path, read):
    long = "k" * 200
    rows = read(
        "d.seg.png",
        "d.JPG",
        "README",
        ("d.txt", b"1"),
        f"{long}.jpg",
        ("a.b.jpg", b"2"),
        ("a.c.jpg", b"3"),
    )
    data = (tmp_path / "0.tar").read_bytes()
    fields = [iter_fields(data[r["offset"] : r["offset"] + r["length"]], r["key"]) for r in rows]
    assert [[(suffix, bytes(value)) for suffix, value in found] for found in fields] == [
        [("seg.png", JPEG), ("JPG", JPEG), ("txt", b"1")],
        [("jpg", JPEG)],
        [("jpg", b"2")],
        [("jpg", b"3")],
    ]


# --- one row


def test_a_whole_row(read):
    record = {
        "uid": UID.upper(),
        "url": "http://x/é",
        "width": 9,
        "original_width": 640,
        "original_height": 480,
    }
    row = one(read, "0.jpg", ("0.txt", b" a\r\n"), ("0.json", json.dumps(record).encode()), name="a/b")
    blocks = -(-len(JPEG) // 512) * 512
    assert row == {
        "shard": "a/b",
        "row": 0,
        "uid": UID,
        "key": "0",
        "text": " a\r\n",
        "url": "http://x/é",
        "width": 3,
        "height": 2,
        "original_width": 640,
        "original_height": 480,
        "offset": 0,
        "length": blocks + 5 * 512,
        "image_offset": 512,
        "image_length": len(JPEG),
        "image_format": "jpg",
        "error": None,
        "image": JPEG,
    }


def test_the_schema():
    assert SAMPLE_SCHEMA.field("text").type == pa.large_string()
    assert SAMPLE_SCHEMA.field("row").type == pa.uint32()
    assert SAMPLE_SCHEMA.field("length").type == pa.int64()
    assert len(SAMPLE_SCHEMA) == 16


@pytest.mark.parametrize(
    ("suffixes", "chosen"),
    [
        ("webp jpeg", "jpeg"),
        ("jpeg png jpg", "jpg"),
        ("webp png", "png"),
        ("WebP", "webp"),
        ("gif", None),
    ],
)
def test_the_image_is_the_one_that_open_clip_takes(read, suffixes, chosen):
    row = one(read, *[f"0.{suffix}" for suffix in suffixes.split()])
    assert row["image_format"] == chosen
    assert (row["image"] == JPEG) == (chosen is not None)


TEXTS = {
    "txt first": (b"a", {"caption": "b", "text": "c"}, "a"),
    "empty is a text": (b"", {"caption": "b"}, ""),
    "bytes that are no text": (b"\xffa", {}, "\ufffda"),
    "caption": (None, {"caption": "b", "text": "c"}, "b"),
    "empty caption": (None, {"caption": "", "text": "c"}, ""),
    "null caption": (None, {"caption": None, "text": "c"}, "c"),
    "caption of another type": (None, {"caption": 5, "text": ["c"]}, None),
    "none": (None, {}, None),
    "lone surrogate": (None, {"caption": "a\ud800b"}, "a\ufffdb"),
    "pair": (None, {"caption": "\ud83d\ude00"}, "\U0001f600"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_text(read, name):
    txt, record, text = TEXTS[name]
    files = ["0.jpg", ("0.json", json.dumps(record).encode())] + ([] if txt is None else [("0.txt", txt)])
    row = one(read, *files)
    assert row["text"] == text
    assert row["error"] == (None if text is not None else "no caption")


ERRORS = {
    "no json": (["0.jpg", "0.txt"], "no json"),
    "no image": (["0.txt", "0.json"], "no image member"),
    "nothing": (["0.npy"], "no image member; no caption; no json"),
    "not json": (
        ["0.jpg", "0.txt", ("0.json", b"{")],
        "json cannot be parsed: Expecting property name",
    ),
    "empty json": (["0.jpg", "0.txt", ("0.json", b"")], "json cannot be parsed: Expecting value"),
    "a list": (["0.jpg", "0.txt", ("0.json", b"[1]")], "json cannot be parsed: not an object"),
    "a bomb": (
        ["0.jpg", "0.txt", ("0.json", b"[" * 100_000)],
        "json cannot be parsed: nested too deeply",
    ),
    "digits": (
        ["0.jpg", "0.txt", ("0.json", b'{"a": NaN, "b": ' + b"9" * 9999 + b"}")],
        "json cannot be parsed: Exceeds",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_reasons(read, name):
    files, reason = ERRORS[name]
    assert one(read, *files)["error"].startswith(reason)


def test_what_is_too_large_is_a_reason(read, monkeypatch):
    monkeypatch.setattr(tar, "MAX_MEMBER", 100)
    row = one(read, ("0.jpg", JPEG), ("0.txt", b"a" * 101), ("0.json", b" " * 101))
    assert row["error"] == (
        "image member larger than 256 MiB; no caption; json cannot be parsed: larger than 256 MiB"
    )
    assert (row["image"], row["width"], row["text"], row["image_length"]) == (
        None,
        None,
        None,
        len(JPEG),
    )


@pytest.mark.parametrize("value", ["1", 1.5, -1, 0, True, None, [], {}, 1 << 31, 1 << 70, float("nan")])
def test_nasty_values_are_null(read, value):
    record = {
        "original_width": value,
        "url": [value],
        "uid": value,
        "caption": {"a": value},
        "text": 1,
    }
    row = one(read, "0.jpg", ("0.json", json.dumps(record).encode()))
    assert [row[name] for name in ("original_width", "url", "text", "error")] == [
        None,
        None,
        None,
        "no caption",
    ]


def test_nan_byte_order_mark_and_bad_utf_8_are_read(read):
    for data in (
        b'{"a": NaN, "caption": "x"}',
        b'\xef\xbb\xbf{"caption": "x"}',
        b'{"a": "\xff", "caption": "x"}',
    ):
        row = one(read, "0.jpg", ("0.json", data))
        assert (row["text"], row["error"]) == ("x", None)


def test_long_strings(read):
    text = "é" * 5_000_000
    assert one(read, "0.jpg", ("0.json", json.dumps({"caption": text, "url": text}).encode()))["url"] == text


def test_png_webp_and_what_is_no_image():
    assert image_size(JPEG) == (3, 2)
    assert image_size(memoryview(picture(5, 4, "PNG"))) == (5, 4)
    assert image_size(picture(7, 6, "WEBP")) == (7, 6)
    assert image_size(picture(7, 6, "GIF")) == (7, 6)
    for garbage in (
        b"",
        b"\xff\xd8",
        JPEG[:30],
        b"<html>",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF1234WEBPVP8X",
        b"II*\0",
    ):
        assert image_size(garbage) == (None, None)


def test_a_bomb_s_size_is_recorded_without_a_warning(recwarn):
    head = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_001, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    end = struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
    data = struct.pack(">I", 1) + b"IDAT\0" + struct.pack(">I", zlib.crc32(b"IDAT\0"))
    assert image_size(png + data + end) == (60_000, 60_001)
    assert not recwarn.list


@settings(max_examples=100)
@given(st.sampled_from(["JPEG", "PNG", "WEBP", "GIF"]), st.integers(0, 100), st.binary(max_size=40))
def test_a_garbled_image_never_raises(format, at, garbage):
    data = picture(8, 8, format)
    width, height = image_size(data[:at] + garbage + data[at + len(garbage) :])
    assert (width is None) == (height is None)


# --- uid


def test_uid_of_the_json_else_of_text_and_url_else_of_the_name(read):
    def uid(record, *more):
        return one(read, ("0.json", json.dumps(record).encode()), *more, name="s")["uid"]

    text = ("0.txt", "é".encode())
    assert uid({"uid": UID.upper(), "url": "u"}, text) == UID
    expected = "99454789ed01b89b8c8a51c33aed8f38"  # printf éhttp://u | md5sum
    for own in (UID[:-1], UID + "0", UID[:-1] + "g", None, 5):
        assert uid({"uid": own, "url": "http://u"}, text) == expected
    assert uid({"url": "http://u"}) == hashlib.md5(b"http://u").hexdigest()
    assert uid({"url": "\ud800", "caption": "a"}) == hashlib.md5("a\ufffd".encode()).hexdigest()
    for url in ("", None, 5):
        assert uid({"url": url}) == "6ddb4dce39af0df3242f33d3a3641f59"  # printf 's\0000' | b2sum -l 128


def test_uids_of_repeated_keys_and_of_other_shards_differ(read):
    rows = read("0.jpg", "0.jpg", "1.jpg", "0.txt", name="s") + read("0.jpg", name="t")
    parts = [b"s\x000", b"s\x000\x001", b"s\x001", b"s\x000\x002", b"t\x000"]
    assert [row["uid"] for row in rows] == [hashlib.blake2b(p, digest_size=16).hexdigest() for p in parts]


# --- batches, breaks, storage


def cuts(tmp_path, sizes, **options) -> list[int]:
    (tmp_path / "0.tar").write_bytes(make(*[(f"{i}.jpg", b"x" * n) for i, n in enumerate(sizes)]))
    reader = read_samples(Shard("s", str(tmp_path / "0.tar")), **options)
    tables = list(reader)
    assert [r for t in tables for r in t["row"].to_pylist()] == list(range(len(sizes)))
    return [len(table) for table in tables]


def test_cuts(tmp_path):
    assert cuts(tmp_path, [10] * 600) == [256, 256, 88]
    assert cuts(tmp_path, [10] * 7, batch_rows=3) == [3, 3, 1]
    assert cuts(tmp_path, [10] * 6, batch_rows=3) == [3, 3]
    assert cuts(tmp_path, [10, 10, 11, 10, 30, 40, 1], batch_bytes=31) == [3, 1, 1, 1, 1]
    assert cuts(tmp_path, []) == []


def test_tables_outlive_the_reader(tmp_path):
    (tmp_path / "0.tar").write_bytes(make("0.jpg", "0.txt"))
    (table,) = read_samples(Shard("s", str(tmp_path / "0.tar")))
    assert table.schema.names == [*SAMPLE_SCHEMA.names, "image"]
    assert table.drop_columns("image").schema == SAMPLE_SCHEMA
    (tmp_path / "0.tar").unlink()
    assert table["image"].to_pylist() == [JPEG]


def test_a_stream_equals_a_file(tmp_path):
    data = make(*[f"{i:03}.{s}" for i in range(300) for s in ("jpg", "txt", "json")])
    (tmp_path / "0.tar").write_bytes(data)
    fsspec.filesystem("memory").pipe("/test_stream/0.tar", data)
    try:
        local = list(read_samples(Shard("s", str(tmp_path / "0.tar"))))
        assert local == list(read_samples(Shard("s", "memory://test_stream/0.tar")))
        assert [len(table) for table in local] == [256, 44]
    finally:
        fsspec.filesystem("memory").rm("/test_stream", recursive=True)


def test_a_missing_shard_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        list(read_samples(Shard("s", str(tmp_path / "none.tar"))))


POOLS = {
    "usual": [f"{i}.{s}" for i in range(12) for s in ("jpg", "txt", "json")],
    "image last": [f"{i}.{s}" for i in range(12) for s in ("json", "txt", "jpg")],
    # what the first samples show is how a break inside a later one is read
    "masks first": ["s.jpg", "s.txt"]
    + [f"{i}.{s}" for i in range(12) for s in ("a.png", "b.png", "jpg", "txt")],
    "dotted": [f"v{i // 4}.{i % 4}.{s}" for i in range(12) for s in ("jpg", "txt")],
    "repeated": ["k.jpg", "k.txt"] * 12,
    "one": ["0.jpg", "0.txt"],
}


@settings(max_examples=200)
@given(st.sampled_from(sorted(POOLS)), st.integers(0, 1 << 30))
def test_truncated_anywhere_gives_the_first_samples_of_the_whole(tmp_path_factory, pool, cut):
    whole = make(*POOLS[pool])
    path = tmp_path_factory.mktemp("cut") / "0.tar"

    def rows(data):
        path.write_bytes(data)
        reader = read_samples(Shard("s", str(path)))
        return [row for table in reader for row in table.to_pylist()], reader.damage

    expected, _ = rows(whole)
    cut %= expected[-1]["offset"] + expected[-1]["length"]
    found, damage = rows(whole[:cut])
    assert found == expected[: len(found)]
    assert damage is not None
    complete = sum(row["offset"] + row["length"] <= cut for row in expected)
    assert complete - 1 <= len(found) <= complete


def test_the_name_of_the_member_that_is_cut_tells_where_it_belongs(tmp_path):
    def keys(*files):
        whole = make(*files, ("cut.npy" if files[-1][0] != "1" else "1.npy", b"x" * 600))
        (tmp_path / "0.tar").write_bytes(whole[: whole.rindex(b"x" * 600) + 100])
        reader = read_samples(Shard("s", str(tmp_path / "0.tar")))
        return [key for table in reader for key in table["key"].to_pylist()]

    assert keys("0.jpg", "0.txt", "a.jpg") == ["0", "a"]  # of a sample that begins: `a` is whole
    assert keys("0.jpg", "0.txt", "1.jpg", "1.txt") == ["0"]  # one more of `1`


def test_a_missing_end_marker_loses_no_sample(tmp_path):
    data = make(*POOLS["usual"])
    path = tmp_path / "0.tar"
    path.write_bytes(data[: data.rindex(b"{}") // 512 * 512 + 512])
    reader = read_samples(Shard("s", str(path)))
    assert sum(len(table) for table in reader) == reader.rows == 12
    assert reader.damage.reason == "ends without the end-of-archive marker"


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # webdataset leaves its files open
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.skipif(not PHOTOS.exists(), reason="no sample photos here")
def test_real_shards_read_as_webdataset_reads_them():
    from webdataset.tariterators import tarfile_to_samples

    shards = list_shards(str(PHOTOS))
    assert [shard.name for shard in shards] == ["00000", "00001", "00002"]
    for shard in shards:
        reader = read_samples(shard)
        rows = [row for table in reader for row in table.to_pylist()]
        theirs = list(tarfile_to_samples()([{"url": shard.path}]))
        assert [(r["key"], r["image"], r["text"]) for r in rows] == [
            (s["__key__"], s["jpg"], s["txt"].decode()) for s in theirs
        ]
        records = [json.loads(s["json"]) for s in theirs]
        same = ("uid", "url", "width", "height", "original_width", "original_height")
        assert [[row[n] for n in same] for row in rows] == [[r[n] for n in same] for r in records]
        assert (len(rows), reader.damage, {row["error"] for row in rows}) == (500, None, {None})
        data = Path(shard.path).read_bytes()
        last = rows[-1]
        assert [s for s, _ in iter_fields(data[last["offset"] :][: last["length"]], last["key"])] == [
            "jpg",
            "txt",
            "json",
        ]


def test_reading_lets_go_of_the_file(tmp_path: Path) -> None:
    """Memory stays flat: no mapping of a tar outlives the reading of it (pyarrow's pa.array would keep it)."""
    path = tmp_path / "maps.tar"
    path.write_bytes(make(("a.jpg", JPEG), ("a.txt", b"x"), ("a.json", b"{}")))
    for _ in range(3):
        list(read_samples(Shard("maps", str(path))))
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("no /proc on this system")
    assert str(path) not in maps.read_text()


def test_binary_arrays_equal_pyarrows() -> None:
    values = [b"abc", None, memoryview(b""), memoryview(b"de")]
    assert binary(values).equals(pa.array([b"abc", None, b"", b"de"], pa.large_binary()))
    assert len(binary([])) == 0

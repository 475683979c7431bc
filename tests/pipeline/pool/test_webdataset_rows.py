"""From a sample to its row: every column, reasons, uids."""

import hashlib
import json
import struct
import zlib

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.pool import tar
from pipeline.pool.fields import NOT_UTF_8, image_size
from pipeline.schema import SAMPLE_SCHEMA
from tests.pipeline.pool.made_samples import JPEG, one, picture
from tests.support.pictures import HEIGHT, PICTURES, WIDTH

UID = "0123456789abcdef" * 2


# --- one row


def test_a_whole_row(read_tar):
    record = {
        "uid": UID.upper(),
        "url": "http://x/é",
        "width": 9,
        "original_width": 640,
        "original_height": 480,
    }
    row = one(read_tar, "0.jpg", ("0.txt", b" a\r\n"), ("0.json", json.dumps(record).encode()), name="a/b")
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
        ("gif webp", "webp"),
        *(
            (name, name.lower())
            for name in ("gif", "BMP", "tif", "TIFF", "avif", "heic", "jfif", "JPE", "JPEG")
        ),
        ("svg", None),
    ],
)
def test_the_image_is_the_one_that_open_clip_takes(read_tar, suffixes, chosen):
    row = one(read_tar, *[f"0.{suffix}" for suffix in suffixes.split()])
    assert row["image_format"] == chosen
    assert (row["image"] == JPEG) == (chosen is not None)


TEXTS = {
    "txt first": (b"a", {"caption": "b", "text": "c"}, "a"),
    "empty is a text": (b"", {"caption": "b"}, ""),
    "bytes that are no text": (b"\xffa", {}, "\ufffda"),
    "caption": (None, {"caption": "b", "text": "c"}, "b"),
    "empty caption": (None, {"caption": "", "text": "c"}, ""),
    "null caption": (None, {"caption": None, "text": "c"}, "c"),
    "caption of another type": (None, {"caption": 5, "text": {"c": 1}}, None),
    "list of captions": (None, {"caption": ["a", "b"], "text": "c"}, "a"),
    "list of no captions": (None, {"caption": [], "text": ["c"]}, "c"),
    "list of others": (None, {"caption": [1, "a"]}, None),
    "none": (None, {}, None),
    "lone surrogate": (None, {"caption": "a\ud800b"}, "a\ufffdb"),
    "pair": (None, {"caption": "\ud83d\ude00"}, "\U0001f600"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_text(read_tar, name):
    txt, record, text = TEXTS[name]
    files = ["0.jpg", ("0.json", json.dumps(record).encode())] + ([] if txt is None else [("0.txt", txt)])
    row = one(read_tar, *files)
    assert row["text"] == text
    replaced = NOT_UTF_8 if "\ufffd" in (text or "") else None
    assert row["error"] == (replaced if text is not None else "no caption")


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
def test_reasons(read_tar, name):
    files, reason = ERRORS[name]
    assert one(read_tar, *files)["error"].startswith(reason)


def test_what_is_too_large_is_a_reason(read_tar, monkeypatch):
    monkeypatch.setattr(tar, "MAX_MEMBER", 100)
    row = one(read_tar, ("0.jpg", JPEG), ("0.txt", b"a" * 101), ("0.json", b" " * 101))
    assert row["error"] == (
        "image member larger than 256 MiB; no caption: larger than 256 MiB; json cannot be parsed: larger than 256 MiB"
    )
    assert (row["image"], row["width"], row["text"], row["image_length"]) == (
        None,
        None,
        None,
        len(JPEG),
    )


@pytest.mark.parametrize("value", ["1", 1.5, -1, 0, True, None, [], {}, 1 << 31, 1 << 70, float("nan")])
def test_nasty_values_are_null(read_tar, value):
    record = {
        "original_width": value,
        "url": [value],
        "uid": value,
        "caption": {"a": value},
        "text": 1,
    }
    row = one(read_tar, "0.jpg", ("0.json", json.dumps(record).encode()))
    assert [row[name] for name in ("original_width", "url", "text", "error")] == [
        None,
        None,
        None,
        "no caption",
    ]


def test_nan_byte_order_mark_and_bad_utf_8_are_read(read_tar):
    for data in (
        b'{"a": NaN, "caption": "x"}',
        b'\xef\xbb\xbf{"caption": "x"}',
        b'{"a": "\xff", "caption": "x"}',
    ):
        row = one(read_tar, "0.jpg", ("0.json", data))
        assert (row["text"], row["error"]) == ("x", None)


def test_long_strings(read_tar):
    text = "é" * 300_000
    assert (
        one(read_tar, "0.jpg", ("0.json", json.dumps({"caption": text, "url": text}).encode()))["url"] == text
    )


@pytest.mark.parametrize("name", [name for name in PICTURES if "EXIF" not in name])
def test_sizes_of_every_kind_of_picture(name):
    assert image_size(PICTURES[name]) == (WIDTH, HEIGHT)


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


def test_uid_of_the_json_else_of_text_and_url_else_of_the_name(read_tar):
    def uid(record, *more):
        return one(read_tar, ("0.json", json.dumps(record).encode()), *more, name="s")["uid"]

    text = ("0.txt", "é".encode())
    assert uid({"uid": UID.upper(), "url": "u"}, text) == UID
    expected = "99454789ed01b89b8c8a51c33aed8f38"  # printf éhttp://u | md5sum
    for own in (UID[:-1], UID + "0", UID[:-1] + "g", None, 5):
        assert uid({"uid": own, "url": "http://u"}, text) == expected
    assert uid({"url": "http://u"}) == hashlib.md5(b"http://u").hexdigest()
    assert uid({"url": "\ud800", "caption": "a"}) == hashlib.md5("a\ufffd".encode()).hexdigest()
    for url in ("", None, 5):
        assert uid({"url": url}) == "6ddb4dce39af0df3242f33d3a3641f59"  # printf 's\0000' | b2sum -l 128


def test_uids_of_repeated_keys_and_of_other_shards_differ(read_tar):
    rows = read_tar("0.jpg", "0.jpg", "1.jpg", "0.txt", name="s") + read_tar("0.jpg", name="t")
    parts = [b"s\x000", b"s\x000\x001", b"s\x001", b"s\x000\x002", b"t\x000"]
    assert [row["uid"] for row in rows] == [hashlib.blake2b(p, digest_size=16).hexdigest() for p in parts]

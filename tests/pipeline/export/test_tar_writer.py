"""One sample: keys, extensions, and what its json says."""

import re

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.export.tar_writer import EXTENSION, json_texts, members, output_keys, safe_extension, sidecar


def test_keys():
    assert output_keys(pl.Series(["a", "b", "a", "a"])) == ["a-0", "b", "a-1", "a-2"]


@pytest.mark.parametrize("suffix", ["jpg", "seg.png", "JPG", "npy", "a-b_c.d", "x" * 48])
def test_ordinary_extensions_stay(suffix):
    assert safe_extension(suffix) == suffix


@pytest.mark.parametrize(
    ("suffix", "safe"),
    [
        ("", "x-"),
        (".jpg", "x-.jpg"),
        ("__key__", "x-__key__"),
        ("j pg", "x-j_pg"),
        ("jpg\n", "x-jpg_"),
        ("\uff4a\uff50\uff47", "x-___"),
        ("x" * 49, "x-" + "x" * 48),
    ],
)
def test_unsafe_extensions(suffix, safe):
    assert safe_extension(suffix) == safe


def test_equal_after_the_change():
    fields = [("a b", b"1"), ("a\tb", b"2"), ("x-a_b", b"3"), ("jpg", b"4")]
    assert members(fields, None) == {"x-a_b": b"3", "jpg": b"4", "x-a_b-1": b"1", "x-a_b-2": b"2"}


@given(st.lists(st.text(max_size=60), unique_by=str.lower, max_size=8), st.text())
def test_any_extensions(suffixes, text):
    fields = [(suffix, bytes([i])) for i, suffix in enumerate(suffixes)]
    found = members(fields, text)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}", name) for name in found)
    assert len({name.lower() for name in found}) == len(found)  # open_clip ignores case
    given = {suffix: data for suffix, data in fields if EXTENSION.fullmatch(suffix)}
    assert given.items() <= found.items()
    assert set(found.values()) >= {data for _, data in fields}


def test_the_caption_becomes_a_member_where_there_is_none():
    assert members([("jpg", b"1")], "é") == {"jpg": b"1", "txt": "é".encode()}
    assert members([("jpg", b"1"), ("TXT", b"own")], "é") == {"jpg": b"1", "TXT": b"own"}
    assert members([("jpg", b"1")], None) == {"jpg": b"1"}


@pytest.mark.parametrize(
    ("json", "found"),
    [
        (
            b'{"status": "success", "sha256": "ab", "url": "u"}',
            {"status": "success", "sha256": "ab"},
        ),
        (b'{"status": "success", "x": NaN}', {"status": "success"}),
        (b'{"exif": "\\ud800"}', {"exif": "?"}),
        (b'{"exif": {"a": 1}, "sha256": 7, "error_message": null}', {}),
        (b"[1]", {}),
        (b"{", {}),
        (b"[" * 100_000, {}),
        (b"\xff\xfe", {}),
    ],
)
def test_json_texts(json, found):
    assert json_texts([("jpg", b""), ("json", json)]) == found


def test_no_json():
    assert json_texts([("jpg", b"")]) == {}


def test_a_sidecar_without_any_texts():
    from pipeline.export.tar_writer import SAMPLE

    frame = pl.DataFrame([pl.Series(name, [1]) for name in SAMPLE]).with_columns(pl.Series("a.b", [0.5]))
    row = sidecar(frame, ["k"], [{}]).row(0, named=True)
    assert (row["status"], row["exif"], row["a.b"]) == ("success", None, 0.5)

"""Damaged tars: the members before the break, and the offset of the damage."""

import gzip
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.pool.tar import Damage, walk
from tests.pipeline.pool.made_tars import END, FILES, LONG, block, header, make, read

DAMAGED = {
    "empty": (b"", Damage(0, "the file is empty")),
    "no end": (header() + block(b"abc"), Damage(1024, "ends without the end-of-archive marker")),
    "data cut": (
        header() + block(b"abc") + header(b"b") + b"ab",
        Damage(1024, "the file ends inside member b", "b"),
    ),
    "padding cut": (
        header() + b"abc" + bytes(508),
        Damage(0, "the file ends inside member a.jpg", "a.jpg"),
    ),
    "header cut": (
        header() + block(b"abc") + b"xy",
        Damage(1024, "the file ends inside the header at byte 1024"),
    ),
    "garbled": (
        header() + block(b"abc") + b"x" * 512,
        Damage(1024, "the header at byte 1024 has a wrong checksum"),
    ),
    "gzip of something else": (
        gzip.compress(bytes(range(256)) * 9),
        Damage(0, "the header at byte 0 has a wrong checksum"),
    ),
    "gzip cut": (
        gzip.compress(header() + block(b"abc"))[:20],
        Damage(0, "the gzip data cannot be unpacked further: the file ends inside it"),
    ),
    "zip": (
        b"PK\x03\x04" + bytes(600),
        Damage(0, "it is a zip archive: unpack it, and pack its files as a tar"),
    ),
    "web page": (
        b"<!DOCTYPE html><html>" + b" " * 600,
        Damage(
            0,
            "it is a web page or XML, not a tar: download it again, and look at what the server sent",
        ),
    ),
    "pointer of Git LFS": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 10\n",
        Damage(0, "it is a pointer of Git LFS, not the file: run `git lfs pull`"),
    ),
    "joined": (
        header() + block(b"abc") + END + header() + block(b"abc") + END,
        Damage(2048, "data after the end marker, at byte 2048: joined tars, or a hole"),
    ),
    "size": (
        header(size=b"zzzzzzzzzzz\0") + END,
        Damage(0, "a size that cannot be read in the header of member a.jpg", "a.jpg"),
    ),
    "negative size": (
        header(size=b"\xff" * 12) + END,
        Damage(0, "a size that cannot be read in the header of member a.jpg", "a.jpg"),
    ),
    "huge size": (
        header(size=b"77777777777\0"),
        Damage(0, "the file ends inside member a.jpg", "a.jpg"),
    ),
    "pax": (
        header(b"x", kind=b"x") + block(b"abc") + header() + block(b"abc") + END,
        Damage(0, "garbled pax records (at b'abc') in the header at byte 0"),
    ),
    "pax size": (
        header(b"x", b"%011o\0" % 11, b"x") + block(b"11 size=-2\n") + header() + END,
        Damage(0, "garbled pax records (at b'11 size=-2\\n') in the header at byte 0"),
    ),
    "long name": (
        header(b"L", b"77777777777\0", b"L"),
        Damage(0, "the header at byte 0 announces 8589934591 bytes of attributes, allowed are 1,048,576"),
    ),
    "long name cut": (
        header(b"L", kind=b"L") + b"ab",
        Damage(0, "the file ends inside the header at byte 0"),
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_told_with_its_offset(name, memory_url):
    data, damage = DAMAGED[name]
    whole = [("a.jpg", b"abc")] if damage.offset else []
    assert read(data) == (whole, damage)
    assert read(memory_url(data)) == (whole, damage)


@pytest.mark.parametrize("end", [bytes(512), END, bytes(10240), bytes(3 << 20)])
def test_what_counts_as_an_end(end):
    assert read(header() + block(b"abc") + end) == ([("a.jpg", b"abc")], None)


@settings(max_examples=150)
@given(st.integers(0, 1 << 30), st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
def test_truncated_anywhere_gives_the_members_before(cut, format):
    data = make(*FILES, (LONG, b"abc"), format=format, end=False)
    cut %= len(data)
    ends = [m.end for m in walk(data)]
    found, damage = read(data[:cut])
    before = sum(end <= cut for end in ends)
    assert found == [*FILES, (LONG, b"abc")][:before]
    assert damage is not None
    assert damage.offset == ([0, *ends])[before]


@settings(max_examples=150)
@given(st.integers(0, 1 << 30), st.binary(min_size=1, max_size=600))
def test_garbled_anywhere_never_raises_and_keeps_what_comes_before(at, garbage):
    data = make(*FILES)
    at %= len(data)
    ends = [m.end for m in walk(data)]
    found, _ = read(data[:at] + garbage + data[at + len(garbage) :])
    before = sum(end <= at for end in ends)
    assert found[:before] == FILES[:before]


@settings(max_examples=100)
@given(st.binary(max_size=3000))
def test_garbage_never_raises(data):
    assert read(data)[0] == []

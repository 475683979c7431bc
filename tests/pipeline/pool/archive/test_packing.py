"""Packed tars: what they hold, how they break off, and what they may cost."""

import bz2
import gzip
import lzma
import time
from dataclasses import replace

import fsspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.pool.archive.packing import packing_of
from pipeline.pool.kinds.tars import Tars
from pipeline.pool.shards import Shard
from pipeline.pool.tar import walk
from pipeline.pool.tar_reader import read_samples
from pipeline.storage.ranges import identify
from tests.pipeline.pool.made_samples import make, rows_of
from tests.pipeline.pool.made_tars import read

PACK = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": lambda data: pa.compress(data, codec="zstd", asbytes=True),
    "lz4": lambda data: pa.compress(data, codec="lz4", asbytes=True),
}
PLAIN = make(*[f"{i}.{suffix}" for i in range(40) for suffix in ("jpg", "txt", "json")])
packings = pytest.mark.parametrize("packing", PACK)


def rows(path) -> list[dict]:
    return rows_of(read_samples(Shard("s", str(path))))


@packings
def test_members_equal_those_of_the_plain_tar(tmp_path, packing):
    data = PACK[packing](PLAIN)
    assert packing_of(data) == packing
    assert read(data) == read(PLAIN)
    (tmp_path / "0.tar").write_bytes(PLAIN)
    (tmp_path / "1.tar").write_bytes(data)  # called like a plain one
    assert rows(tmp_path / "1.tar") == rows(tmp_path / "0.tar")
    members = walk(tmp_path / "1.tar")
    list(members)
    assert members.seen == identify(tmp_path / "1.tar")  # the content is that of the packed bytes


@packings
def test_files_are_found_by_reading_through(tmp_path, packing):
    (tmp_path / "0.tar").write_bytes(PLAIN)
    expected = rows(tmp_path / "0.tar")
    for name in ("1.tar", "1.tar.gz"):
        (tmp_path / name).write_bytes(PACK[packing](PLAIN))
        (shard,) = Tars([str(tmp_path / name)], {}).list_shards().shards
        with Tars([], {}).members(shard) as members_of:
            for row in (*expected[3:6], expected[5], expected[1], expected[-1]):  # one twice, one before
                found = {suffix: bytes(data) for suffix, data in members_of(row)}
                assert found["jpg"] == row["image"]
                assert found["txt"].decode() == row["text"]
                assert sorted(found) == ["jpg", "json", "txt"]


@packings
def test_several_pieces_and_zeros_between_them(packing):
    pack = PACK[packing]
    between = b"" if packing in ("zstd", "lz4") else bytes(8)
    assert read(pack(PLAIN[:5000]) + between + pack(PLAIN[5000:])) == read(PLAIN)


@settings(max_examples=60)
@given(st.sampled_from(sorted(PACK)), st.integers(0, 1 << 30))
def test_cut_anywhere_gives_the_members_before(packing, cut):
    data = PACK[packing](PLAIN)
    found, damage = read(data[: 8 + cut % (len(data) - 8)])
    whole, _ = read(PLAIN)
    assert found == whole[: len(found)]
    assert damage is not None
    assert f"the {packing} data cannot be unpacked further" in damage.reason


@settings(max_examples=60)
@given(st.sampled_from(sorted(PACK)), st.integers(0, 1 << 30), st.binary(min_size=1, max_size=60))
def test_garbled_anywhere_never_raises(packing, at, garbage):
    data = PACK[packing](PLAIN)
    at %= len(data)
    read(data[:at] + garbage + data[at + len(garbage) :])


def test_garbage_behind_it_is_damage():
    found, damage = read(gzip.compress(PLAIN) + b"garbage")
    assert found == read(PLAIN)[0]
    assert damage.reason.startswith("the gzip data cannot be unpacked further")


@packings
def test_a_bomb_is_refused_after_a_hundred_times_its_size(packing):
    data = PACK[packing](bytes(256 << 20))
    started = time.process_time()
    found, damage = read(data)
    assert found == []
    assert "unpacks to over 100 times its size: unpack it first" in damage.reason
    assert time.process_time() - started < 30  # it is the bound that is tested, not the speed


def test_object_storage(tmp_path):
    fs = fsspec.filesystem("memory")
    fs.pipe("/test_packed/0.tar.gz", gzip.compress(PLAIN))
    try:
        (tmp_path / "0.tar").write_bytes(PLAIN)
        expected = rows(tmp_path / "0.tar")
        kind = Tars(["memory://test_packed"], {})
        (shard,) = kind.list_shards().shards
        assert shard.name == "0"
        assert rows(shard.path) == expected
        shard = replace(shard, state="")  # reading changes it there
        with kind.members(shard) as members_of:
            assert dict(members_of(expected[7]))["jpg"] == expected[7]["image"]
    finally:
        fs.rm("/test_packed", recursive=True)

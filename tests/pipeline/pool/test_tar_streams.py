"""Tars as streams: the same members, bounded memory, and errors of storage."""

import io
import tarfile
from pathlib import Path

import pytest

from pipeline.pool import tar
from pipeline.pool.tar import Damage, walk
from pipeline.storage import ranges
from pipeline.storage.ranges import ByteRanges
from tests.pipeline.pool.made_tars import FILES, LONG, make, read

PHOTOS = Path(__file__).parents[4] / "shared" / "data" / "photos"


@pytest.mark.parametrize("chunk", [1, 100, 512, 4 << 20])
@pytest.mark.parametrize("limit", [700, 256 << 20])
def test_a_stream_equals_a_file(tmp_path, memory_url, monkeypatch, chunk, limit):
    monkeypatch.setattr("pipeline.storage.ranges.CHUNK", chunk)
    monkeypatch.setattr(tar, "MAX_MEMBER", limit)
    data = make(*FILES, (LONG, b"abc"), format=tarfile.PAX_FORMAT)
    (tmp_path / "0.tar").write_bytes(data)
    local, stream = walk(tmp_path / "0.tar"), walk(memory_url(data))
    assert list(local) == list(stream)
    assert len(list(local)) == 61
    assert local.damage is stream.damage is None
    large = [m.name for m in local if m.data is None]
    assert large == [name for name, contents in FILES if len(contents) > limit]


def test_a_large_member_that_is_cut_is_not_yielded(memory_url, monkeypatch):
    monkeypatch.setattr(tar, "MAX_MEMBER", 100)
    data = make(("a", b"x" * 2000), end=False)
    assert [m.data for m in walk(memory_url(data))] == [None]
    assert read(memory_url(data[:2000])) == ([], Damage(0, "the file ends inside member a", "a"))


def test_a_stream_holds_a_chunk_and_not_the_tar(memory_url, monkeypatch):
    monkeypatch.setattr("pipeline.storage.ranges.CHUNK", 4096)
    monkeypatch.setattr(tar, "ZEROS_AT_ONCE", 4096)
    held = []
    move = ranges.Stream._move

    def spy(self, offset, length):
        move(self, offset, length)
        held.append(len(self._held))

    monkeypatch.setattr(ranges.Stream, "_move", spy)
    assert (
        sum(m.size for m in walk(memory_url(make(*[(str(i), b"x" * 1000) for i in range(500)])))) == 500_000
    )
    assert max(held) < 2 * 4096


class Pipe:
    """A file that gives a few bytes at a time."""

    chunk = 600

    def __init__(self, data, at_once=70):
        self._data = io.BytesIO(data)
        self._at_once = at_once

    def readinto(self, buffer):
        return self._data.readinto(buffer[: self._at_once])


def test_a_stream_that_comes_in_small_pieces(monkeypatch):
    monkeypatch.setattr(tar, "MAX_MEMBER", 900)
    data = make(*FILES)
    assert list(tar._members(ranges.Stream(Pipe(data)))) == list(walk(data))


@pytest.mark.parametrize("location", ["{tmp}/none.tar", "file://{tmp}/none.tar", "memory://none.tar"])
def test_a_missing_file_is_an_os_error(tmp_path, location):
    with pytest.raises(FileNotFoundError):
        list(walk(location.format(tmp=tmp_path)))
    with pytest.raises(FileNotFoundError):
        ByteRanges(location.format(tmp=tmp_path)).__enter__()


def test_a_large_member_of_a_stream_is_read_a_chunk_at_a_time(monkeypatch):
    monkeypatch.setattr(tar, "MAX_MEMBER", 900)
    asked = []

    class Counted(Pipe):
        def readinto(self, buffer):
            asked.append(len(buffer))
            return super().readinto(buffer)

    data = make(("a", b"x" * 100_000), ("b", b"1"))
    members = list(tar._members(ranges.Stream(Counted(data, at_once=600))))
    assert [(m.name, m.size) for m in members] == [("a", 100_000), ("b", 1)]
    assert max(asked) == 600


def test_a_folder_is_an_os_error(tmp_path):
    with pytest.raises(IsADirectoryError):
        list(walk(tmp_path))


def test_a_broken_connection_is_an_os_error():
    class Broken(Pipe):
        def readinto(self, buffer):
            raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError):
        list(tar._members(ranges.Stream(Broken(b""))))


def test_ranges(tmp_path, memory_url):
    (tmp_path / "0.tar").write_bytes(b"0123456789")
    for location in (tmp_path / "0.tar", f"file://{tmp_path}/0.tar", memory_url(b"0123456789")):
        with ByteRanges(location) as file:
            assert [file.read(7, 3), file.read(0, 1), file.read(5, 0)] == [b"789", b"0", b""]
            with pytest.raises(OSError, match="ends before byte 11: run the command again"):
                file.read(9, 2)


def test_a_walk_can_be_repeated(tmp_path):
    (tmp_path / "0.tar").write_bytes(make(*FILES)[:5000])
    members = walk(tmp_path / "0.tar")
    assert list(members) == list(members)
    assert members.damage.offset == next(reversed(list(members))).end


@pytest.mark.skipif(not PHOTOS.exists(), reason="no sample photos here")
def test_real_tars_read_as_tarfile_reads_them():
    for path in sorted(PHOTOS.glob("*.tar")):
        with tarfile.open(path) as file:
            expected = [(m.name, m.offset_data, m.size, file.extractfile(m).read()) for m in file]
        members = walk(path)
        assert [(m.name, m.offset, m.size, m.data) for m in members] == expected
        assert members.damage is None
        assert len(expected) == 1500

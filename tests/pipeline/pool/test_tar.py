"""Members of a tar: every dialect that tarfile writes, every way in which a tar breaks."""

import gzip
import io
import struct
import tarfile
from pathlib import Path

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.pool import tar
from pipeline.pool.tar import Damage, walk
from pipeline.storage import ranges
from pipeline.storage.ranges import ByteRanges, read_range

PHOTOS = Path(__file__).parents[4] / "shared" / "data" / "photos"
LONG = "folder/" * 30 + "000000000.jpg"  # 223 characters: over ustar's 100, and no 155 + 100 either


def make(*files, format=tarfile.USTAR_FORMAT, end=True, **fields) -> bytes:
    """A tar of (name, contents); `fields` are set on every TarInfo."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as writer:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for field, value in fields.items():
                setattr(info, field, value)
            writer.addfile(info, io.BytesIO(data))
    data = out.getvalue()
    return data if end else data.rstrip(b"\0").ljust(-(-len(data.rstrip(b"\0")) // 512) * 512, b"\0")


def header(name=b"a.jpg", size=b"00000000003\0", kind=b"0", magic=b"ustar\00000", signed=False) -> bytes:
    """One header block, by hand."""
    block = bytearray(512)
    block[: len(name)] = name
    block[124:136], block[148:156], block[156:157] = size, b" " * 8, kind
    block[257 : 257 + len(magic)] = magic
    total = sum(struct.unpack("512b", block)) if signed else sum(block)
    block[148:156] = b"%06o\0 " % total
    return bytes(block)


def block(data: bytes) -> bytes:
    return data.ljust(-(-len(data) // 512) * 512, b"\0")


def read(data) -> tuple[list[tuple[str, bytes]], Damage | None]:
    members = walk(data)
    found = [(m.name, bytes(m.data)) for m in members]
    return found, members.damage


END = bytes(1024)


def test_offsets_worked_out_by_hand():
    a, b = walk(make(("a.jpg", b"x" * 513), ("b.txt", b"hi")))
    assert (a.header_offset, a.offset, a.size, a.end) == (0, 512, 513, 1536)
    assert (b.header_offset, b.offset, b.size, b.end) == (1536, 2048, 2, 2560)
    assert bytes(a.data) == b"x" * 513
    assert bytes(b.data) == b"hi"


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_each_format_of_tarfile(format):
    names = ["a.jpg", "d/é.txt", "x" * 100] + ([LONG, "ж" * 200] if format != tarfile.USTAR_FORMAT else [])
    files = [(name, name.encode()) for name in names]
    assert read(make(*files, format=format)) == (files, None)


def test_ustar_prefix():
    name = "p" * 90 + "/" + "n" * 90
    assert read(make((name, b"1"))) == ([(name, b"1")], None)


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_member_s_range_is_a_tar_of_its_own(format):
    data = make(("a.txt", b"1"), (LONG, b"22"), ("b.txt", b"3"), format=format)
    first, long, last = walk(data)
    assert first.end == long.header_offset < long.offset - 512
    assert long.end == last.header_offset
    assert read(data[long.header_offset : long.end] + END) == ([(LONG, b"22")], None)


def test_a_pax_header_without_a_path_belongs_to_its_member():
    data = make(("a", b"1"), ("b", b"2"), format=tarfile.PAX_FORMAT, mtime=1.5)
    assert [(m.header_offset, m.offset) for m in walk(data)] == [(0, 1536), (2048, 3584)]


def test_pax_size_overrides_the_header():
    data = block(b"xx") + END
    records = b"10 size=2\n"
    pax = header(b"x", b"%011o\0" % len(records), b"x") + block(records)
    assert read(pax + header(b"a", b"00000000000\0") + data) == ([("a", b"xx")], None)


def test_global_pax_headers_are_skipped_unless_they_would_change_every_member():
    def with_global(records):
        return header(b"g", b"%011o\0" % len(records), b"g") + block(records) + header() + block(b"abc") + END

    assert [(m.name, m.header_offset) for m in walk(with_global(b"13 comment=hi"[:-1] + b"\n"))] == [
        ("a.jpg", 1024)
    ]
    assert read(with_global(b"10 path=b\n")) == (
        [],
        Damage(0, "the header at byte 0 sets the path of all members: not supported"),
    )


def test_base_256_size():
    data = header(size=b"\x80" + (3).to_bytes(11)) + block(b"abc") + END
    assert read(data) == ([("a.jpg", b"abc")], None)


def test_old_v7_header_and_its_folders():
    data = header(b"d/", b"00000000000\0", b"\0", b"") + header(kind=b"\0", magic=b"") + block(b"abc") + END
    assert read(data) == ([("a.jpg", b"abc")], None)


def test_signed_checksum():
    data = header("é.jpg".encode(), signed=True) + block(b"abc") + END
    assert read(data) == ([("é.jpg", b"abc")], None)


@pytest.mark.parametrize(
    "kind", [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_other_members_are_skipped(kind):
    files = make(("b", b""), type=kind, linkname="c", end=False) + make(("a", b"1"))
    assert read(files) == ([("a", b"1")], None)


@pytest.mark.parametrize(
    ("kind", "stored"),
    [(b"1", True), (b"2", True), (b"5", True), (b"D", True), (b"1", False), (b"2", False)],
)
def test_the_data_of_other_members_is_skipped_whether_stored_or_not(kind, stored):
    data = header(b"link", kind=kind) + (block(b"abc") if stored else b"") + header() + block(b"abc") + END
    assert read(data) == ([("a.jpg", b"abc")], None)


def test_sparse_files_are_passed_over():
    old = bytearray(header(b"s", kind=b"S", magic=b"ustar  \0"))
    old[482] = 1
    old[148:156] = b"%06o\0 " % (sum(old) - sum(old[148:156]) + 256)
    more = bytearray(512)
    more[504] = 1
    data = bytes(old) + bytes(more) + bytes(512) + block(b"abc")
    records = b"22 GNU.sparse.major=1\n"
    new = header(b"x", b"%011o\0" % len(records), b"x") + block(records) + header(b"t") + block(b"abc")
    assert read(data + new + header() + block(b"xyz") + END) == ([("a.jpg", b"xyz")], None)


def test_names_become_valid_unicode_and_end_at_nul():
    data = header(b"\xff\xfe.jpg") + block(b"abc") + header(b"b\0junk") + block(b"abc") + END
    assert [name for name, _ in read(data)[0]] == ["\ufffd\ufffd.jpg", "b"]
    pax = make(("x\0y" + "z" * 100, b"1"), format=tarfile.GNU_FORMAT)
    assert read(pax)[0] == [("x", b"1")]


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
    "gzip": (
        gzip.compress(bytes(range(256)) * 9),
        Damage(0, "is gzip-compressed, not a plain tar: unpack it first"),
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
        Damage(0, "garbled pax records in the header at byte 0"),
    ),
    "pax size": (
        header(b"x", b"%011o\0" % 11, b"x") + block(b"11 size=-2\n") + header() + END,
        Damage(0, "garbled pax records in the header at byte 0"),
    ),
    "long name": (
        header(b"L", b"77777777777\0", b"L"),
        Damage(0, "the header at byte 0 announces 8589934591 bytes of attributes"),
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


FILES = [(f"{i:03}.{suffix}", bytes([i]) * (i * 37 % 1500)) for i in range(30) for suffix in ("jpg", "txt")]


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


@pytest.fixture
def memory_url():
    """Store bytes under a memory:// URL."""
    fs = fsspec.filesystem("memory")

    def store(data: bytes) -> str:
        fs.pipe("/test_tar/0.tar", data)
        return "memory://test_tar/0.tar"

    yield store
    if fs.exists("/test_tar"):
        fs.rm("/test_tar", recursive=True)


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
    monkeypatch.setattr(tar, "CHUNK", 4096)
    held = []
    fill = ranges.Stream._fill

    def spy(self, length):
        fill(self, length)
        held.append(len(self._held))

    monkeypatch.setattr(ranges.Stream, "_fill", spy)
    assert (
        sum(m.size for m in walk(memory_url(make(*[(str(i), b"x" * 1000) for i in range(500)])))) == 500_000
    )
    assert max(held) < 2 * 4096


class Pipe(io.RawIOBase):
    """A file that gives a few bytes at a time and cannot seek."""

    def __init__(self, data):
        self._data = io.BytesIO(data)

    def read(self, size=-1):
        return self._data.read(min(size, 700))


def test_a_stream_that_cannot_seek(monkeypatch):
    monkeypatch.setattr("pipeline.storage.ranges.CHUNK", 600)
    monkeypatch.setattr(tar, "MAX_MEMBER", 900)
    data = make(*FILES)
    assert list(tar._members(ranges.Stream(Pipe(data)))) == list(walk(data))


@pytest.mark.parametrize("location", ["{tmp}/none.tar", "file://{tmp}/none.tar", "memory://none.tar"])
def test_a_missing_file_is_an_os_error(tmp_path, location):
    with pytest.raises(FileNotFoundError):
        list(walk(location.format(tmp=tmp_path)))
    with pytest.raises(FileNotFoundError):
        read_range(location.format(tmp=tmp_path), 0, 1)


def test_a_large_member_of_a_stream_is_not_fetched(monkeypatch):
    monkeypatch.setattr("pipeline.storage.ranges.CHUNK", 1000)
    monkeypatch.setattr(tar, "MAX_MEMBER", 900)
    fetched = []

    class Counted(io.BytesIO):
        def read(self, size=-1):
            data = super().read(size)
            fetched.append(len(data))
            return data

    data = make(("a", b"x" * 100_000), ("b", b"1"))
    members = list(tar._members(ranges.Stream(Counted(data))))
    assert [(m.name, m.size) for m in members] == [("a", 100_000), ("b", 1)]
    assert sum(fetched) < len(data) - 95_000


def test_a_folder_is_an_os_error(tmp_path):
    with pytest.raises(IsADirectoryError):
        list(walk(tmp_path))


def test_a_broken_connection_is_an_os_error():
    class Broken(io.BytesIO):
        def read(self, size=-1):
            raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError):
        list(tar._members(ranges.Stream(Broken())))


def test_ranges(tmp_path, memory_url):
    (tmp_path / "0.tar").write_bytes(b"0123456789")
    for location in (tmp_path / "0.tar", f"file://{tmp_path}/0.tar", memory_url(b"0123456789")):
        assert read_range(location, 2, 3) == b"234"
        with ByteRanges(location) as file:
            assert [file.read(7, 3), file.read(0, 1), file.read(5, 0)] == [b"789", b"0", b""]
            with pytest.raises(OSError, match="ends before byte 11: was it replaced"):
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

"""The members of a tar: every format of header, offsets worked out by hand."""

import tarfile

import pytest

from pipeline.pool.tar import Damage, walk
from tests.pipeline.pool.made_tars import END, LONG, block, header, make, read


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
        Damage(0, "the header at byte 0 sets the path of all members: not supported; pack the tar anew"),
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


def test_sparse_files_have_no_contents():
    old = bytearray(header(b"s", kind=b"S", magic=b"ustar  \0"))
    old[482] = 1
    old[148:156] = b"%06o\0 " % (sum(old) - sum(old[148:156]) + 256)
    more = bytearray(512)
    more[504] = 1
    data = bytes(old) + bytes(more) + bytes(512) + block(b"abc")
    records = b"22 GNU.sparse.major=1\n"
    new = header(b"x", b"%011o\0" % len(records), b"x") + block(records) + header(b"t") + block(b"abc")
    assert read(data + new + header() + block(b"xyz") + END) == ([("a.jpg", b"xyz")], None)


def test_names_stay_distinct_and_end_at_nul():
    data = header(b"\xff\xfe.jpg") + block(b"abc") + header(b"b\0junk") + block(b"abc") + END
    assert [name for name, _ in read(data)[0]] == ["\udcff\udcfe.jpg", "b"]
    pax = make(("x\0y" + "z" * 100, b"1"), format=tarfile.GNU_FORMAT)
    assert read(pax)[0] == [("x", b"1")]

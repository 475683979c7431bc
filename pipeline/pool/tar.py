"""Members of a tar, found by a header walk of our own.

`walk` reads what tarfile reads (v7, ustar, GNU long names, pax, base-256 sizes) many times faster. It also
says where each member lies, and it gives the members before a break. Garbage in a tar never raises: it ends
the walk and is described in `Walk.damage`. Storage errors are OSErrors and pass through.

A packed tar is unpacked on the way (archive/packing.py): bytes are counted in what it unpacks to. A link has
the contents of the file before it that it leads to (archive/links.py).

Format: POSIX.1-2017, `pax`, "ustar Interchange Format" and "pax Header Block"; GNU tar 1.35 manual, "Basic
Tar Format". Differs: a sparse file is given without data, because its bytes are not its contents. A global
pax header that sets a path or a size counts as damage, because no member could be cut out.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from functools import lru_cache
from typing import NamedTuple

from pipeline.pool.archive import extensions, links
from pipeline.pool.archive.packing import Unpacked, unpacked
from pipeline.pool.fields import escaped
from pipeline.storage.identity import Seen
from pipeline.storage.ranges import Location, Source, Stream, Watched, open_source

BLOCK = 512
MAX_MEMBER = 256 << 20  # a larger member is yielded without its data
MAX_OFFSET = 1 << 62  # no storage seeks further
ZEROS_AT_ONCE = 64 << 10  # bytes after the end marker that are looked at together

HEADER = struct.Struct("100s24x12s12x8sc100s6s82x155s12x")  # name size checksum type link magic prefix
ZEROS = bytes(BLOCK)
REGULAR = b"0\0007"
EXTENSIONS = extensions.KINDS
SPARSE = b"S"  # GNU's old format
BODILESS = b"123456"  # links, devices, directories, fifos
SENT = "not a tar: download it again, and look at what the server sent"
# What files that are no tars begin with, and what to do about it
OTHERS = {
    b"PK\x03\x04": "it is a zip archive: unpack it, and pack its files as a tar",
    b"7z\xbc\xaf\x27\x1c": "it is a 7z archive: unpack it, and pack its files as a tar",
    b"Rar!": "it is a RAR archive: unpack it, and pack its files as a tar",
    b"\x1f\x9d": "it is packed with compress (.Z): unpack it, or pack it with gzip",
    b"version https://git-lfs": "it is a pointer of Git LFS, not the file: run `git lfs pull`",
    b'{"': f"it is JSON, {SENT}",
    **dict.fromkeys((b"<!", b"<html", b"<HTML", b"<?xml", b"<Error"), f"it is a web page or XML, {SENT}"),
    b"PAR1": "it is a parquet file: give it a name that ends in .parquet",
}


class Damage(NamedTuple):
    """Where and why reading stopped: everything before byte `offset` was read. `member`: the member that is
    cut there, if its name is known."""

    offset: int
    reason: str
    member: str | None = None


class Member(NamedTuple):
    """A regular file in a tar, or a link.

    Bytes [header_offset, end) are the member with its long-name and pax headers and its padding; copied to
    another tar, they are a valid member there. Bytes [offset, offset + size) are its contents.
    """

    name: str
    header_offset: int
    offset: int
    size: int
    data: memoryview | None  # None if larger than MAX_MEMBER, or if there is trouble
    trouble: str = ""  # why it has no contents, of a sparse file or of a link that leads nowhere
    link_end: int = 0  # the first byte after a link, whose contents lie elsewhere

    @property
    def end(self) -> int:
        """The first byte after the member and its padding."""
        return self.link_end or _padded(self.offset + self.size)


class _Break(Exception):
    """The tar cannot be read further; args are the fields of a Damage."""


class Walk:
    """The regular members of a tar, in order. Once the loop has ended, `damage` is known, and `seen`: what
    the whole file was, also after a break or the end marker; None for bytes."""

    def __init__(self, location: Location | bytes | memoryview) -> None:
        self._location = location
        self.damage: Damage | None = None
        self.seen: Seen | None = None
        self.file: Watched | None = None  # that is read

    def __iter__(self) -> Generator[Member, None, None]:
        self.damage = None
        with ExitStack() as stack:
            raw = open_source(self._location, stack)
            if isinstance(raw, Stream) and isinstance(raw.file, Watched):
                self.file = raw.file
            source = unpacked(raw)
            try:
                yield from _members(source)
            except _Break as broken:
                self.damage = Damage(*broken.args)
            if isinstance(source, Stream) and isinstance(source.file, Unpacked):
                self.damage = _told_better(self.damage, source.file)
            self.seen = raw.finish()


def _told_better(damage: Damage | None, file: Unpacked) -> Damage | None:
    """The damage of a packed tar: where its data cannot be unpacked, that is the reason."""
    if not file.broken:
        return damage
    return damage._replace(reason=file.broken) if damage else Damage(file.size, file.broken)


def walk(location: Location | bytes | memoryview) -> Walk:
    """Iterate over the regular members of a tar: a path, an fsspec URL, or its bytes.

    After the loop, `.damage` is None or says where and why reading stopped. A member is yielded only if the
    tar goes on to the end of its padding. In names, bytes that are not UTF-8 are lone surrogates, so that no
    two names become equal (`fields.escaped`).
    Raises OSError if storage does and ChangedError if the file changes meanwhile, never because of the
    contents of a tar.
    """
    return Walk(location)


def _members(source: Source) -> Iterator[Member]:
    """Yield members up to the end-of-archive marker. Raises _Break if the tar cannot be read that far."""
    at = start = 0  # byte of this header, and of the first header that belongs to the same member
    given: dict[str, bytes] = {}  # attributes from the long-name and pax headers before the member's own
    headers = 0  # of such headers
    earlier = links.Earlier()
    add = earlier.add
    while header := _header(source, at, start):
        name, size, kind, link = header
        body = at + BLOCK
        if kind in EXTENSIONS:
            given |= _extension(source, start, body, size, kind)
            headers += 1
            if headers > extensions.MOST_HEADERS:
                raise _Break(start, f"more than {headers - 1} headers with attributes before one member")
            after = _padded(body + size)
            start, at = (after if start == at and kind == extensions.GLOBAL else start), after
            continue
        if given:
            name, size = given.get("path", name), int(given.get("size", size))
            link = given.get("linkpath", link)
        if kind not in REGULAR:
            body, size = _irregular(source, body, size, kind)
        text = name.partition(b"\0")[0].decode("utf-8", "surrogateescape")
        try:
            data = _data(source, body, size)
        except EOFError as error:
            raise _Break(start, f"{error} member {escaped(text)}", escaped(text)) from None
        after = _padded(body + size)
        if kind in REGULAR and "sparse" not in given:
            if text[-1:] != "/":
                add((text, body, size))
                yield Member(text, start, body, size, data)
        elif kind in links.KINDS:
            target = earlier.follow(source, text, _text(link), kind == links.HARD, at)
            yield Member(text, start, *target, after)
        elif kind in REGULAR or kind == SPARSE:
            trouble = f"{escaped(text)} is a sparse file: pack it as a whole"
            yield Member(text, start, body, size, None, trouble)
        at = start = after
        headers = 0
        given = {}


def _text(name: bytes) -> str:
    """A name in a header up to its first NUL."""
    return name.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _header(source: Source, at: int, start: int) -> tuple[bytes, int, bytes, bytes] | None:
    """(name, size, type, link) from the header at byte `at`; None at the end-of-archive marker."""
    block = source.read(at, BLOCK)
    if len(block) < BLOCK:
        raise _Break(start, _why(bytes(block), at))
    name, size, checksum, kind, link, magic, prefix = HEADER.unpack(block)
    if not _sums_up(block, checksum):
        if block != ZEROS:
            raise _Break(start, _why(bytes(block), at))
        _expect_zeros(source, at)
        return None
    if magic == b"ustar\0" and prefix[0]:
        name = prefix.partition(b"\0")[0] + b"/" + name
    return name, _number(size), kind, link


def _data(source: Source, at: int, size: int) -> memoryview | None:
    """The contents of a member, None if it is larger than MAX_MEMBER. Raises EOFError if the file ends
    before."""
    padded = size + -size % BLOCK
    if size < 0:
        raise EOFError("a size that cannot be read in the header of")
    if size <= MAX_MEMBER:
        data = source.read(at, padded)
        if len(data) == padded:
            return data[:size]
    elif len(source.read(at + padded - BLOCK, BLOCK)) == BLOCK:
        return None
    raise EOFError("the file ends inside")


def _irregular(source: Source, body: int, size: int, kind: bytes) -> tuple[int, int]:
    """(first byte, number of bytes) of the data that a link, directory, device or sparse file stores."""
    if kind == SPARSE:  # GNU's old sparse files: the map goes on in blocks after the header
        more = source.read(body - BLOCK, BLOCK)[482:483]
        while more and bytes(more) != b"\0":
            more, body = source.read(body, BLOCK)[504:505], body + BLOCK
    elif kind in BODILESS and size > 0:
        block = source.read(body, BLOCK)  # some writers state the size of a link's target and store nothing
        if len(block) == BLOCK and (block == ZEROS or _sums_up(block, bytes(block[148:156]))):
            size = 0
    return body, size


def _extension(source: Source, start: int, body: int, size: int, kind: bytes) -> dict[str, bytes]:
    """The attributes of the next member from a long-name or pax header."""
    what = f"the header at byte {body - BLOCK}"
    if size > extensions.MAX_BYTES:
        allowed = f"allowed are {extensions.MAX_BYTES:,}"
        raise _Break(start, f"{what} announces {size} bytes of attributes, {allowed}")
    try:
        given = extensions.attributes(kind, bytes(_data(source, body, size) or b""))
    except (EOFError, ValueError) as error:
        raise _Break(start, f"{error} {what}") from None
    if kind == extensions.GLOBAL and given:
        raise _Break(start, f"{what} sets the {min(given)} of all members: not supported; pack the tar anew")
    return given


def _expect_zeros(source: Source, at: int) -> None:
    """Raises _Break if data follows the end-of-archive marker. Other readers stop there; but a hole in a
    file looks like the marker, and joined tars have one in the middle."""
    while chunk := source.read(at, ZEROS_AT_ONCE):
        if data := bytes(chunk).lstrip(b"\0"):
            at += len(chunk) - len(data)
            raise _Break(at, f"data after the end marker, at byte {at}: joined tars, or a hole")
        at += len(chunk)


def _why(block: bytes, at: int) -> str:
    """Why the bytes at `at` are not a header."""
    other = next((OTHERS[magic] for magic in OTHERS if block.startswith(magic)), None)
    if other and not at:
        return other
    if len(block) == BLOCK:
        return f"the header at byte {at} has a wrong checksum"
    if block:
        return f"the file ends inside the header at byte {at}"
    return "ends without the end-of-archive marker" if at else "the file is empty"


def _sums_up(block: memoryview, checksum: bytes) -> bool:
    """Whether the bytes of a header, with eight blanks for the checksum, sum to it. In some old tars they
    are signed.

    The lower half of Adler-32 is 1 + the sum, modulo 65521, and several times faster than `sum`.
    """
    total = _sum(checksum)
    if zlib.adler32(block) & 0xFFFF == (total + 1) % 65521:
        return total >= 0
    return total >= 0 and sum(struct.unpack("512b", block)) == total


@lru_cache(maxsize=1 << 14)
def _sum(checksum: bytes) -> int:
    """The sum of all bytes of a header with this checksum field; -1 if the field is not a number."""
    stored = _number(checksum)
    return stored + sum(checksum) - 8 * ord(" ") if stored >= 0 else -1


def _number(field: bytes) -> int:
    """A number in a header, octal or base-256; -1 if it is neither, or negative, or larger than
    MAX_OFFSET."""
    try:
        return int(field.rstrip(b"\0 ") or b"0", 8)
    except ValueError:
        pass
    if field[0] == 0x80:
        number = int.from_bytes(field[1:])
        return number if number < MAX_OFFSET else -1
    text = field.partition(b"\0")[0].strip()
    return int(text, 8) if text.isdigit() and not text.strip(b"01234567") else -1


def _padded(offset: int) -> int:
    """The next multiple of BLOCK."""
    return offset + -offset % BLOCK

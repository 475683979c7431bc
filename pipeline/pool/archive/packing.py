"""Packed tars, unpacked as they are read forwards: gzip, bzip2, xz, zstd and lz4, in one piece or several.

A file that breaks off gives everything before the break. Time and memory are bounded: a file may unpack to
FREE bytes and RATIO times its size, and no more than a piece is held.
"""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

import pyarrow as pa

from pipeline.storage.identity import Seen
from pipeline.storage.ranges import Source, Stream

PACKED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
}
SUFFIXES = tuple(
    f"{tar}{suffix}"
    for tar, endings in (
        (".tar.", ("gz", "bz2", "xz", "zst", "lz4")),
        (".t", ("gz", "bz2", "bz", "xz", "zst")),
    )
    for suffix in endings
)
MAGIC = max(map(len, PACKED))
PIECE = 256 << 10  # bytes unpacked at a time
FREE = 64 << 20  # bytes that any file may unpack to,
RATIO = 100  # and so many times its size: tars of captions alone come to 20
RECENT = 32 << 20  # bytes unpacked last, to which a link in the tar may lead
XZ_MEMORY = 128 << 20  # bytes: `xz -9` needs 65 MiB
GZIP = 31  # zlib's wbits for gzip with a window of any size

Read = Callable[[], bytes]  # the next packed bytes; none at the end


class Unpacker(Protocol):
    """As bz2.BZ2Decompressor."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Inflate:
    """zlib's object, with the interface of bz2's."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(GZIP)
        self._full = False

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def unused_data(self) -> bytes:
        return self._inflate.unused_data

    @property
    def needs_input(self) -> bool:
        return not (self._inflate.unconsumed_tail or self._full)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        piece = self._inflate.decompress(self._inflate.unconsumed_tail + data, max_length)
        self._full = len(piece) == max_length  # zlib may hold more
        return piece


UNPACKERS: dict[str, Callable[[], Unpacker]] = {
    "gzip": _Inflate,
    "bzip2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(memlimit=XZ_MEMORY),
}


class _Broken(Exception):
    """The packed data cannot be unpacked further; args: why."""


def packing_of(start: bytes | memoryview) -> str | None:
    """How a file that begins so is packed; None if it is not."""
    return next((name for magic, name in PACKED.items() if start[: len(magic)] == magic), None)


def unpacked(source: Source) -> Source:
    """The same source, or if it is packed, what it unpacks to."""
    packing = packing_of(source.read(0, MAGIC))
    return Stream(Unpacked(source, packing)) if packing else source


class Unpacked:
    """See ranges.Forwards. `broken`: why unpacking stopped before the end; empty if it did not."""

    chunk = PIECE

    def __init__(self, source: Source, packing: str) -> None:
        self.broken = ""
        self._source = source
        self._packing = packing
        self._packed = 0  # bytes read,
        self.size = 0  # and the bytes that they gave
        self._pieces = _pieces(self._next, packing)
        self._piece = memoryview(b"")
        self._recent: deque[bytes] = deque()
        self._recent_size = 0

    def readinto(self, buffer: memoryview) -> int:
        """See Forwards."""
        if not self._piece:
            self._piece = memoryview(self._unpack())
        size = min(len(buffer), len(self._piece))
        buffer[:size] = self._piece[:size]
        self._piece = self._piece[size:]
        return size

    def again(self, offset: int, length: int) -> bytes | None:
        """See Source. None if the bytes came too long ago."""
        start = offset - (self.size - self._recent_size)
        return b"".join(self._recent)[start : start + length] if start >= 0 else None

    def finish(self) -> Seen | None:
        """See Forwards: of the packed file."""
        return self._source.finish()

    def _next(self) -> bytes:
        """The next packed bytes."""
        data = bytes(self._source.read(self._packed, PIECE))
        self._packed += len(data)
        return data

    def _unpack(self) -> bytes:
        """The next piece; none at the end or a break."""
        if self.broken:
            return b""
        try:
            piece = next(self._pieces, b"")
        except _Broken as broken:
            self.broken = f"the {self._packing} data cannot be unpacked further: {broken}"
            return b""
        self.size += len(piece)
        if self.size > FREE + RATIO * self._packed:
            self.broken = f"the {self._packing} data unpacks to over {RATIO} times its size: unpack it first"
            return b""
        self._recent.append(piece)
        self._recent_size += len(piece)
        while self._recent_size > RECENT:
            self._recent_size -= len(self._recent.popleft())
        return piece


def _pieces(read: Read, packing: str) -> Iterator[bytes]:
    """What packed bytes unpack to, at most PIECE bytes at a time. Raises _Broken."""
    return _streams(read, UNPACKERS[packing]) if packing in UNPACKERS else _arrow(read, packing)


def _streams(read: Read, unpacker: Callable[[], Unpacker]) -> Iterator[bytes]:
    """Of packed streams one after the other, with zeros between them."""
    data = read()
    while data := data.lstrip(b"\0") or read():
        unpack = unpacker()
        while not unpack.eof:
            if unpack.needs_input and not data and not (data := read()):
                raise _Broken("the file ends inside it")
            try:
                piece = unpack.decompress(data, PIECE)
            except (zlib.error, lzma.LZMAError, EOFError, OSError, ValueError) as error:
                raise _Broken(str(error)) from None
            data = b""
            if piece:
                yield piece
        data = unpack.unused_data or read()


class _Raw(io.RawIOBase):
    """Packed bytes as a file. `error`: what reading them raised."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._rest = b""
        self.error: Exception | None = None

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        try:
            self._rest = self._rest or self._read()
        except Exception as error:
            self.error = error
            raise
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


def _arrow(read: Read, packing: str) -> Iterator[bytes]:
    """By Arrow's codecs, which read several frames, too."""
    raw = _Raw(read)
    with pa.CompressedInputStream(pa.PythonFile(raw, "r"), packing) as stream:
        while True:
            try:
                piece = stream.read(PIECE)
            except OSError as error:
                if raw.error is not None:
                    raise raw.error from None
                raise _Broken(str(error)) from None
            if not piece:
                return
            yield piece

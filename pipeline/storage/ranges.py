"""Bytes of a file on any fsspec file system: read forwards once, or fetched as ranges.

    with ExitStack() as stack:
        source = open_source("s3://pool/00000.tar", stack)
        header = source.read(0, 512)
    with ByteRanges("s3://pool/00000.tar") as file:
        picture = file.read(1_000_000, 20_000)

A local file is mapped into memory: reads are views, nothing is copied. Other storage is read in chunks, and
each is freed once the reader has passed it. Storage errors (a missing file, no permission, a broken
connection) are OSErrors and pass through. If a mapped file is truncated while it is read, the system ends the
process (SIGBUS).
"""

from __future__ import annotations

import mmap
import os
from contextlib import ExitStack
from typing import BinaryIO, Protocol, Self

import fsspec
from fsspec.core import split_protocol

CHUNK = 4 << 20  # bytes asked of a stream at a time

Location = str | os.PathLike[str]


class Source(Protocol):
    """Bytes that are read forwards."""

    def read(self, offset: int, length: int) -> memoryview:
        """Bytes [offset, offset + length), fewer at the end of the file. `offset` must not be smaller than in
        the call before."""


class Memory:
    """A source whose bytes are in memory, or mapped."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._view = memoryview(data)

    def read(self, offset: int, length: int) -> memoryview:
        """See Source."""
        return self._view[offset : offset + length]


class Stream:
    """A source that holds the bytes from the last offset on and frees those before it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._start = 0  # the offset of the first byte held
        self._held = memoryview(b"")

    def read(self, offset: int, length: int) -> memoryview:
        """See Source."""
        self._skip(offset - self._start - len(self._held))
        self._held = self._held[offset - self._start :]
        self._start = offset
        if len(self._held) < length:
            self._fill(length)
        return self._held[:length]

    def _fill(self, length: int) -> None:
        """Read on until `length` bytes are held, or the file ends."""
        parts = [self._held]
        size = len(self._held)
        while size < length and (part := self._file.read(max(CHUNK, length - size))):
            parts.append(memoryview(part))
            size += len(part)
        self._held = memoryview(b"".join(parts))

    def _skip(self, gap: int) -> None:
        """Move on by so many bytes: seek if there are many, else read and drop them."""
        if gap > CHUNK:
            try:
                self._file.seek(gap, os.SEEK_CUR)
                return
            except ValueError:  # fsspec's HTTP streams, and io, cannot seek
                pass
        while gap > 0 and (part := self._file.read(min(gap, CHUNK))):
            gap -= len(part)


def open_source(location: Location | bytes | memoryview, stack: ExitStack) -> Source:
    """Open a path, an fsspec URL, or bytes for reading forwards, until the stack is closed."""
    if isinstance(location, bytes | memoryview):
        return Memory(location)
    local = local_path(location)
    if local is not None:
        return Memory(map_file(local))
    return Stream(stack.enter_context(fsspec.open(location, "rb")))


def local_path(location: Location) -> str | None:
    """The path of a location on this machine, with `~` expanded, or None for a URL of other storage."""
    protocol, rest = split_protocol(os.fspath(location))
    return os.path.expanduser(rest) if protocol in (None, "file", "local") else None


def map_file(path: str) -> memoryview:
    """A whole local file as a view. It stays mapped for as long as any part of the view is referenced."""
    with open(path, "rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return memoryview(b"")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


class ByteRanges:
    """Many byte ranges of one file, in any order: a context manager."""

    def __init__(self, location: Location) -> None:
        self._location = location
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        local = local_path(self._location)
        self._view = None if local is None else map_file(local)
        if local is None:
            self._file = self._stack.enter_context(fsspec.open(self._location, "rb"))
        return self

    def __exit__(self, *_: object) -> None:
        self._view = None
        self._stack.close()

    def read(self, offset: int, length: int) -> bytes:
        """Bytes [offset, offset + length). Raises OSError if the file ends before that."""
        if self._view is not None:
            data = bytes(self._view[offset : offset + length])
        else:
            self._file.seek(offset)
            data = self._file.read(length)
        if len(data) == length:
            return data
        raise OSError(f"{self._location} ends before byte {offset + length}: was it replaced?")


def read_range(location: Location, offset: int, length: int) -> bytes:
    """Bytes [offset, offset + length) of one file. Raises OSError if it is missing or ends before that."""
    with ByteRanges(location) as file:
        return file.read(offset, length)

"""Bytes of a file on any fsspec file system: read forwards once, or fetched as ranges.

    with ExitStack() as stack:
        source = open_source("s3://pool/00000.tar", stack)
        header = source.read(0, 512)
        source.finish()                           # Seen(state, content): what was read
    with ByteRanges("s3://pool/00000.tar") as file:
        picture = file.read(1_000_000, 20_000)
    identify("s3://pool/00000.tar")               # the same Seen, without a use for the bytes

A file that is read forwards is read to its end, whatever the reader needs of it: its content is the digest
of all its bytes. If it was rewritten, replaced or removed meanwhile, ChangedError says so. Storage errors
(a missing file, no permission, a broken connection) are OSErrors and pass through.

A local file is not mapped: if a mapped file is truncated while it is read, the system ends the process
(SIGBUS).
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from functools import cached_property
from io import FileIO
from typing import Any, Protocol, Self

from fsspec.core import split_protocol, url_to_fs

from pipeline.errors import ChangedError
from pipeline.storage.identity import Digest, Seen, listed_state, local_state, remote_state, state_difference
from pipeline.storage.web import open_remote

CHUNK = 4 << 20  # bytes asked of other storage at a time
LOCAL_CHUNK = 256 << 10  # bytes read of a local file at a time: they stay in the core's cache
READ_AGAIN = "it is read again"
RUN_AGAIN = "run the command again: the shard will be read anew"

Location = str | os.PathLike[str]


class Source(Protocol):
    """Bytes that are read forwards."""

    def read(self, offset: int, length: int) -> memoryview:
        """Bytes [offset, offset + length), fewer at the end of the file. `offset` must not be smaller than in
        the call before."""

    def again(self, offset: int, length: int) -> bytes | memoryview | None:
        """Bytes that were passed before, fewer at the end of the file; None if they are out of reach."""

    def finish(self) -> Seen | None:
        """See Watched.finish; None if the bytes are not those of a file."""


class Forwards(Protocol):
    """What a Stream reads, at most `chunk` bytes at a time: a Watched, or what it unpacks to."""

    chunk: int

    def readinto(self, buffer: memoryview) -> int: ...
    def again(self, offset: int, length: int) -> bytes | None: ...
    def finish(self) -> Seen | None: ...


class Memory:
    """A source whose bytes are in memory."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._view = memoryview(data)

    def read(self, offset: int, length: int) -> memoryview:
        """See Source. Nothing is copied."""
        return self._view[offset : offset + length]

    again = read

    def finish(self) -> None:
        """See Source."""
        return


class Opened:
    """A file that is open until a stack is closed, and the state in which it was opened. `options`: of
    fsspec's `open`."""

    def __init__(self, location: Location, stack: ExitStack, **options: Any) -> None:
        self.location = os.fspath(location)
        self.path = local_path(location)  # None if it is not local
        if self.path is not None:
            self.file: Any = stack.enter_context(FileIO(self.path))
            self._stat = os.fstat(self.file.fileno())
        else:
            self._fs, self._key = url_to_fs(self.location)
            self.file = stack.enter_context(open_remote(self._fs, self._key, **options))

    @cached_property
    def state(self) -> str:
        """See storage/identity.py. Object storage has told it as it opened the file; of others it is asked
        at the first call."""
        if self.path is not None:
            return local_state(self._stat)
        told = remote_state(getattr(self.file, "details", None) or {})
        return told or listed_state(self._fs.info(self._key))

    def read(self, size: int) -> bytes:
        """The next bytes, at most so many; none at the end of the file."""
        return self.file.read(size) if self.path is not None else self._from_storage(size)

    def readinto(self, buffer: memoryview) -> int:
        """Fill a buffer with the next bytes and return how many there were; 0 at the end of the file."""
        if self.path is not None:
            return self.file.readinto(buffer) or 0
        data = self._from_storage(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read_at(self, offset: int, length: int) -> bytes:
        """Bytes [offset, offset + length), fewer at the end of the file; `read` goes on where it was."""
        if self.path is not None:
            return os.pread(self.file.fileno(), length, offset)
        at = self.file.tell()
        self.file.seek(offset)
        data = self._from_storage(length)
        self.file.seek(at)
        return data

    again = read_at

    def _from_storage(self, length: int) -> bytes:
        """The next bytes."""
        try:
            return bytes(self.file.read(length))
        except OSError as error:
            raise self.explained(error) from None

    def explained(self, error: OSError) -> OSError | ChangedError:
        """The same error, or what it means: s3fs asks for the bytes of the version that it opened, and fails
        if there is another."""
        if type(error).__name__ != "FileExpired" and "pre-conditions" not in str(error):
            return error
        self._fs.invalidate_cache()  # else the next attempt would ask for the same version
        return ChangedError(f"{self.location} changed while it was read: {READ_AGAIN}")

    def check(self, step: str = READ_AGAIN) -> None:
        """Raises ChangedError, with the next step, if the file at this path is not as it was when it was
        opened. Other storage than local is not asked."""
        if self.path is not None and (change := self._change(self.path)):
            raise ChangedError(f"{self.location} changed while it was read ({change}): {step}")

    def _change(self, path: str) -> str:
        """How the file at the path differs from the one that was opened; empty if it does not."""
        try:
            now = os.stat(path)
        except FileNotFoundError:
            return "it was removed"
        if os.path.samestat(now, self._stat):
            now = os.fstat(self.file.fileno())
            return state_difference(self.state, local_state(now))
        return state_difference(self.state, local_state(now)) or "replaced by another file"


class Watched(Opened):
    """A file that is read forwards once; all its bytes count towards its content."""

    def __init__(self, location: Location, stack: ExitStack) -> None:
        super().__init__(location, stack)
        self.chunk = LOCAL_CHUNK if self.path is not None else CHUNK
        self._state = self.state  # asked before the first byte is read
        self._digest = Digest()

    def readinto(self, buffer: memoryview) -> int:
        """See Opened."""
        size = super().readinto(buffer)
        self._digest.update(buffer[:size])
        return size

    def read(self, size: int) -> bytes:
        """See Opened."""
        data = super().read(size)
        self._digest.update(data)
        return data

    def finish(self) -> Seen:
        """Read on to the end of the file: its state when it was opened, and the digest of all its bytes.
        Raises ChangedError if it has changed since it was opened."""
        buffer = memoryview(bytearray(self.chunk))
        while self.readinto(buffer):
            pass
        self.check()
        return Seen(self._state, self._digest.hexdigest())


class Stream:
    """A source that holds one chunk of a file. What it gives is copied out of the chunk, so that a few bytes
    that are kept do not keep the chunk."""

    def __init__(self, file: Forwards) -> None:
        self.file = file
        self._chunk = bytearray(file.chunk)
        self._held = self._chunk  # or a larger buffer
        self._start = 0  # the offset of the first byte held
        self._size = 0  # bytes held

    def read(self, offset: int, length: int) -> memoryview:
        """See Source."""
        at = offset - self._start
        end = at + length
        if end > self._size:
            at, end = self._move(offset, length)
        if end - at > len(self._chunk):
            return memoryview(self._held)[at:end]
        return memoryview(self._held[at:end])

    def again(self, offset: int, length: int) -> bytes | None:
        """See Source."""
        return self.file.again(offset, length)

    def finish(self) -> Seen | None:
        """See Source."""
        return self.file.finish()

    def _move(self, offset: int, length: int) -> tuple[int, int]:
        """Hold the bytes from an offset on: a chunk, or if that is more, `length` bytes. Returns where the
        first `length` of them lie, or as many as there are."""
        self._skip(offset - self._start - self._size)
        rest = memoryview(self._held)[offset - self._start : self._size]
        held = self._chunk if length <= len(self._chunk) else bytearray(length)
        into = memoryview(held)
        into[: len(rest)] = rest
        size = len(rest)
        while part := self.file.readinto(into[size : size + len(self._chunk)]):
            size += part
        self._held = held
        self._start = offset
        self._size = size
        return 0, min(length, size)

    def _skip(self, gap: int) -> None:
        """Read so many bytes and drop them: they count towards the file's content."""
        into = memoryview(self._chunk)
        if gap > 0:
            self._start += self._size
            self._size = 0
        while gap > 0 and (part := self.file.readinto(into[:gap])):
            self._start += part
            gap -= part


def open_source(location: Location | bytes | memoryview, stack: ExitStack) -> Source:
    """Open a path, an fsspec URL, or bytes for reading forwards, until the stack is closed."""
    if isinstance(location, bytes | memoryview):
        return Memory(location)
    return Stream(Watched(location, stack))


def identify(location: Location) -> Seen:
    """The state and the content of a file. Raises ChangedError and OSError."""
    with ExitStack() as stack:
        return Watched(location, stack).finish()


def local_path(location: Location) -> str | None:
    """The path of a location on this machine, with `~` expanded, or None for a URL of other storage."""
    protocol, rest = split_protocol(os.fspath(location))
    return os.path.expanduser(rest) if protocol in (None, "file", "local") else None


class ByteRanges:
    """Many byte ranges of one file, in any order: a context manager. `state`: the state that the file must
    have, if it is known; `options`: of fsspec's `open`. Raises ChangedError if the file has another, or
    changes before the end of the block."""

    def __init__(self, location: Location, state: str = "", **options: Any) -> None:
        self._location, self._state, self._options = location, state, options
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._file = Opened(self._location, self._stack, **self._options)
        if self._state and (change := state_difference(self._state, self._file.state)):
            self._stack.close()
            raise ChangedError(f"{self._location} has changed since it was listed ({change}): {RUN_AGAIN}")
        return self

    def __exit__(self, failed: object, *_: object) -> None:
        with self._stack:
            if failed is None:
                self.check()

    def check(self) -> None:
        """Raises ChangedError if the file has changed since it was opened."""
        self._file.check(RUN_AGAIN)

    def read(self, offset: int, length: int) -> bytes:
        """Bytes [offset, offset + length). Raises ChangedError if the file has changed, and OSError if it
        ends before that."""
        data = self._file.read_at(offset, length)
        if len(data) == length:
            return data
        self.check()
        raise OSError(f"{self._location} ends before byte {offset + length}: {RUN_AGAIN}")

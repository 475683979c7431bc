"""The files of samples of one tar, for exports.

    with TarFiles("pool/00000.tar", state) as files:
        files.of("00012", offset, length)        # [("jpg", ...), ("txt", ...)]

Usually a sample is a byte range of its tar. If the tar is packed, if files of other samples lie in the range,
or if a link leads out of it, the tar is read from front to back, as far as the samples that are asked for go;
a sample that lies before the last one makes it begin anew.
"""

from collections import deque
from collections.abc import Generator
from contextlib import ExitStack
from typing import Any, Self

from pipeline.errors import ChangedError
from pipeline.pool.archive.packing import MAGIC, SUFFIXES, packing_of
from pipeline.pool.fetching import Fetch, FetchedRanges, asks_first, cache_of
from pipeline.pool.fields import escaped
from pipeline.pool.tar import Member, walk
from pipeline.pool.webdataset import split_name
from pipeline.storage.identity import state_difference
from pipeline.storage.ranges import RUN_AGAIN, ByteRanges

Fields = list[tuple[str, memoryview]]  # (suffix as written, contents), in order


def _fields(members: list[Member], key: str) -> Fields:
    """Those of the members that belong to a key and have contents. Members over MAX_MEMBER have none."""
    named = ((_suffix(member, key), member.data) for member in members)
    return [(suffix, data) for suffix, data in named if suffix and data is not None]


def _suffix(member: Member, key: str) -> str:
    """The suffix of a member of this key; empty if it belongs to another."""
    name = escaped(member.name)
    suffix = name.removeprefix(f"{key}.")
    return suffix if suffix != name and "/" not in suffix else ""


class TarFiles:
    """The files of chosen samples of one tar: a context manager. `state`: the state that the tar must have,
    if it is known. `fetch`: which samples will be asked for, if that is known. Raises ChangedError as
    ByteRanges does."""

    def __init__(self, path: str, state: str, fetch: Fetch | None = None) -> None:
        self._path = path
        self._state = state
        self._fetch = fetch
        self._ranges = ByteRanges(path, state) if fetch is None else FetchedRanges(path, state, fetch)
        self._stack = ExitStack()
        self._through: Through | None = None

    def __enter__(self) -> Self:
        self._stack.enter_context(self._ranges)
        if self._path.endswith(SUFFIXES):
            self._read_through()
        return self

    def __exit__(self, *failed: object) -> None:
        self._stack.__exit__(*failed)  # type: ignore[arg-type]

    def of(self, key: str, offset: int, length: int) -> Fields:
        """The files of the sample with this key in bytes [offset, offset + length). Raises ChangedError if
        there are none."""
        fields = None
        if self._through is None:
            fields = self._in_range(key, offset, length)
        if fields is None:
            fields = self._read_through().of(key, offset, length)
        if not fields:
            self._ranges.check()
            raise ChangedError(f"{self._path} is not the tar that was read (no {key} there): {RUN_AGAIN}")
        return fields

    def _in_range(self, key: str, offset: int, length: int) -> Fields | None:
        """The files, if the bytes of the range hold all that is needed."""
        try:
            raw = self._ranges.read(offset, length)
        except OSError:
            if packing_of(self._ranges.read(0, MAGIC)):
                return None
            raise
        members = list(walk(raw))
        if not members or any(_leads_out(member, key) for member in members):
            return None
        return _fields(members, key)

    def _read_through(self) -> "Through":
        """The tar, read from the front."""
        if self._through is None:
            self._through = Through(self._path, self._state, self._fetch)
            self._stack.callback(self._through.close)
        return self._through


def _leads_out(member: Member, key: str) -> bool:
    """Whether a member in a sample's range shows that the range does not do."""
    if _suffix(member, key):
        return bool(member.trouble)
    return split_name(member.name) is not None


class Through:
    """The members of a tar, read forwards; those from the last sample on are held."""

    def __init__(self, path: str, state: str, fetch: Fetch | None) -> None:
        self._path = path
        self._state = state
        self._fetch = fetch
        self._begin()

    def _begin(self) -> None:
        self._walk = walk(self._path)
        if self._fetch is not None:
            self._fetch.add(asks_first(self._path), 0)
        self._cache: Any = None  # of the file on other storage, which knows what was asked for
        self._members: Generator[Member, None, None] = iter(self._walk)
        self._held: deque[Member] = deque()
        self._by_stem: dict[str, list[Member]] = {}
        self._start = 0  # members before this byte are let go
        self._at = -1  # the header of the last member that was read

    def of(self, key: str, offset: int, length: int) -> Fields:
        """See TarFiles.of; empty if there are none."""
        if offset < self._start:
            self.close()
            self._begin()
        self._start = offset
        while self._held and self._held[0].header_offset < offset:
            self._let_go(self._held.popleft())
        while self._at < offset + length and (member := next(self._members, None)) is not None:
            if self._at < 0:
                self._check()
            self._at = member.header_offset
            if self._at >= offset:
                self._held.append(member)
                self._by_stem.setdefault(_stem(member), []).append(member)
        stem = (split_name(f"{key}.") or ("",))[0]
        near = self._by_stem.get(stem, [])
        return _fields([m for m in near if offset <= m.header_offset < offset + length], key)

    def _let_go(self, member: Member) -> None:
        """Forget a member: the first of its stem."""
        stem = _stem(member)
        self._by_stem[stem].pop(0)
        if not self._by_stem[stem]:
            del self._by_stem[stem]

    def _check(self) -> None:
        """Raises ChangedError if the tar, as it was opened now, is not the one that was listed."""
        file = self._walk.file
        assert file is not None
        self._cache = cache_of(file)
        if self._state and (change := state_difference(self._state, file.state)):
            raise ChangedError(f"{self._path} has changed since it was listed ({change}): {RUN_AGAIN}")

    def close(self) -> None:
        """Close the file."""
        self._members.close()
        if self._fetch is not None:
            self._fetch.add_cache(self._cache)
            self._cache = None


def _stem(member: Member) -> str:
    """The name of a member up to the first dot."""
    return (split_name(escaped(member.name)) or ("",))[0]

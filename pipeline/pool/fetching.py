"""Chosen samples of a shard, fetched for people to look at: which byte ranges are asked for together, and
what that costs.

    fetch = Fetch([(0, 20_000), (20_000, 31_000)])
    with kind.members(shard, fetch) as members_of:
        members_of(row)
    fetch.requests, fetch.bytes

An export reads a shard from front to back, so other storage is asked for long runs, whatever lies in them. Of
a few samples that would be far too much: here neighbours come in one request, and what lies between others is
left out.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Self

from fsspec.core import url_to_fs

from pipeline.storage.ranges import ByteRanges, Opened, local_path

GAP = 128 << 10  # bytes between two samples that are read with them: cheaper than another request
RUN = 32 << 20  # bytes of one request, unless a sample has more


@dataclass
class Fetch:
    """What will be asked for, and what was.

    ranges    (offset, length) of the samples in the shard's file, if the kind of pool has them
    requests  to other storage, or reads of a local file, so far
    bytes     that came
    """

    ranges: Sequence[tuple[int, int]] = ()
    requests: int = 0
    bytes: int = 0

    def add(self, requests: int, size: int) -> None:
        """Count what was asked for, and the bytes that came."""
        self.requests += requests
        self.bytes += size

    def add_cache(self, cache: Any) -> None:
        """Count what a file of other storage was asked for, as its cache tells; see `cache_of`."""
        if cache is not None:
            self.add(cache.miss_count, cache.total_requested_bytes)


def cache_of(file: Opened) -> Any:
    """fsspec's cache of a file of other storage, which counts; None of a local file."""
    return getattr(file.file, "cache", None) if file.path is None else None


def open_counted(path: str, stack: ExitStack, fetch: Fetch | None) -> Opened:
    """A file that is open until a stack is closed. What it is asked for is counted then."""
    first = 0 if fetch is None else asks_first(path)
    file = Opened(path, stack)
    if fetch is not None:
        fetch.add(first, 0)
        stack.callback(fetch.add_cache, cache_of(file))
    return file


def asks_first(url: str) -> int:
    """How many requests it takes to open a file: one for its size, unless it was listed before."""
    if local_path(url) is not None:
        return 0
    fs, path = url_to_fs(url)
    return int(path.rpartition("/")[0] not in fs.dircache)


def runs(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """(start, end) of what is read at once, ascending: ranges with little between them are put together."""
    found: list[tuple[int, int]] = []
    for offset, length in sorted(ranges):
        start, end = found[-1] if found else (0, 0)
        if found and offset - end <= GAP and offset + length - start <= RUN:
            found[-1] = (start, max(end, offset + length))
        else:
            found.append((offset, offset + length))
    return found


class FetchedRanges:
    """As ByteRanges, for ranges that are known before. A context manager."""

    def __init__(self, path: str, state: str, fetch: Fetch) -> None:
        local = local_path(path) is not None
        options: dict[str, Any] = {} if local else {"cache_type": "none"}
        self._ranges = ByteRanges(path, state, **options)
        self._path = path
        self._fetch = fetch
        self._runs = [] if local else runs(fetch.ranges)
        self._held = b""
        self._start = 0  # the offset of the first byte held

    def __enter__(self) -> Self:
        self._fetch.add(asks_first(self._path), 0)
        self._ranges.__enter__()
        return self

    def __exit__(self, *failed: object) -> None:
        self._ranges.__exit__(*failed)

    def check(self) -> None:
        """See ByteRanges."""
        self._ranges.check()

    def read(self, offset: int, length: int) -> bytes:
        """See ByteRanges."""
        end = offset + length
        if not self._start <= offset <= end <= self._start + len(self._held):
            self._held = self._run(offset, length)
        return self._held[offset - self._start : end - self._start]

    def _run(self, offset: int, length: int) -> bytes:
        """The run that holds a range, else the range alone."""
        run = next((r for r in self._runs if r[0] <= offset and offset + length <= r[1]), None)
        for start, end in (run,) if run else ():
            self._start = start
            try:
                return self._asked(start, end - start)
            except OSError:  # the file may end before another of its samples
                continue
        self._start = offset
        return self._asked(offset, length)

    def _asked(self, offset: int, length: int) -> bytes:
        """One read, counted."""
        self._fetch.add(1, 0)
        data = self._ranges.read(offset, length)
        self._fetch.add(0, len(data))
        return data

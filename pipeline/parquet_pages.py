"""The pages of a parquet file: what they unpack to and how many values they have, by their own headers.

    pages = walk(file, chunk)       # Pages(unpacked=5_242_880, values=1000)

A footer may say less than the pages hold, and Arrow believes the pages. Their headers are Thrift's compact
protocol; of them only numbers are read. Nothing is unpacked.

    file = HeldRanges(remote)       # a file object on which Arrow reads, and `walk` too
    file.hold([(4, 20_000)])        # one request; what lies in it costs none from now on
"""

import os
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import IO, Any, NamedTuple

from pyarrow.parquet import ColumnChunkMetaData

READ = 4096  # bytes of a header that are read first
GAP = 64 << 10  # bytes between two ranges that are fetched with them: cheaper than another request
LONGEST = 16 << 20  # bytes of a header: as Arrow
DEPTH = 16  # of structs in a header
STOP, TRUE, FALSE, BYTE, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 11, 12
INTEGERS = (4, 5, 6)
UNPACKED, PACKED, DATA, DATA_V2 = 2, 3, 5, 8  # fields of a PageHeader
VALUES = 1  # of a data page's header: the field that counts them

Fields = dict[int, Any]


class Pages(NamedTuple):
    """What the pages of one column in a row group add up to."""

    unpacked: int
    values: int


class HeldRanges:
    """A file of other storage as a file object, of which some byte ranges are held. A read that lies in one
    of them costs no request."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._held: list[tuple[int, bytes]] = []
        self._at = 0
        self.closed = False

    @cached_property
    def size(self) -> int:
        """Bytes of the file."""
        return int(self._file.seek(0, os.SEEK_END) or self._file.tell())

    def hold(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Fetch these (offset, length), and let go of those before."""
        self._held = []
        self._held = [(start, self._fetched(start, end - start)) for start, end in _joined(ranges, self.size)]

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As of any file object."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        return self._at

    def tell(self) -> int:
        """As of any file object."""
        return self._at

    def read(self, size: int = -1) -> bytes:
        """As of any file object."""
        size = max(0, self.size - self._at) if size < 0 else size
        start, data = next((h for h in self._held if h[0] <= self._at < h[0] + len(h[1])), (0, b""))
        found = data[self._at - start : self._at - start + size] if data else b""
        if len(found) < size:
            found = self._fetched(self._at, size)
        self._at += len(found)
        return found

    def close(self) -> None:
        """Let go of what is held; the file stays open."""
        self._held = []
        self.closed = True

    def _fetched(self, offset: int, length: int) -> bytes:
        """Bytes of the file itself, fewer at its end."""
        self._file.seek(offset)
        return bytes(self._file.read(length))


def _joined(ranges: Iterable[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """(start, end) of what is fetched at once, ascending, within a file of `size` bytes: ranges with little
    between them are put together."""
    found: list[tuple[int, int]] = []
    for offset, length in sorted(ranges):
        start, end = max(0, offset), min(size, offset + length)
        if end <= start:
            continue
        if found and start - found[-1][1] <= GAP:
            start, end = found[-1][0], max(found.pop()[1], end)
        found.append((start, end))
    return found


def start_of(chunk: ColumnChunkMetaData) -> int:
    """The byte at which the pages of a column begin, as Arrow finds it."""
    return min(filter(None, (chunk.dictionary_page_offset, chunk.data_page_offset)), default=0)


def walk(file: IO[bytes] | HeldRanges, start: int, size: int, values: int) -> Pages:
    """The pages of a column from byte `start` on, `size` bytes of them, as far as `values` values: Arrow
    reads no further. Raises ValueError if they cannot be followed."""
    at, end = start, start + size
    unpacked = found = 0
    while found < values:
        header, length = _header(file, at, end)
        packed, more = header.get(PACKED, -1), header.get(UNPACKED, -1)
        if packed < 0 or more < 0 or at + length + packed > end:
            raise ValueError(f"a page at byte {at:,} says that it has {packed:,} bytes, unpacked {more:,}")
        unpacked += more
        found += sum(_values(header.get(kind)) for kind in (DATA, DATA_V2))
        at += length + packed
    return Pages(unpacked, found)


def _values(header: object) -> int:
    """How many values a data page says that it has; 0 for another page."""
    count = header.get(VALUES, 0) if isinstance(header, dict) else 0
    return max(0, count) if isinstance(count, int) else 0


def _header(file: IO[bytes] | HeldRanges, at: int, end: int) -> tuple[Fields, int]:
    """The page header at a byte, and its length. Raises ValueError."""
    size = READ
    while at < end:
        file.seek(at)
        data = file.read(min(size, end - at))
        try:
            reader = _Compact(data)
            return reader.struct(), reader.at
        except IndexError:
            if len(data) < size or size >= LONGEST:
                break
            size *= 16
    raise ValueError(f"its pages end at byte {at:,}, before all of its values")


class _Compact:
    """Reads Thrift's compact protocol. Raises IndexError at the end of the bytes, ValueError for garbage."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def struct(self, depth: int = 0) -> Fields:
        """Field -> its value; None for what is neither a number nor a struct."""
        if depth > DEPTH:
            raise ValueError("a page header that is nested too deeply")
        fields: Fields = {}
        number = 0
        while (first := self._byte()) != STOP:
            number = number + (first >> 4) if first >> 4 else self._integer()
            fields[number] = self._value(first & 15, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        """The next value, of a type."""
        if kind in INTEGERS:
            return self._integer()
        if kind == STRUCT:
            return self.struct(depth + 1)
        if kind in (LIST, SET):
            first = self._byte()
            for _ in self._counted(first >> 4 if first >> 4 < 15 else self._varint()):
                self._skip(first & 15, depth)
        elif kind == MAP:
            if count := self._varint():
                kinds = self._byte()
                for _ in self._counted(count):
                    self._skip(kinds >> 4, depth)
                    self._skip(kinds & 15, depth)
        elif kind not in (TRUE, FALSE):
            self._skip(kind, depth)
        return None

    def _skip(self, kind: int, depth: int) -> None:
        """Pass over a value; in a list, a Boolean has a byte of its own."""
        if kind == BINARY:
            self._pass(self._varint())
        elif kind == DOUBLE:
            self._pass(8)
        elif kind in (BYTE, TRUE, FALSE):
            self._pass(1)
        elif kind in (*INTEGERS, LIST, SET, MAP, STRUCT) and depth < DEPTH:
            self._value(kind, depth + 1)
        else:
            raise ValueError("a page header that cannot be read")

    def _counted(self, count: int) -> Iterator[int]:
        """So many steps, of which each takes a byte."""
        if self.at + count > len(self._data):
            raise IndexError
        return iter(range(count))

    def _pass(self, count: int) -> None:
        """Pass over bytes."""
        self.at += count
        if self.at > len(self._data):
            raise IndexError

    def _byte(self) -> int:
        """The next byte."""
        self.at += 1
        return self._data[self.at - 1]

    def _varint(self) -> int:
        """The next number, of at most ten bytes."""
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("a page header with a number that never ends")

    def _integer(self) -> int:
        """The next number that may be negative."""
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

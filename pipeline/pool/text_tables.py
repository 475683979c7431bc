"""Text tables: TSV, CSV and JSON lines, plain or packed with gzip, read forwards in little memory.

`Blocks` cuts a file after newlines. `tsv_rows`, `csv_rows` and `json_rows` turn blocks into rows, some at a
time. `open_text` finds the columns. Garbage does not stop the reading: a row that cannot be parsed is
empty, with a reason. If the file itself cannot be read further, Break says where and why. Bytes that are
not UTF-8 become U+FFFD. Empty lines are skipped.

A file that was cut, or is still being copied, mostly ends in the middle of a line. So a last line without a
newline is a break if it is not a whole row: if it is not JSON, has fewer fields than the first line, or a
quote in it is not closed.

Formats: TSV as img2dataset and Conceptual Captions write it, where a quote is an ordinary character; CSV as
in RFC 4180; JSON lines with one object per line.
"""

import csv
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from threading import Lock
from typing import Any, Protocol

import polars as pl

from pipeline.errors import ShardError
from pipeline.pool.archive.packing import PACKED
from pipeline.pool.captions import captions_frame
from pipeline.pool.fields import USUAL, Limits, number_or_string, parse

CHUNK = 256 << 10  # bytes read, and unpacked, at a time
PIECE = 1024  # rows of a CSV handed on together
CUT = "the last line is cut: it is not a whole row, and no newline ends it"
GZIP = 31  # zlib's wbits for gzip with a window of any size
BOM = b"\xef\xbb\xbf"
UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # its byte order marks
_LIMIT = Lock()  # held by the thread that has changed csv.field_size_limit

Name = str | int  # of a column; without a header line its position, from 0
Rows = tuple[list[Any], dict[int, str]]  # rows, and by index, why some of them are empty


class Readable(Protocol):
    """A file that is read forwards."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most so many; none at the end of the file."""


@dataclass(frozen=True)
class Table:
    """An open table. `names`: its columns, None if it is empty. `frames` takes the columns by part of a
    sample, and those of captions, and gives the rows: a String column per part, `trouble` if rows could not
    be parsed, and what `captions_frame` makes of captions."""

    names: Sequence[Name] | None
    frames: Callable[[Mapping[str, Name], Sequence[Name]], Iterator[pl.DataFrame]]


class Break(Exception):
    """The file cannot be read further. args: the (unpacked) byte up to which it was read, and why."""


class Blocks:
    """Whole lines, about CHUNK bytes at a time, without the last newline. Iterating raises Break if the file
    is empty or breaks off, and ShardError if it is packed otherwise than by gzip.

    last  where the last line begins, once the file has ended without a newline; else None. That line is a
          block of its own
    """

    def __init__(self, file: Readable, longest: int = USUAL.line_bytes) -> None:
        self._file = file
        self._longest = longest
        self.last: int | None = None

    def __iter__(self) -> Iterator[bytes]:
        rest, at = b"", 0
        chunks = _unpacked(self._file)
        while (chunk := _next(chunks, at)) is not None:
            head, newline, tail = chunk.rpartition(b"\n")
            if newline:
                block = rest + head
                rest = tail
                yield block
                at += len(block) + 1
            elif len(rest) > self._longest:
                raise Break(at, f"a line of more than {self._longest:,} bytes (limits.json_bytes)")
            else:
                rest += chunk
        if rest:
            self.last = at
            yield rest
        elif not at:
            raise Break(0, "the file is empty")


def _next(chunks: Iterator[bytes], at: int) -> bytes | None:
    """The next chunk, None at the end. Raises Break at byte `at` if it cannot be unpacked."""
    try:
        return next(chunks, None)
    except (EOFError, zlib.error) as error:
        raise Break(at, str(error)) from None


def _unpacked(file: Readable) -> Iterator[bytes]:
    """The bytes of a file, unpacked if it is gzip, without a byte order mark."""
    chunk = file.read(CHUNK)
    packing = next((name for magic, name in PACKED.items() if chunk.startswith(magic)), None)
    if packing == "gzip":
        yield from _inflated(chunk, file)
        return
    if packing is not None:
        raise ShardError(f"is packed with {packing}: unpack it, or pack it with gzip")
    if chunk.startswith(UTF_16):
        raise ShardError("is UTF-16, must be UTF-8: convert it, with iconv -f UTF-16 -t UTF-8")
    if b"\r" in chunk.rstrip(b"\r") and b"\n" not in chunk:
        raise ShardError("breaks its lines with carriage returns alone: convert it, with tr '\\r' '\\n'")
    chunk = chunk.removeprefix(BOM)
    while chunk:
        yield chunk
        chunk = file.read(CHUNK)


def _inflated(packed: bytes, file: Readable) -> Iterator[bytes]:
    """The contents of gzip members, one after the other, at most CHUNK bytes at a time. Raises EOFError if
    the last member is cut, and zlib.error if one is garbled."""
    inflate = zlib.decompressobj(GZIP)
    inside = True  # a member
    bom = BOM
    while packed or (packed := file.read(CHUNK)):
        inside = True
        data = inflate.decompress(packed, CHUNK)
        yield data.removeprefix(bom)
        packed = inflate.unconsumed_tail
        bom = b""
        if inflate.eof:
            packed = inflate.unused_data.lstrip(b"\0")
            inflate = zlib.decompressobj(GZIP)
            inside = False
    if inside:
        raise EOFError("the file ends inside its gzip data")


def tsv_rows(lines: Blocks) -> Iterator[Rows]:
    """Lists of fields."""
    fields = 0
    for block in lines:
        text = str(block, "utf-8", "replace")
        if "\r" in text:
            text = text.replace("\r\n", "\n").removesuffix("\r")
        rows = [line.split("\t") for line in text.split("\n") if line]
        if rows:
            fields = fields or len(rows[0])
            if lines.last is not None and len(rows[-1]) < fields:
                raise Break(lines.last, CUT)
        yield rows, {}


def csv_rows(lines: Blocks, most: int = USUAL.text_bytes) -> Iterator[Rows]:
    """Lists of fields, of at most `most` characters: an open quote swallows no more. A row that cannot be
    parsed is one empty row. A break loses no row before it."""
    text = _CsvLines(lines)
    reader = csv.reader(text)
    piece: Rows = [], {}
    ended = False
    while not ended:
        try:
            with _long_fields(most):
                ended = _fill(piece, reader, text)
        except Break:
            yield piece
            raise
        yield piece
        piece = [], {}


class _CsvLines:
    """The lines that a csv.reader asks for. `of_row`: those of the row that it reads; `fields`: of the first
    row."""

    def __init__(self, blocks: Blocks) -> None:
        self._lines = (line for block in blocks for line in str(block, "utf-8", "replace").split("\n"))
        self._blocks = blocks
        self.of_row: list[str] = []
        self.fields = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.of_row.append(line)
        return f"{line}\n"

    def check(self, row: Sequence[str]) -> None:
        """Raises Break if this is the last row, and it is cut."""
        self.fields = self.fields or len(row)
        if self._blocks.last is not None and row and (len(row) < self.fields or _is_open(self.of_row)):
            before = sum(len(line.encode()) + 1 for line in self.of_row[:-1])
            raise Break(self._blocks.last - before, CUT)


def _is_open(lines: Sequence[str]) -> bool:
    """Whether the lines of a CSV row end inside a quoted field."""
    try:
        list(csv.reader((f"{line}\n" for line in lines), strict=True))
    except csv.Error as error:
        return "unexpected end" in str(error)
    return False


@contextmanager
def _long_fields(most: int) -> Iterator[None]:
    """Within the block, a CSV field may have `most` characters. The csv module has one limit for the whole
    process, by default 128 KiB; the lock keeps other threads from changing it until it is put back."""
    with _LIMIT:
        before = csv.field_size_limit(most)
        try:
            yield
        finally:
            csv.field_size_limit(before)


def _fill(piece: Rows, reader: Iterator[list[str]], text: _CsvLines) -> bool:
    """Add up to PIECE rows; returns whether the file has ended. `text`: the lines that the reader reads."""
    rows, troubles = piece
    while len(rows) < PIECE:
        text.of_row.clear()
        try:
            row = next(reader, None)
        except csv.Error as error:
            troubles[len(rows)] = f"csv cannot be parsed: {error}"
            rows.append([])
            continue
        if row is None:
            return True
        text.check(row)
        if row:
            rows.append(row)
    return False


def json_rows(lines: Blocks, most: int = USUAL.json_bytes) -> Iterator[Rows]:
    """Objects, as dicts. A line of more than `most` bytes is not parsed."""
    for block in lines:
        parsed = [parse(line, most) for line in block.split(b"\n") if line and not line.isspace()]
        if lines.last is not None and parsed and parsed[-1][1] is not None:
            raise Break(lines.last, CUT)
        yield (
            [record for record, _ in parsed],
            {index: trouble for index, (_, trouble) in enumerate(parsed) if trouble is not None},
        )


# --- columns --------------------------------------------------------------------------------------

Column = Callable[[list[Any], Name], list[Any]]  # rows, and a column's name -> its values


def open_text(file: Readable, format: str, header: bool, limits: Limits = USUAL) -> Table:
    """A table in a format (`tsv`, `csv`, else JSON lines). `header`: whether the first line of a TSV or CSV
    names the columns; if not, their names are positions. Those of JSON lines are in the first CHUNK."""
    lines = Blocks(file, limits.line_bytes)
    pieces = json_rows(lines, limits.json_bytes)
    if of_lists := format in ("tsv", "csv"):
        pieces = tsv_rows(lines) if format == "tsv" else csv_rows(lines, limits.text_bytes)
    rows, troubles = first = next(pieces, ([], {}))
    names: list[Name] = list(dict.fromkeys(name for row in rows for name in row))
    column: Column = _of_objects
    if of_lists and rows:
        names = list(rows[0] if header else range(len(rows[0])))
        column = partial(_of_lists, names)
        if header:
            first = rows[1:], {index - 1: why for index, why in troubles.items()}
    plain = list if of_lists else partial(map, number_or_string)

    def frames(parts: Mapping[str, Name], captions: Sequence[Name]) -> Iterator[pl.DataFrame]:
        for rows, troubles in chain([first], pieces):
            columns = {part: list(plain(column(rows, name))) for part, name in parts.items()}
            if troubles:
                columns["trouble"] = [troubles.get(index) for index in range(len(rows))]
            frame = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))
            places = {str(name): column(rows, name) for name in captions}
            yield pl.concat([frame, captions_frame(places, limits)], how="horizontal") if captions else frame

    return Table(names if rows else None, frames)


def _of_lists(names: Sequence[Name], rows: list[Any], name: Name) -> list[Any]:
    """A column from rows that are lists: null where a row is too short, and if the column is missing."""
    index = names.index(name) if name in names else None
    return [row[index] if index is not None and index < len(row) else None for row in rows]


def _of_objects(rows: list[Any], name: Name) -> list[Any]:
    """A column from rows that are objects."""
    return [row.get(name) for row in rows]

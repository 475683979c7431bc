"""Text tables: TSV, CSV and JSON lines, plain or packed with gzip, read forwards in little memory.

`blocks` cuts a file after newlines; `tsv_rows`, `csv_rows` and `json_rows` make rows of that, some at a
time; `open_text` finds the columns. No garbage stops the reading: a row that cannot be parsed is empty,
with a reason; where the file cannot be read further, a Break tells. Bytes that are not UTF-8 become
U+FFFD; empty lines are no rows.

Formats: TSV as img2dataset and Conceptual Captions write it, where a quote is an ordinary character;
CSV as RFC 4180 has it; JSON lines with one object each.
"""

import csv
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, BinaryIO

import polars as pl

from pipeline.errors import ShardError
from pipeline.pool.fields import parse, string
from pipeline.pool.tar import PACKED

CHUNK = 256 << 10  # bytes read, and unpacked, at a time
LONGEST = 16 << 20  # bytes of a line
FIELD = 1 << 20  # characters of a CSV field: as much as a quote that is never closed can swallow
PIECE = 1024  # rows of a CSV handed on together
GZIP = 31  # zlib's number for gzip with a window of any size
BOM = b"\xef\xbb\xbf"

Name = str | int  # of a column: a position, from 0, where there is no header line
Rows = tuple[list[Any], dict[int, str]]  # rows, and why some of them are empty, by index


@dataclass(frozen=True)
class Table:
    """An open table: the names of its columns, None if it is empty, and what gives its rows: frames with
    one column for each of the parts that are mapped to names, and perhaps `trouble`, all of them String."""

    names: Sequence[Name] | None
    frames: Callable[[Mapping[str, Name]], Iterator[pl.DataFrame]]


class Break(Exception):
    """No more can be read. args: the (unpacked) bytes up to which all was, and why."""


def blocks(file: BinaryIO) -> Iterator[bytes]:
    """Whole lines, about CHUNK bytes at a time, less the last newline. Raises Break where the file is
    broken, after the last whole line before, and ShardError if it is packed by other means than gzip."""
    rest, at, chunks = b"", 0, _unpacked(file)
    while (chunk := _next(chunks, at)) is not None:
        head, newline, tail = chunk.rpartition(b"\n")
        if newline:
            block, rest = rest + head, tail
            yield block
            at += len(block) + 1
        elif len(rest) > LONGEST:
            raise Break(at, f"a line of more than {LONGEST >> 20} MiB")
        else:
            rest += chunk
    if rest:
        yield rest


def _next(chunks: Iterator[bytes], at: int) -> bytes | None:
    try:
        return next(chunks, None)
    except (EOFError, zlib.error) as error:
        raise Break(at, str(error)) from None


def _unpacked(file: BinaryIO) -> Iterator[bytes]:
    chunk = file.read(CHUNK)
    packing = next((name for magic, name in PACKED.items() if chunk.startswith(magic)), None)
    if packing == "gzip":
        yield from _inflated(chunk, file)
        return
    if packing is not None:
        raise ShardError(f"is packed with {packing}: unpack it, or pack it with gzip")
    chunk = chunk.removeprefix(BOM)
    while chunk:
        yield chunk
        chunk = file.read(CHUNK)


def _inflated(packed: bytes, file: BinaryIO) -> Iterator[bytes]:
    """The contents of gzip members, one after the other; EOFError if the last is cut, zlib.error if one is
    garbled. What is unpacked at a time is bounded, whatever the file claims to hold."""
    inflate, inside, bom = zlib.decompressobj(GZIP), True, BOM
    while packed or (packed := file.read(CHUNK)):
        inside = True
        data = inflate.decompress(packed, CHUNK)
        yield data.removeprefix(bom)
        packed, bom = inflate.unconsumed_tail, b""
        if inflate.eof:
            packed, inflate, inside = inflate.unused_data.lstrip(b"\0"), zlib.decompressobj(GZIP), False
    if inside:
        raise EOFError("the file ends inside its gzip data")


def tsv_rows(lines: Iterator[bytes]) -> Iterator[Rows]:
    """Lists of fields."""
    for block in lines:
        text = str(block, "utf-8", "replace")
        if "\r" in text:
            text = text.replace("\r\n", "\n").removesuffix("\r")
        yield [line.split("\t") for line in text.split("\n") if line], {}


def csv_rows(lines: Iterator[bytes]) -> Iterator[Rows]:
    """Lists of fields. A row that cannot be parsed is one empty row; a break loses none before it."""
    csv.field_size_limit(FIELD)  # of the whole process; its default would refuse a caption of 128 KiB
    reader = csv.reader(f"{line}\n" for block in lines for line in str(block, "utf-8", "replace").split("\n"))
    piece: Rows = [], {}
    ended = False
    while not ended:
        try:
            ended = _fill(piece, reader)
        except Break:
            yield piece
            raise
        yield piece
        piece = [], {}


def _fill(piece: Rows, reader: Iterator[list[str]]) -> bool:
    """Add up to PIECE rows; returns whether the file has ended."""
    rows, troubles = piece
    while len(rows) < PIECE:
        try:
            row = next(reader, None)
        except csv.Error as error:
            troubles[len(rows)] = f"csv cannot be parsed: {error}"
            rows.append([])
            continue
        if row is None:
            return True
        if row:
            rows.append(row)
    return False


def json_rows(lines: Iterator[bytes]) -> Iterator[Rows]:
    """Objects, as dicts."""
    for block in lines:
        parsed = [parse(line) for line in block.split(b"\n") if line and not line.isspace()]
        yield (
            [record for record, _ in parsed],
            {index: trouble for index, (_, trouble) in enumerate(parsed) if trouble is not None},
        )


Column = Callable[[list[Any], Name], list[str | None]]


# --- columns --------------------------------------------------------------------------------------


def open_text(file: BinaryIO, kind: str, header: bool) -> Table:
    """A table of that kind (`tsv`, `csv`, else JSON lines). `header`: its first line names the columns of a
    TSV or CSV, else they go by position. JSON has the columns that occur in the first CHUNK."""
    read = {"tsv": tsv_rows, "csv": csv_rows}.get(kind, json_rows)
    pieces = read(blocks(file))
    rows, troubles = first = next(pieces, ([], {}))
    names: list[Name] = list(dict.fromkeys(name for row in rows for name in row))
    column: Column = _of_objects
    if read is not json_rows and rows:
        names = list(rows[0] if header else range(len(rows[0])))
        column = _of_lists(names)
        if header:
            first = rows[1:], {index - 1: why for index, why in troubles.items()}
    return Table(names if rows else None, lambda parts: _frames(chain([first], pieces), parts, column))


def _frames(pieces: Iterable[Rows], parts: Mapping[str, Name], column: Column) -> Iterator[pl.DataFrame]:
    for rows, troubles in pieces:
        columns = {part: column(rows, name) for part, name in parts.items()}
        if troubles:
            columns["trouble"] = [troubles.get(index) for index in range(len(rows))]
        yield pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))


def _of_lists(names: Sequence[Name]) -> Column:
    """What gives a column of rows that are lists; a row that is too short has null there."""

    def column(rows: list[Any], name: Name) -> list[str | None]:
        index = names.index(name)
        return [row[index] if index < len(row) else None for row in rows]

    return column


def _of_objects(rows: list[Any], name: Name) -> list[str | None]:
    return [_text(row.get(name)) for row in rows]


def _text(value: object) -> str | None:
    """A string, or a number as one; objects, lists and Booleans count as missing."""
    return str(value) if type(value) in (int, float) else string(value)

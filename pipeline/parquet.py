"""Parquet files of strangers: opened and read within bounds.

    with garbled("table.parquet"), Parquet("table.parquet") as table:
        table.check(["text", "url"])                     # what the footer says, before anything is unpacked
        for batch in table.batches(["text", "url"], 1024):
            texts(batch.column("text"), "text")          # as text, whatever the column's type

A few KB can stand for many GB, in three ways. A footer can claim a million columns or a billion rows: it is
bounded before it is believed. A page can be packed a thousandfold: the sizes in the footer are compared. And
a dictionary can hold one long value to which a million rows point: its longest value is looked up first, and
only as many rows are unpacked together as fit. What a footer says of its pages is compared with the pages
(`parquet_pages.py`). On other storage each page would be one more request, so there the bytes of a row
group's columns are fetched first, in as few requests as can be; the comparison and Arrow both read those.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO, Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.arrow_columns import decoded, is_list, longest, stored
from pipeline.bounds import USUAL, Bounds
from pipeline.parquet_pages import HeldRanges, start_of, walk

AT_ONCE = 64 << 20  # bytes of rows that are unpacked together
ITEM_BYTES = 64  # of the footer that each column or row group in it takes, at the least
READ_AHEAD = 1 << 20  # bytes of each column
DELTA = "DELTA_BYTE_ARRAY"  # an encoding in which a few bytes may repeat a long value
DELTA_ROWS = 64  # rows of that encoding that are unpacked together
UNPACKED = "(limits.unpacked_bytes, limits.unpacked_ratio)"

# How those of Arrow's OSErrors begin that are about a file's contents
_CONTENTS = (
    *("Couldn't deserialize", "Could not", "Cannot", "Unexpected", "Unsupported", "Corrupt", "Invalid"),
    *("Unknown", "Malformed", "Encrypt", "Not yet implemented", "Column", "Failed to decompress"),
)


@contextmanager
def garbled(where: str = "", local: bool = True) -> Iterator[None]:
    """Within the block, an error of Arrow's about contents becomes a ValueError on one line, which begins
    with `where`. Arrow uses OSError for some of them; what storage says has a number (errno), or is not about
    a local file, and passes through."""
    start = f"{where}: " if where else ""
    try:
        yield
    except pa.ArrowException as error:
        raise ValueError(start + _line(error)) from None
    except OSError as error:
        if error.errno is not None or not (local or str(error).startswith(_CONTENTS)):
            raise
        raise ValueError(start + _line(error)) from None


def _line(error: Exception) -> str:
    """What Arrow says, on one line."""
    return " ".join(str(error).split()) or type(error).__name__


class Parquet:
    """An open file: a local path, or a file object that stays open as long. A context manager. Raises what
    Arrow raises (see `garbled`), and ValueError if the file claims more than it can hold, or than `bounds`
    allow."""

    def __init__(self, source: Any, bounds: Bounds = USUAL) -> None:
        self._source: str | HeldRanges = source if isinstance(source, str) else HeldRanges(source)
        self._bounds = bounds
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.file = self._open(stack)
            _check_footer(self.file.metadata, self._size(), self._bounds)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def schema(self) -> pa.Schema:
        """The columns and their Arrow types."""
        return self.file.schema_arrow

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return int(self.file.metadata.num_rows)

    def check(self, names: Sequence[str]) -> None:
        """Raises ValueError if a name stands for several columns, or if a column says that it unpacks to far
        more than its bytes."""
        for name in names:
            if (count := self.schema.names.count(name)) != 1:
                raise ValueError(f"has {count} columns called {name}, must have one: rename the others")
        for group in range(self.file.num_row_groups):
            for chunk in self._chunks(group, names):
                packed, unpacked = chunk.total_compressed_size, chunk.total_uncompressed_size
                if unpacked > (most := self._bounds.most_unpacked(packed)):
                    raise ValueError(
                        f"column {chunk.path_in_schema} says that {packed:,} bytes unpack to {unpacked:,}, "
                        f"must be at most {most:,} {UNPACKED}"
                    )

    def batches(self, names: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """The rows of these columns, at least one, row group after row group, so that no more than one is
        held; at most `rows` at a time, fewer if they are long. Columns are `decoded`. Raises ValueError if
        they are far more than the file."""
        size = 0
        most = self._bounds.most_unpacked(self._size())
        for group in range(self.file.num_row_groups):
            for batch in self.group_batches(group, names, rows):
                if (size := size + batch.nbytes) > most:
                    raise ValueError(
                        f"unpacks to more than {most:,} bytes, which its {self._size():,} cannot mean {UNPACKED}"
                    )
                yield batch

    def group_batches(self, group: int, names: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """The same of one row group, without a bound on their sum. Raises ValueError if its pages are not
        what the footer says of them, before one is unpacked."""
        with self._pages(group, names) as file:
            self._check_pages(file, group, names)
        for batch in self.file.iter_batches(self._at_once(group, names, rows), [group], list(names)):
            columns = [decoded(column) for column in batch.columns]
            yield pa.RecordBatch.from_arrays(columns, names=batch.schema.names)

    def group_of(self, row: int) -> tuple[int, int, int]:
        """(first row, row behind the last, number) of the row group that holds a row. Raises ValueError."""
        first = 0
        for group in range(self.file.num_row_groups):
            end = first + self.file.metadata.row_group(group).num_rows
            if row < end:
                return first, end, group
            first = end
        raise ValueError(f"has {first:,} rows, and row {row:,} was asked for")

    @contextmanager
    def _pages(self, group: int, names: Sequence[str]) -> Iterator[IO[bytes] | HeldRanges]:
        """The file, to look at the pages of these columns; those of other storage are fetched and held."""
        if isinstance(self._source, str):
            with open(self._source, "rb") as file:
                yield file
        else:
            chunks = self._chunks(group, names)
            self._source.hold((start_of(chunk), chunk.total_compressed_size) for chunk in chunks)
            yield self._source

    def _check_pages(self, file: IO[bytes] | HeldRanges, group: int, names: Sequence[str]) -> None:
        """Raises ValueError if pages hold more or fewer values than the footer says, or unpack to far more
        than their bytes."""
        rows = self.file.metadata.row_group(group).num_rows
        for chunk in self._chunks(group, names):
            name, size, values = chunk.path_in_schema, chunk.total_compressed_size, chunk.num_values
            if rows > values or (rows < values and _is_flat(self.file.schema, name)):
                raise ValueError(f"column {name} has {values:,} values for {rows:,} rows")
            try:
                pages = walk(file, start_of(chunk), size, values)
            except ValueError as error:
                raise ValueError(f"column {name}: {error}") from None
            if pages.values != values:
                raise ValueError(
                    f"column {name} has pages of {pages.values:,} values, the footer says {values:,}"
                )
            if pages.unpacked > (most := self._bounds.most_unpacked(size)):
                raise ValueError(
                    f"column {name} has pages that unpack to {pages.unpacked:,} bytes, must be at most "
                    f"{most:,} {UNPACKED}"
                )

    def _at_once(self, group: int, names: Sequence[str], rows: int) -> int:
        """How many rows of a group can be unpacked together, so that AT_ONCE holds them even if each has the
        longest value of its dictionary."""
        suspects = []
        for chunk in self._chunks(group, names):
            if chunk.physical_type != "BYTE_ARRAY":
                continue
            average = chunk.total_uncompressed_size // max(1, chunk.num_values)
            rows = max(1, min(rows, AT_ONCE // max(1, average)))
            if DELTA in chunk.encodings:
                rows = min(rows, DELTA_ROWS)
            if chunk.has_dictionary_page and chunk.total_uncompressed_size * rows > AT_ONCE:
                suspects.append(chunk.path_in_schema)
        if not suspects:
            return rows
        return max(1, min(rows, AT_ONCE // max(1, self._longest(group, names, suspects))))

    def _longest(self, group: int, names: Sequence[str], paths: Sequence[str]) -> int:
        """The bytes of the longest values in the dictionaries of these columns, added up. One row is read."""
        with ExitStack() as stack:
            file = self._open(stack, read_dictionary=list(paths), metadata=self.file.metadata)
            batch = next(file.iter_batches(1, [group], list(names)), None)
            return sum(map(_longest_word, batch.columns)) if batch is not None else 0

    def _chunks(self, group: int, names: Sequence[str]) -> Iterator[pq.ColumnChunkMetaData]:
        """What the footer says of these columns' parts in a row group, nested ones included."""
        metadata = self.file.metadata.row_group(group)
        wanted = set(names)
        for index in range(metadata.num_columns):
            chunk = metadata.column(index)
            path = chunk.path_in_schema
            if path in wanted or any(path.startswith(f"{name}.") for name in wanted):
                yield chunk

    def _open(self, stack: ExitStack, **options: Any) -> pq.ParquetFile:
        """The file as Arrow opens it. It reads a local one itself; of others, what is held."""
        most = self._bounds.footer_bytes
        bounds = {"thrift_string_size_limit": most, "thrift_container_size_limit": max(1, most // ITEM_BYTES)}
        depth = self._bounds.table_depth
        reading = {"buffer_size": READ_AHEAD, "pre_buffer": False, "schema_depth_limit": depth}
        file = pq.ParquetFile(self._source, **bounds, **reading, **options)
        return stack.enter_context(file)

    def _size(self) -> int:
        """Bytes of the file."""
        return os.path.getsize(self._source) if isinstance(self._source, str) else self._source.size


def _check_footer(footer: pq.FileMetaData, size: int, bounds: Bounds) -> None:
    """Raises ValueError if the numbers of columns and rows cannot be those of a file of `size` bytes."""
    if footer.num_columns > bounds.table_columns:
        raise ValueError(
            f"has {footer.num_columns:,} columns, must have at most {bounds.table_columns:,} "
            "(limits.table_columns)"
        )
    rows = [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]
    if sum(rows) != footer.num_rows or min(rows, default=0) < 0:
        raise ValueError(f"says that it has {footer.num_rows:,} rows, its row groups have {sum(rows):,}")
    if footer.num_rows > max(bounds.table_rows, size):
        raise ValueError(
            f"says that it has {footer.num_rows:,} rows in {size:,} bytes; beyond {bounds.table_rows:,} rows, "
            "each must take a byte of the file (limits.table_rows)"
        )


def _is_flat(schema: pq.ParquetSchema, name: str) -> bool:
    """Whether a column has one value for each row, of which some may be null."""
    columns = (schema.column(index) for index in range(len(schema)))
    return any(column.path == name and not column.max_repetition_level for column in columns)


def _longest_word(array: pa.Array) -> int:
    """The bytes of the longest value in the dictionaries of an array, those of its fields added up."""
    array = stored(array)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary
    if pa.types.is_struct(array.type):
        return sum(map(_longest_word, array.flatten()))
    if is_list(array.type):
        return _longest_word(array.values)
    return longest(array)

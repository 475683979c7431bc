"""The files between the tasks of a Group's pass: tables cut into cells.

    with writing(store, path) as cells:
        cells.write(frame, numbers)           # rows and the cell of each; may be called again
    read_cells(store, path, 7)                # all rows of one cell

One kind of file holds the rows of a run of shards, cut by partition; the other the results of a partition,
cut by run of shards. So each task reads one cell of many files. A cell is one or more row groups of a sealed
parquet file, whose note `cells` tells the cell of each.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.storage.footers import footer_notes, parse_footer
from pipeline.storage.seals import sealed_parquet
from pipeline.storage.store import Store, to_arrow

# These files are read once and removed: zstd would halve them, and take four times as long to read.
QUICK = {"use_dictionary": False, "compression": "lz4", "compression_level": None, "write_statistics": False}


class CellWriter:
    """Writes rows to their cells. `notes` go into the file's footer; they may be added to until the end."""

    def __init__(self, opened: Callable[[pa.Schema], pq.ParquetWriter]) -> None:
        self.opened = opened  # opens the file, once its columns are known
        self.writer: pq.ParquetWriter | None = None
        self.cells: list[int] = []
        self.notes: dict[str, Any] = {}

    def write(self, frame: pl.DataFrame, numbers: np.ndarray) -> None:
        """`numbers`: (n,) the cell of each row. The rows of a cell keep their order."""
        order = np.argsort(numbers, kind="stable")
        table = to_arrow(frame[order])
        if self.writer is None:
            self.writer = self.opened(table.schema)
        cells, starts = np.unique(numbers[order], return_index=True)
        for cell, start, stop in zip(cells, starts, [*starts[1:], len(frame)], strict=True):
            self.writer.write_table(table.slice(start, stop - start), row_group_size=int(stop - start))
            self.cells.append(int(cell))

    def finish(self) -> None:
        """Nothing more is written."""
        if self.writer is None:
            self.writer = self.opened(pa.schema([("at", pa.uint32())]))
        self.writer.add_key_value_metadata(footer_notes({"cells": self.cells, **self.notes}))


@contextmanager
def writing(store: Store, path: str) -> Iterator[CellWriter]:
    """A writer of a file of the store, which is published if the block ends without an error."""
    with store.root.publishing(path) as aside, ExitStack() as stack:
        cells = CellWriter(lambda schema: stack.enter_context(sealed_parquet(aside, schema, **QUICK)))
        yield cells
        cells.finish()
        stack.close()  # sealed, before it is published


def compact(frame: pl.DataFrame) -> pl.DataFrame:
    """An equal frame that shares no bytes with another. Polars' filtered texts keep all texts that they were
    filtered from in memory."""
    return pl.DataFrame(to_arrow(frame))


def read_cells(
    store: Store, path: str, cell: int, columns: Sequence[str] | None = None
) -> Iterator[pl.DataFrame]:
    """The rows of one cell, a frame for each time that some were written; none if the cell is empty. Raises
    OSError."""
    with _opened(store, path) as file:
        cells = parse_footer(file.metadata).notes["cells"]
        for group in [number for number, of in enumerate(cells) if of == cell]:
            table = file.read_row_group(group, columns=list(columns) if columns is not None else None)
            yield pl.DataFrame(table)


@contextmanager
def _opened(store: Store, path: str) -> Iterator[pq.ParquetFile]:
    """A parquet file of the store; on object storage only what is read of it is fetched."""
    if store.root.local:
        with pq.ParquetFile(store.root.path(path), memory_map=False) as file:
            yield file
        return
    with (
        store.root.fs.open(store.root.path(path), "rb", cache_type="none") as source,
        pq.ParquetFile(io.BufferedReader(source), pre_buffer=True) as file,
    ):
        yield file

"""The table of an index's samples: row i is FAISS's id i.

    with MetadataWriter(file, schema) as metadata:
        metadata.add(frame)                      # any number of times, with any number of rows
        metadata.add_file("metadata_0.parquet")

The bytes depend on the rows alone, not on how they come: row groups have GROUP rows, and ids are counted
here.
"""

from typing import Any, Self

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.storage.store import to_arrow

GROUP = 4_096  # rows of a row group: one is unpacked to look up a sample
SAMPLE = {"uid": "uid", "shard": "shard", "row": "row", "key": "key", "caption": "text", "url": "url"}


class MetadataWriter:
    """Writes the samples of an index. `file`: to write to; `empty`: a frame with the columns of samples."""

    def __init__(self, file: Any, schema: pa.Schema) -> None:
        self._file = pq.ParquetWriter(file, schema, compression="zstd")
        self._schema = schema
        self._held = list[pa.Table]()
        self._waiting = 0
        self._rows = 0

    def add(self, samples: pa.Table) -> None:
        """Samples without `id`, in the order of their ids."""
        self._held.append(samples)
        self._waiting += len(samples)
        if self._waiting >= GROUP:
            self._write(self._waiting - self._waiting % GROUP)

    def add_file(self, path: str) -> None:
        """The samples of another file of this kind."""
        part = pq.ParquetFile(path)
        for group in range(part.num_row_groups):
            self.add(part.read_row_group(group).drop_columns(["id"]))

    def _write(self, rows: int) -> None:
        """Write so many of the rows that wait, and hold the others."""
        table = pa.concat_tables(self._held)
        for start in range(0, rows, GROUP):
            group = table.slice(start, min(GROUP, rows - start)).combine_chunks()
            ids = pa.array(np.arange(self._rows, self._rows + len(group)))
            self._file.write_table(group.add_column(0, "id", ids).cast(self._schema))
            self._rows += len(group)
        self._held, self._waiting = [table.slice(rows)], self._waiting - rows

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is None and self._waiting:
            self._write(self._waiting)
        self._file.close()


def samples_of(frame: pl.DataFrame) -> pa.Table:
    """The columns of samples in the table, without `id`."""
    return to_arrow(frame.select(**SAMPLE))


def schema_of(frame: pl.DataFrame) -> pa.Schema:
    """The schema of the table, of a frame with the columns of samples."""
    numbered = frame.clear().select(pl.lit(0, pl.Int64).alias("id"), **SAMPLE)
    return to_arrow(numbered).schema

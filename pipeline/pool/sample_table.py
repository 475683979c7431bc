"""A shard's samples as it is read: published where the store has none yet, else compared with what it has.

    with samples_of(store, shard.name) as samples:
        samples.add(frame)  # of SAMPLE_SCHEMA's columns, as often as need be
        samples.finish(notes)

A row group is written as soon as it is full, so a table of millions of rows is never held as a whole.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import polars as pl
import pyarrow.parquet as pq

from pipeline.errors import ShardError
from pipeline.schema import EMPTY
from pipeline.storage import layout
from pipeline.storage.store import ROW_GROUP, Store, footer_notes, to_arrow


class Samples(Protocol):
    """What takes in a shard's samples."""

    def add(self, frame: pl.DataFrame) -> None:
        """The next rows."""

    def finish(self, notes: Mapping[str, Any]) -> None:
        """There are no more; `notes` go into the footer as JSON."""


@contextmanager
def samples_of(store: Store, shard: str) -> Iterator[Samples]:
    """Raises ShardError where the rows are not as many as the store has. What is not finished is gone."""
    path = layout.part(layout.SAMPLES, shard)
    if known := store.footer(layout.SAMPLES, shard):
        yield _Compared(known[0])
        return
    with (
        store.root.publishing(path) as aside,
        pq.ParquetWriter(aside, to_arrow(EMPTY).schema, compression="zstd", compression_level=1) as writer,
    ):
        yield _Growing(writer)


class _Growing:
    """Rows that go to a parquet file, in groups of the same size however they come."""

    def __init__(self, writer: Any) -> None:
        self.writer, self.held = writer, EMPTY

    def add(self, frame: pl.DataFrame) -> None:
        self.held = pl.concat([self.held, frame])
        while len(self.held) > ROW_GROUP:  # so that the last group, which `finish` writes, is never empty
            self.writer.write_table(to_arrow(self.held.head(ROW_GROUP)))
            self.held = self.held.slice(ROW_GROUP)

    def finish(self, notes: Mapping[str, Any]) -> None:
        self.writer.write_table(to_arrow(self.held))
        self.writer.add_key_value_metadata(footer_notes(notes))


class _Compared:
    """Rows that the store has already."""

    def __init__(self, known: int) -> None:
        self.known, self.rows = known, 0

    def add(self, frame: pl.DataFrame) -> None:
        self.rows += len(frame)
        if self.rows > self.known:
            self._changed()

    def finish(self, notes: Mapping[str, Any]) -> None:
        if self.rows != self.known:
            self._changed()

    def _changed(self) -> None:
        raise ShardError(
            f"does not have the {self.known} samples that are in the store: it changed; use a new store"
        )

"""The samples of a pool as a table: written while a shard is read, read by everything that comes later.

    with samples_of(store, shard.name) as samples:
        samples.add_rows(frame)  # with SAMPLE_SCHEMA's columns; once per batch
        samples.finish(notes)
    StoredSamples(store).read(["00000"], ["uid", "text"])

Samples are published if the store has none of the shard yet; else they are compared with those that it has.
A row group is written as soon as it is full, so a table of millions of rows is never held as a whole.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import polars as pl

from pipeline.errors import ShardError
from pipeline.schema import EMPTY
from pipeline.storage import layout
from pipeline.storage.footers import Footer, footer_notes
from pipeline.storage.seals import sealed_parquet
from pipeline.storage.store import ROW_GROUP, Store, to_arrow


class SampleTable(Protocol):
    """A pool's samples by shard: the columns of SAMPLE_SCHEMA, and those that a kind of pool brings along."""

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders of the store that hold the table; none if the pool itself is the table."""

    def counts(self, shards: Sequence[str]) -> dict[str, int]:
        """Shard -> samples, of those shards whose samples can be read. Raises RecipeError, OSError."""

    def read(self, shards: Sequence[str], names: Sequence[str]) -> pl.DataFrame:
        """(n, len(names)) the rows of these shards, one below the other. Raises ShardError, OSError."""

    def batches(self, shard: str, names: Sequence[str], rows: int) -> Iterator[pl.DataFrame]:
        """A shard's rows, `rows` at a time, fewer at the end; at least one frame."""

    def row(self, shard: str, row: int, names: Sequence[str]) -> pl.DataFrame:
        """One row of a shard."""

    def find(self, shard: str, uids: Sequence[str]) -> list[int]:
        """The rows of a shard that have one of these uids, given in lower case."""

    def size(self, shard: str) -> int:
        """About the bytes that reading a shard takes; 0 if asking costs a request."""


class StoredSamples:
    """The samples that the store holds, of the shards that were read."""

    folders = (layout.SAMPLES,)

    def __init__(self, store: Store) -> None:
        self.store = store

    def counts(self, shards: Sequence[str]) -> dict[str, int]:
        """See SampleTable."""
        return self.store.row_counts(layout.SAMPLES, shards)

    def read(self, shards: Sequence[str], names: Sequence[str]) -> pl.DataFrame:
        """See SampleTable. Raises FileNotFoundError."""
        return self.store.read_parts(layout.SAMPLES, shards, names)

    def batches(self, shard: str, names: Sequence[str], rows: int) -> Iterator[pl.DataFrame]:
        """See SampleTable."""
        frame = self.read([shard], names)
        yield from (frame.slice(start, rows) for start in range(0, len(frame), rows) or (0,))

    def row(self, shard: str, row: int, names: Sequence[str]) -> pl.DataFrame:
        """See SampleTable."""
        return self.read([shard], names)[row]

    def find(self, shard: str, uids: Sequence[str]) -> list[int]:
        """See SampleTable."""
        return self.read([shard], ["uid"])["uid"].is_in(uids).arg_true().to_list()

    def size(self, shard: str) -> int:
        """See SampleTable."""
        return self.store.part_size(layout.SAMPLES, shard)


class SampleWriter(Protocol):
    """Takes in the samples of one shard, from the first to the last."""

    def add_rows(self, frame: pl.DataFrame) -> None:
        """The next rows."""

    def finish(self, notes: Mapping[str, Any]) -> None:
        """All rows have come. `notes` go into the footer as JSON."""


@contextmanager
def samples_of(store: Store, shard: str) -> Iterator[SampleWriter]:
    """A writer for the samples of a shard. Without `finish`, nothing is published. Raises ShardError,
    inside the block, if the store has other samples of the shard."""
    path = layout.part(layout.SAMPLES, shard)
    if footer := store.footer(layout.SAMPLES, shard):
        yield _Compared(footer)
        return
    with store.root.publishing(path) as aside, sealed_parquet(aside, to_arrow(EMPTY).schema) as writer:
        yield _Published(writer)


class _Published:
    """Rows that go to a parquet file, in row groups of the same size however they come."""

    def __init__(self, writer: Any) -> None:
        self.writer = writer
        self.held = EMPTY

    def add_rows(self, frame: pl.DataFrame) -> None:
        self.held = pl.concat([self.held, frame])
        # Not >=: the last group, which `finish` writes, must not be empty.
        while len(self.held) > ROW_GROUP:
            self.writer.write_table(to_arrow(self.held.head(ROW_GROUP)))
            self.held = self.held.slice(ROW_GROUP)

    def finish(self, notes: Mapping[str, Any]) -> None:
        self.writer.write_table(to_arrow(self.held))
        self.writer.add_key_value_metadata(footer_notes(notes))


class _Compared:
    """Rows of a shard that the store has already: they are counted, not kept."""

    def __init__(self, stored: Footer) -> None:
        self.stored = stored
        self.rows = 0

    def add_rows(self, frame: pl.DataFrame) -> None:
        self.rows += len(frame)
        if self.rows > self.stored.rows:
            self._changed()

    def finish(self, notes: Mapping[str, Any]) -> None:
        if self.rows != self.stored.rows or notes.get("content") != self.stored.notes.get("content"):
            self._changed()

    def _changed(self) -> None:
        """Raises ShardError."""
        raise ShardError(
            f"does not have the {self.stored.rows} samples that are in the store: it changed; use a new store"
        )

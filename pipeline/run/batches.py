"""What surrounds the operators in a pass: batches of a shard come out of tars, tables and the store, the
new columns go back into it, one published file per shard and operator.

Batches are cut inside a shard, at places that depend on its content alone, and never mixed. So an
operator always sees the same rows together, whatever the number of workers: equal inputs, equal bytes.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import polars as pl
import pyarrow as pa

from pipeline.errors import ShardError, worded
from pipeline.operator import Stat
from pipeline.plan.passes import ROWS, ScorePass
from pipeline.pool.columns import Columns
from pipeline.pool.img2dataset import lost
from pipeline.pool.sample_table import samples_of
from pipeline.pool.shards import Shard
from pipeline.pool.table_reader import TableReader, read_table, reading
from pipeline.pool.tar_reader import SampleReader, read_samples
from pipeline.recipe.sections import Entry, Recipe
from pipeline.schema import EMPTY, READY_COLUMNS, SAMPLE_COLUMNS, owner
from pipeline.storage import layout
from pipeline.storage.retry import ATTEMPTS, FINAL, from_storage, wait
from pipeline.storage.store import Store

ALWAYS = ("shard", "row", "width", "height")

Encoded = Sequence[Any]  # image bytes (anything with the buffer protocol) or None, by row


@dataclass(frozen=True)
class Work:
    """A ScorePass with all that a worker must know. Travels to Ray workers."""

    store: str
    entries: Mapping[str, Entry]
    keys: Mapping[str, str]
    stages: tuple[tuple[str, ...], ...]
    reads_pool: bool
    batch_rows: int
    columns: Mapping[str, str | int] = field(default_factory=dict)  # pool.columns
    datacomp: str | None = None  # pool.datacomp

    @classmethod
    def of(cls, recipe: Recipe, keys: Mapping[str, str], todo: ScorePass) -> "Work":
        """The work of one pass."""
        owners = [n for n in recipe.compute if n in todo.names or _is_needed(recipe, todo, n)]
        rows = max((stage.rows for stage in todo.stages), default=ROWS["columns"])
        return cls(
            recipe.pool.store,
            {name: recipe.compute[name] for name in owners},
            {name: keys[name] for name in owners},
            tuple(stage.names for stage in todo.stages),
            todo.reads_pool,
            rows,
            recipe.pool.columns,
            recipe.pool.datacomp,
        )

    @property
    def names(self) -> list[str]:
        """The operators to run."""
        return [name for stage in self.stages for name in stage]

    def needs(self) -> tuple[list[str], list[str]]:
        """Sample columns and stored columns to read, the latter with their operators' reasons."""
        inputs = dict.fromkeys(i for n in self.names for i in self.entries[n].operator.inputs())
        samples = [c for c in (*SAMPLE_COLUMNS, *READY_COLUMNS) if c in inputs or c in ALWAYS]
        stored = [i for i in inputs if "." in i and owner(i) not in (None, *self.names)]
        return samples, list(dict.fromkeys(n for i in stored for n in (i, f"{owner(i)}.error")))

    @cached_property
    def pool(self) -> Columns:
        """The pool's columns: one object for all shards, since its Store remembers which parts are packed."""
        return Columns(Store(self.store), self.keys, self.datacomp)

    def stats(self) -> dict[str, pl.DataFrame]:
        """The tables that the operators read."""
        tables = [n for n, entry in self.entries.items() if isinstance(entry.operator, Stat)]
        store = self.pool.store
        return {name: store.read(layout.stat(name, self.keys[name])) for name in tables}

    def unpublished(self, shards: Sequence[Shard]) -> list[Shard]:
        """Those of some shards that lack a part, by one listing an operator."""
        store = self.pool.store
        there = [store.part_names(layout.columns_folder(name, self.keys[name])) for name in self.names]
        return [shard for shard in shards if not all(shard.name in names for names in there)]


def _is_needed(recipe: Recipe, todo: ScorePass, name: str) -> bool:
    return any(name in recipe.operator(n).owners() for n in todo.names)


@dataclass
class Batch:
    """Rows [start, start + len(frame)) of a shard; `data` holds encoded images where they are read."""

    shard: str
    start: int
    frame: pl.DataFrame
    data: Encoded | None


@dataclass
class Read:
    """What reading a shard came to."""

    shard: str
    rows: int = 0
    bytes: int = 0
    seconds: float = 0.0
    error: str | None = None


def batches(work: Work, shard: Shard, read: Read) -> Iterator[Batch]:
    """The shard's batches; `read` is filled in as they pass. Reads again, with back-off, where storage
    fails midway: the cuts are the same, so what has been handed out is skipped. A shard that cannot be
    read ends early with `read.error`."""
    handed = 0
    for attempt in range(ATTEMPTS):
        try:
            for number, batch in enumerate(_timed(_once(work, shard), read)):
                if number >= handed:
                    handed += 1
                    read.rows += len(batch.frame)
                    read.bytes += sum(len(item) for item in batch.data or () if item is not None)
                    yield batch
            return
        except Exception as error:
            if not (isinstance(error, ShardError) or from_storage(error)):
                raise
            read.error = str(error) if isinstance(error, ShardError) else worded(error)
            if isinstance(error, (*FINAL, ShardError)):
                return
            read.error += f" (after {attempt + 1} attempts)"
            wait(attempt, f"shard {shard.name}: {worded(error)}")


def _timed(source: Iterator[Batch], read: Read) -> Iterator[Batch]:
    while True:
        started = time.perf_counter()
        batch = next(source, None)
        read.seconds += time.perf_counter() - started
        if batch is None:
            read.error = None
            return
        yield batch


def _once(work: Work, shard: Shard) -> Iterator[Batch]:
    columns = work.pool
    samples, stored = work.needs()
    if work.reads_pool:
        frame = columns.read(shard.name, stored) if stored else pl.DataFrame()
        yield from _from_shard(work, shard, columns.store, samples, frame)
        return
    start = 0
    for frame in columns.batches(shard.name, [*samples, *stored], work.batch_rows):
        yield Batch(shard.name, start, frame, None)
        start += len(frame)


def _from_shard(
    work: Work, shard: Shard, store: Store, samples: list[str], stored: pl.DataFrame
) -> Iterator[Batch]:
    """Batches, with encoded images if it is a tar; the samples table is published at the end, if it is not
    there yet."""
    start = 0
    source: SampleReader | TableReader = (
        read_table(shard, work.columns, work.batch_rows)
        if shard.table
        else read_samples(shard, batch_rows=work.batch_rows)
    )
    with samples_of(store, shard.name) as known:
        for table in source:
            part, data = _parted(table)
            known.add(part)
            frame = part.select(samples).hstack(stored.slice(start, len(part)))
            yield Batch(shard.name, start, frame, data)
            start += len(part)
        if start == 0:  # no sample at all: an empty batch carries the columns' types
            yield Batch(shard.name, 0, EMPTY.select(samples).hstack(stored.clear()), [])
        notes: dict[str, Any] = {"damage": source.damage._asdict()} if source.damage else {}
        notes |= {"lost": found} if (found := lost(shard)) else {}
        known.finish(notes | reading(shard, work.columns))


def _parted(table: pa.Table | pl.DataFrame) -> tuple[pl.DataFrame, Encoded | None]:
    """Samples, and their images if they have any."""
    if isinstance(table, pl.DataFrame):
        return table, None
    index = table.column_names.index("image")
    return pl.DataFrame(table.remove_column(index)), buffers(table.column(index))


def buffers(image: pa.ChunkedArray) -> list[memoryview | None]:
    """Views of a binary column's values: nothing is copied."""
    return [memoryview(value.as_buffer()) if value.is_valid else None for value in image]

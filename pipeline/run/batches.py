"""Reads a shard and cuts it into batches: the start of a batch's life.

A batch is a run of rows of one shard: columns of its samples, stored columns that the pass's operators need
and, if they need pixels, encoded images. Stages add columns to it (stage.py), and a collector publishes
them (collector.py).

The cuts depend on the shard's content alone, and rows of two shards are never mixed. So an operator always
sees the same rows together, whatever the number of workers: equal inputs give equal bytes.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl

from pipeline.errors import ShardError, worded
from pipeline.operator import Stat
from pipeline.plan.open_pool import open_kind
from pipeline.plan.passes import ROWS, ScorePass
from pipeline.pool.columns import Columns
from pipeline.pool.kinds.kind import Encoded, PoolKind
from pipeline.pool.sample_table import samples_of
from pipeline.pool.shards import Shard
from pipeline.recipe.sections import Entry, Recipe
from pipeline.schema import EMPTY, SAMPLE_COLUMNS, owner
from pipeline.storage import layout
from pipeline.storage.retry import ATTEMPTS, FINAL, from_storage, wait
from pipeline.storage.store import Store

ALWAYS = ("shard", "row", "width", "height")  # sample columns that the engine itself needs


@dataclass(frozen=True)
class Work:
    """A ScorePass with everything that a worker needs. Travels to Ray workers.

    store       the recipe's store
    entries     the operators of the pass, and those whose results they read, by name
    keys        cache key by operator
    stages      names of the operators that run, by stage
    reads_pool  whether the pool's files must be opened, or stored columns suffice
    batch_rows  rows of a batch, at most
    kind        the kind of the pool
    """

    store: str
    entries: Mapping[str, Entry]
    keys: Mapping[str, str]
    stages: tuple[tuple[str, ...], ...]
    reads_pool: bool
    batch_rows: int
    kind: PoolKind

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
            open_kind(recipe, todo.shards),
        )

    @property
    def names(self) -> list[str]:
        """The operators to run."""
        return [name for stage in self.stages for name in stage]

    def needs(self) -> tuple[list[str], list[str]]:
        """(sample columns, stored columns) to read. Stored columns come with the `error` column of their
        operator."""
        inputs = dict.fromkeys(i for n in self.names for i in self.entries[n].operator.inputs())
        samples = [c for c in (*SAMPLE_COLUMNS, *self.kind.ready) if c in inputs or c in ALWAYS]
        stored = [i for i in inputs if "." in i and owner(i) not in (None, *self.names)]
        return samples, list(dict.fromkeys(n for i in stored for n in (i, f"{owner(i)}.error")))

    @cached_property
    def pool(self) -> Columns:
        """The pool's columns: one object for all shards, since its Store remembers which parts are packed."""
        store = Store(self.store)
        return Columns(store, self.keys, self.kind.samples(store))

    def stats(self) -> dict[str, pl.DataFrame]:
        """The tables that the operators read."""
        tables = [n for n, entry in self.entries.items() if isinstance(entry.operator, Stat)]
        store = self.pool.store
        return {name: store.read(layout.stat(name, self.keys[name])) for name in tables}

    def unpublished(self, shards: Sequence[Shard]) -> list[Shard]:
        """Those of these shards that lack a part of an operator. Costs one listing per operator."""
        store = self.pool.store
        published = [store.part_names(layout.columns_folder(name, self.keys[name])) for name in self.names]
        return [shard for shard in shards if not all(shard.name in names for names in published)]


def _is_needed(recipe: Recipe, todo: ScorePass, name: str) -> bool:
    """Whether an operator of the pass reads results of the operator `name`."""
    return any(name in recipe.operator(n).owners() for n in todo.names)


@dataclass
class Batch:
    """Rows [start, start + len(frame)) of a shard; `data` holds encoded images if the pass reads them."""

    shard: str
    start: int
    frame: pl.DataFrame
    data: Encoded | None


@dataclass
class Read:
    """How reading a shard went: rows, bytes of images, seconds spent reading, and why it could not be
    read."""

    shard: str
    rows: int = 0
    bytes: int = 0
    seconds: float = 0.0
    error: str | None = None


def batches(work: Work, shard: Shard, read: Read) -> Iterator[Batch]:
    """The batches of a shard; `read` is filled in as they pass. If storage fails midway, the shard is read
    again, with back-off; its batches are cut as before, so those already handed out are skipped. If the
    shard cannot be read, the batches end early and `read.error` says why."""
    yielded = 0  # batches that the caller has
    for attempt in range(ATTEMPTS):
        try:
            for number, batch in enumerate(_timed(_read_once(work, shard), read)):
                if number >= yielded:
                    yielded += 1
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
    """The same batches; the time that each takes to come is added to `read.seconds`."""
    while True:
        started = time.perf_counter()
        batch = next(source, None)
        read.seconds += time.perf_counter() - started
        if batch is None:
            read.error = None
            return
        yield batch


def _read_once(work: Work, shard: Shard) -> Iterator[Batch]:
    """The batches of a shard, without a second attempt."""
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
    """Batches from the pool's files, with encoded images if the pool has any. At the end, the shard's
    samples are published, unless the store has them. `samples`: columns to read; `stored`: columns that the
    store has."""
    start = 0
    notes: dict[str, Any] = {}
    with samples_of(store, shard.name) as writer:
        for part, data in work.kind.read(shard, work.batch_rows, notes):
            writer.add_rows(part)
            frame = part.select(samples).hstack(stored.slice(start, len(part)))
            yield Batch(shard.name, start, frame, data)
            start += len(part)
        if start == 0:  # no sample at all: an empty batch carries the columns' types
            yield Batch(shard.name, 0, EMPTY.select(samples).hstack(stored.clear()), [])
        writer.finish(notes)

"""The start of a batch's life: a shard of the pool is read and cut into batches.

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
    """A ScorePass, with everything that a worker needs to run it. Travels to Ray workers.

    store       the store's path
    entries     the operators to run and those whose results they read, by name
    keys        their cache keys, by name
    stages      the names of the operators of each stage, in the order in which they run
    reads_pool  whether the pool's files must be opened; if not, stored columns suffice
    batch_rows  rows of a batch, at most
    kind        the kind of the pool, which reads its shards
    """

    store: str
    entries: Mapping[str, Entry]
    keys: Mapping[str, str]
    stages: tuple[tuple[str, ...], ...]
    reads_pool: bool
    batch_rows: int
    kind: PoolKind

    @classmethod
    def of(cls, recipe: Recipe, keys: Mapping[str, str], planned: ScorePass) -> "Work":
        """The work of one pass. `keys`: cache keys by operator."""
        names = [n for n in recipe.compute if n in planned.names or _is_needed(recipe, planned, n)]
        return cls(
            store=recipe.pool.store,
            entries={name: recipe.compute[name] for name in names},
            keys={name: keys[name] for name in names},
            stages=tuple(stage.names for stage in planned.stages),
            reads_pool=planned.reads_pool,
            batch_rows=max((stage.rows for stage in planned.stages), default=ROWS["columns"]),
            kind=open_kind(recipe, planned.shards),
        )

    @property
    def names(self) -> list[str]:
        """The operators to run."""
        return [name for stage in self.stages for name in stage]

    def needs(self) -> tuple[list[str], list[str]]:
        """(sample columns to read, stored columns to read, with the `error` columns of their operators)."""
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
        """The tables of the Stats that the operators read, by name."""
        tables = [n for n, entry in self.entries.items() if isinstance(entry.operator, Stat)]
        store = self.pool.store
        return {name: store.read(layout.stat(name, self.keys[name])) for name in tables}

    def unpublished(self, shards: Sequence[Shard]) -> list[Shard]:
        """The shards, of those given, that lack a part. Takes one listing per operator."""
        store = self.pool.store
        published = [store.part_names(layout.columns_folder(name, self.keys[name])) for name in self.names]
        return [shard for shard in shards if not all(shard.name in names for names in published)]


def _is_needed(recipe: Recipe, planned: ScorePass, name: str) -> bool:
    """Whether an operator of the pass reads a result of the operator `name`."""
    return any(name in recipe.operator(n).owners() for n in planned.names)


@dataclass
class Batch:
    """Rows [start, start + len(frame)) of a shard. `data` has their encoded images, None if none are read."""

    shard: str
    start: int
    frame: pl.DataFrame
    data: Encoded | None


@dataclass
class Read:
    """How reading one shard went: rows and bytes of images read, seconds spent, and the error that ended
    it."""

    shard: str
    rows: int = 0
    bytes: int = 0
    seconds: float = 0.0
    error: str | None = None


def batches(work: Work, shard: Shard, read: Read) -> Iterator[Batch]:
    """The batches of a shard, in order. `read` counts them as they are handed out.

    If storage fails midway, the shard is read again after a while. The cuts are the same, so the batches
    that were handed out are skipped. If the shard cannot be read, the batches end early and `read.error`
    says why.
    """
    handed_out = 0
    for attempt in range(ATTEMPTS):
        try:
            for number, batch in enumerate(_timed(_read_once(work, shard), read)):
                if number >= handed_out:
                    handed_out += 1
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
    """The same batches; `read` gets the seconds that reading takes, and no error if it comes to the end."""
    while True:
        started = time.perf_counter()
        batch = next(source, None)
        read.seconds += time.perf_counter() - started
        if batch is None:
            read.error = None
            return
        yield batch


def _read_once(work: Work, shard: Shard) -> Iterator[Batch]:
    """The batches of a shard, from the pool or from the store alone. Raises ShardError and storage's
    errors."""
    columns = work.pool
    samples, stored = work.needs()
    if work.reads_pool:
        frame = columns.read(shard.name, stored) if stored else pl.DataFrame()
        yield from _read_pool(work, shard, columns.store, samples, frame)
        return
    start = 0
    for frame in columns.batches(shard.name, [*samples, *stored], work.batch_rows):
        yield Batch(shard.name, start, frame, None)
        start += len(frame)


def _read_pool(
    work: Work, shard: Shard, store: Store, samples: list[str], stored: pl.DataFrame
) -> Iterator[Batch]:
    """Batches of sample columns beside stored ones, with encoded images if the pool has any. At the end the
    shard's samples table is published, if the store does not have it yet."""
    start = 0
    notes: dict[str, Any] = {}
    with samples_of(store, shard.name) as table:
        for part, data in work.kind.read(shard, work.batch_rows, notes):
            table.add(part)
            frame = part.select(samples).hstack(stored.slice(start, len(part)))
            yield Batch(shard.name, start, frame, data)
            start += len(part)
        if start == 0:  # a shard without samples: an empty batch has the columns' types
            yield Batch(shard.name, 0, EMPTY.select(samples).hstack(stored.clear()), [])
        table.finish(notes)

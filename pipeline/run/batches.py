"""Reads a shard and cuts it into batches: the start of a batch's life.

A batch is a run of rows of one shard: columns of its samples, stored columns that the pass's operators need
and, if they need them, encoded images. Stages add columns to it (stage/runner.py), and a collector publishes
them (collector.py).

The cuts depend on the shard's content alone, and rows of two shards are never mixed. So an operator always
sees the same rows together, whatever the number of workers: equal inputs give equal bytes.
"""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import polars as pl

from pipeline.errors import ChangedError, ShardError, printable, worded
from pipeline.operator import Stat, reads_images
from pipeline.plan.open_pool import open_kind
from pipeline.plan.passes import ROWS, ScorePass, runs_a_network
from pipeline.pool.columns import Columns
from pipeline.pool.kinds.kind import Encoded, PoolKind
from pipeline.pool.sample_table import samples_of
from pipeline.pool.shards import Shard
from pipeline.recipe.limits import DEFAULTS, Limits
from pipeline.recipe.sections import Entry, Recipe
from pipeline.run import pieces
from pipeline.run.pieces import Piece
from pipeline.schema import SAMPLE_COLUMNS, owner
from pipeline.storage import layout
from pipeline.storage.retry import ATTEMPTS, FINAL, from_storage, wait
from pipeline.storage.store import Store

ALWAYS = ("shard", "row", "width", "height")  # sample columns that the engine itself needs


@dataclass(frozen=True)
class Work:
    """A ScorePass with everything that a worker needs. Travels to Ray workers.

    store       the folder of the pool's results
    entries     the operators of the pass, and those whose results they read, by name
    keys        cache key by operator
    stages      names of the operators that run, by stage
    reads_pool  whether the pool's files must be opened, or stored columns suffice
    batch_rows  rows of a batch, at most
    kind        the kind of the pool
    states      the state of each shard's file, if it is known
    limits      bounds on a sample
    on_gpu      the operators that run a network on a GPU
    pieces      shard -> what earlier runs have computed of it
    """

    store: str
    entries: Mapping[str, Entry]
    keys: Mapping[str, str]
    stages: tuple[tuple[str, ...], ...]
    reads_pool: bool
    batch_rows: int
    kind: PoolKind
    states: Mapping[str, str]
    limits: Limits = DEFAULTS
    on_gpu: tuple[str, ...] = ()
    pieces: Mapping[str, Sequence[Piece]] = field(default_factory=dict)

    @classmethod
    def of(cls, recipe: Recipe, keys: Mapping[str, str], todo: ScorePass) -> "Work":
        """The work of one pass."""
        owners = [n for n in recipe.compute if n in todo.names or _is_needed(recipe, todo, n)]
        rows = max((stage.rows for stage in todo.stages), default=ROWS["columns"])
        given_gpus = [n for stage in todo.stages if stage.resources.gpus for n in stage.names]
        return cls(
            recipe.pool.folder,
            {name: recipe.compute[name] for name in owners},
            {name: keys[name] for name in owners},
            tuple(stage.names for stage in todo.stages),
            todo.reads_pool,
            rows,
            open_kind(recipe, todo.shards),
            {shard.name: shard.state for shard in todo.shards if shard.state},
            recipe.limits,
            tuple(n for n in given_gpus if runs_a_network(recipe.operator(n))),
        )

    @property
    def names(self) -> list[str]:
        """The operators to run."""
        return [name for stage in self.stages for name in stage]

    @property
    def reads_images(self) -> bool:
        """Whether an operator to run needs encoded images."""
        return any(reads_images(self.entries[name].operator) for name in self.names)

    @property
    def column_folders(self) -> list[str]:
        """The folders of the store that the pass fills."""
        return [layout.columns_folder(name, self.keys[name]) for name in self.names]

    @property
    def pieces_folder(self) -> str:
        """The folder of the store for pieces of this pass. A pass with other limits, or with a network on
        another kind of device, takes none of them."""
        how = [*filter(None, [self.kind.reading]), *self.on_gpu]
        return pieces.folder_of(self.column_folders, self.batch_rows, how)

    def with_pieces(self, shards: Collection[Shard]) -> "Work":
        """The same work without what the store has of these shards already."""
        return replace(self, pieces=pieces.stored_pieces(self.pool.store, self.pieces_folder, shards))

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
        """Those of these shards that lack samples, or a part of an operator for the content that their
        samples have. Costs one listing per folder."""
        store = self.pool.store
        contents: dict[str, object] = {shard.name: shard.content for shard in shards}
        if self.pool.samples.folders:
            footers = store.footers(layout.SAMPLES, contents)
            contents = {name: footer.notes.get("content") for name, footer in footers.items()}
        for folder in self.column_folders:
            footers = store.footers(folder, contents)
            contents = {
                name: footer.notes["content"]
                for name, footer in footers.items()
                if footer.notes.get("content") == contents[name]
            }
        return [shard for shard in shards if shard.name not in contents]


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

    @property
    def bytes(self) -> int:
        """Of the encoded images."""
        return sum(len(item) for item in self.data or () if item is not None)


@dataclass
class Read:
    """How reading a shard went.

    rows     of the shard, also those in pieces
    bytes    of images
    seconds  spent reading
    error    why it could not be read, None if it was
    content  the digest of what was read, once the reading has ended
    changed  whether the error is that the shard changed meanwhile
    """

    shard: str
    rows: int = 0
    bytes: int = 0
    seconds: float = 0.0
    error: str | None = None
    content: str = ""
    changed: bool = False


def batches(work: Work, shard: Shard, read: Read) -> Iterator[Batch]:
    """The batches of a shard; `read` is filled in as they pass. If storage fails midway, the shard is read
    again, with back-off; its batches are cut as before, so those already handed out are skipped. If the
    shard cannot be read, the batches end early and `read.error` says why."""
    yielded = 0  # batches that the caller has, or that are in pieces
    done = {start for piece in work.pieces.get(shard.name, ()) for start in piece.starts}
    for attempt in range(ATTEMPTS):
        try:
            for number, batch in enumerate(_timed(_read_once(work, shard, read, again=yielded > 0), read)):
                if number >= yielded:
                    yielded += 1
                    read.rows += len(batch.frame)
                    read.bytes += batch.bytes
                    if batch.start not in done:
                        yield batch
            return
        except Exception as error:
            if not (isinstance(error, ShardError) or from_storage(error)):
                raise
            read.changed = isinstance(error, ChangedError)
            read.error = printable(str(error) if isinstance(error, ShardError) else worded(error))
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


def _read_once(work: Work, shard: Shard, read: Read, again: bool) -> Iterator[Batch]:
    """The batches of a shard, without a second attempt. `again`: batches of an earlier attempt are in use."""
    columns = work.pool
    samples, stored = work.needs()
    if work.reads_pool:
        frame = columns.read(shard.name, stored) if stored else pl.DataFrame()
        yield from _from_shard(work, shard, read, samples, frame, again)
        return
    start = 0
    for frame in columns.batches(shard.name, [*samples, *stored], work.batch_rows):
        yield Batch(shard.name, start, frame, None)
        start += len(frame)
    columns.samples.check(shard)
    read.content = shard.content


def _from_shard(
    work: Work, shard: Shard, read: Read, samples: list[str], stored: pl.DataFrame, again: bool
) -> Iterator[Batch]:
    """Batches from the pool's files, with encoded images if the pool has any. At the end, the shard's
    samples are published, unless the store has them. `samples`: columns to read; `stored`: columns that the
    store has."""
    start = 0
    notes: dict[str, Any] = {}
    with samples_of(work.pool.store, shard, work.kind.empty) as writer:
        for part, data in work.kind.read(shard, work.batch_rows, notes, work.reads_images):
            writer.add_rows(part)
            frame = part[samples].hstack(stored.slice(start, len(part)))
            yield Batch(shard.name, start, frame, data if work.reads_images else None)
            start += len(part)
        if again and shard.state not in ("", notes["state"]):
            raise ChangedError(f"{shard.path} changed between two attempts to read it: it is read again")
        if start == 0:  # no sample at all: an empty batch carries the columns' types
            yield Batch(shard.name, 0, work.kind.empty.select(samples).hstack(stored.clear()), [])
        writer.finish(notes)
        read.content = notes["content"]

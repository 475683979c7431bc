"""What surrounds the operators in a pass: batches of a shard come out of tars, tables and the store, the
new columns go back into it, one published file per shard and operator.

Batches are cut inside a shard, at places that depend on its content alone, and never mixed. So an
operator always sees the same rows together, whatever the number of workers: equal inputs, equal bytes.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import pyarrow as pa

from pipeline.errors import ShardError, worded
from pipeline.operator import READY_COLUMNS, SAMPLE_COLUMNS, Stat, Writer, owner
from pipeline.plan.passes import ROWS, ScorePass, folder, stat_path
from pipeline.pool.columns import Columns
from pipeline.pool.img2dataset import lost
from pipeline.pool.sample_table import EMPTY, samples_of
from pipeline.pool.shards import SampleReader, Shard, read_samples
from pipeline.pool.table_reader import TableReader, read_table, reading
from pipeline.recipe.load import Recipe
from pipeline.recipe.lookup import Entry
from pipeline.storage.retry import ATTEMPTS, FINAL, from_storage, persist, wait
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
    tar: bool
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
            todo.tar,
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

    def stats(self) -> dict[str, pl.DataFrame]:
        """The tables that the operators read."""
        tables = [n for n, entry in self.entries.items() if isinstance(entry.operator, Stat)]
        store = Store(self.store)
        return {name: store.read(stat_path(name, self.keys[name])) for name in tables}

    def unpublished(self, shards: Sequence[Shard]) -> list[Shard]:
        """Those of some shards that lack a part, by one listing an operator."""
        store = Store(self.store)
        there = [store.part_names(folder(name, self.keys[name])) for name in self.names]
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
            wait(attempt)


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
    columns = Columns(work.store, work.keys, work.datacomp)
    samples, stored = work.needs()
    if work.tar:
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


class Collector:
    """Gathers the new columns of shards in any order of batches and publishes a shard's files when all
    its rows are there, or says in `failed` why not. Idempotent: a batch that comes twice counts once."""

    def __init__(self, work: Work) -> None:
        self.work, self.store = work, Store(work.store)
        self.parts: dict[str, dict[int, pl.DataFrame]] = {}
        self.expected, self.failed = dict[str, int](), dict[str, str]()

    def add(self, batch: Batch) -> None:
        """Rows of a shard, with every new column."""
        columns = [c for n in self.work.names for c in (*_written(self.work, n), f"{n}.error")]
        self.parts.setdefault(batch.shard, {})[batch.start] = batch.frame.select("shard", "row", *columns)
        self._publish_if_whole(batch.shard)

    def expect(self, shard: str, rows: int) -> None:
        """The shard has that many rows in all."""
        self.expected[shard] = rows
        self._publish_if_whole(shard)

    def _publish_if_whole(self, shard: str) -> None:
        parts = self.parts.get(shard)
        if parts is None or sum(map(len, parts.values())) != self.expected.get(shard):
            return
        frame = pl.concat([parts[start] for start in sorted(parts)], rechunk=True)
        del self.parts[shard], self.expected[shard]
        try:
            persist(lambda: self._publish(shard, frame))
        except ShardError as error:
            self.failed[shard] = str(error)

    def _publish(self, shard: str, frame: pl.DataFrame) -> None:
        for name in self.work.names:
            columns = ("shard", "row", *_written(self.work, name), f"{name}.error")
            self.store.write(f"{folder(name, self.work.keys[name])}/{shard}.parquet", frame.select(columns))


def _written(work: Work, name: str) -> list[str]:
    operator = work.entries[name].operator
    assert isinstance(operator, Writer)
    return [f"{name}.{column}" for column in operator.writes]

"""What the tasks of a Group's pass need to know: which rows they take, and how these are cut.

The shards are cut into *runs* of consecutive shards, and the keys, by a hash, into *partitions*. Both are so
small that a task can hold one. The cuts follow from the pool and the memory of a task alone, so a run that
was killed finds what it has done. Results do not depend on them.
"""

import hashlib
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import polars as pl

from pipeline.operator import Device, Group, Stat
from pipeline.plan.cluster import GIB
from pipeline.plan.keys import identities
from pipeline.plan.session import Session
from pipeline.pool.columns import Columns
from pipeline.pool.shards import Shard
from pipeline.recipe.check import column_types
from pipeline.run.stage.calls import set_up
from pipeline.storage import layout

MEMORY = 1.0  # GiB of a task, unless the recipe says otherwise
COPIES = 8  # of its rows that a task holds at the same time: read, sorted, joined, cut, and their results
TEXT = 32  # bytes of a text, a digest or a uid, about
WIDE = 1024  # bytes of an embedding whose width is not known before its model is loaded
LOOKED_AT = 8192  # rows by which the bytes of a row are told
ROWS = 65_536  # rows of a shard that are read at a time if it is too large to be read at once


@dataclass(frozen=True)
class GroupWork:
    """A Group's pass with everything that a worker needs. Travels to Ray workers.

    tables      the paths of the Stats that it reads, by name
    runs        the shards of the pool, in order
    partitions  how many there are
    row_bytes   of a row as the Group sees it, about
    hold        bytes of rows that a task reads at a time
    folder      the folder of the store for the files between the tasks
    is_list     whether the key is a list, so that a row may be in several groups
    """

    name: str
    operator: Group
    columns: Columns
    tables: dict[str, str]
    runs: tuple[tuple[Shard, ...], ...]
    partitions: int
    row_bytes: float
    hold: float
    folder: str
    is_list: bool

    @classmethod
    def of(cls, session: Session, name: str) -> "GroupWork":
        """The work of one Group over a session's shards, whose samples are stored."""
        operator = session.recipe.operator(name)
        assert isinstance(operator, Group)
        tables = {
            need: layout.stat(need, session.keys[need])
            for need in operator.inputs()
            if need in session.recipe.compute and isinstance(session.recipe.operator(need), Stat)
        }
        hold = held(session.recipe.resources(name).memory or MEMORY)
        row_bytes = _row_bytes(session, operator, read_by(operator, tables))
        runs = tuple(_runs(session.shards, hold / row_bytes))
        partitions = max(1, math.ceil(sum(shard.rows for shard in session.shards) * row_bytes / hold))
        cuts = [
            identities(session.shards),
            session.folder(name),
            [len(run) for run in runs],
            partitions,
            pl.__version__,  # its hash says which partition a key is in
        ]
        key = hashlib.blake2b(orjson.dumps(cuts), digest_size=8).hexdigest()
        return cls(
            name,
            operator,
            session.columns,
            tables,
            runs,
            partitions,
            row_bytes,
            hold,
            layout.groups_folder(key),
            column_types(session.recipe)[operator.keys()[0]] == pl.List,
        )

    @property
    def reads(self) -> list[str]:
        """The columns that the Group reads, and `uid`."""
        return read_by(self.operator, self.tables)

    def set_up(self, threads: int) -> Group:
        """The operator, ready for use. Raises OperatorError."""
        tables = {name: self.columns.store.read(path) for name, path in self.tables.items()}
        return set_up(self.name, self.operator, tables, Device("cpu", threads))

    def frames(self, number: int) -> Iterator[pl.DataFrame]:
        """The rows of a run, in order, so many at a time as a task holds, with `at`: their number in the
        run."""
        start = 0
        for frame in self._frames(self.runs[number]):
            at = pl.int_range(start, start + pl.len(), dtype=pl.UInt32).alias("at")
            yield frame.select(*self.reads, at)
            start += len(frame)

    def _frames(self, run: Sequence[Shard]) -> Iterator[pl.DataFrame]:
        """As `frames`, without `at`."""
        if sum(shard.rows for shard in run) * self.row_bytes <= 2 * self.hold:
            yield self.columns.read_many([shard.name for shard in run], self.reads)
            return
        held: list[pl.DataFrame] = []
        for shard in run:
            for frame in self.columns.batches(shard.name, self.reads, ROWS):
                held.append(frame)
                if sum(map(len, held)) * self.row_bytes > self.hold:
                    yield pl.concat(held)
                    held = []
        if held:
            yield pl.concat(held)

    def rows_file(self, run: int) -> str:
        """The file with the rows of a run, cut by partition."""
        return layout.part(self.folder, f"rows/{run:06d}")

    def results_file(self, partition: int) -> str:
        """The file with the results of a partition, cut by run."""
        return layout.part(self.folder, f"results/{partition:06d}")


def held(memory: float) -> float:
    """The bytes of rows that a task with so many GiB reads at a time."""
    return memory * GIB / COPIES


@dataclass(frozen=True)
class Shuffle:
    """What a Group's pass moves: `bytes` of rows, None if the samples are not counted yet; `memory` of each
    task, in GiB."""

    bytes: int | None
    memory: float


def shuffle_of(session: Session, name: str, samples: int | None) -> Shuffle:
    """About what the pass of a Group moves, by the types of the columns that it reads. Nothing is read."""
    operator = session.recipe.operator(name)
    types = column_types(session.recipe)
    assert isinstance(operator, Group)
    row = sum(
        _typed_bytes(types[column]) for column in read_by(operator, {*operator.inputs()} - types.keys())
    )
    memory = session.recipe.resources(name).memory or MEMORY
    return Shuffle(None if samples is None else round(samples * row), memory)


def _typed_bytes(dtype: Any) -> float:
    """Bytes of a value of a polars type, about."""
    if dtype.is_numeric():
        return float(pl.Series([0], dtype=dtype).estimated_size())
    if dtype == pl.Array or dtype == pl.List:
        inner = getattr(dtype, "inner", None) or pl.Float16
        return getattr(dtype, "size", 0) * _typed_bytes(inner) or (WIDE if dtype == pl.Array else 5 * TEXT)
    return TEXT


def read_by(operator: Group, tables: Collection[str]) -> list[str]:
    """The columns that a Group reads, and `uid`, each once."""
    return list(dict.fromkeys([*(name for name in operator.inputs() if name not in tables), "uid"]))


def _row_bytes(session: Session, operator: Group, names: list[str]) -> float:
    """Bytes of a row, told by the first rows of the first shard that has any; a list of keys is several
    rows."""
    shard = next((shard for shard in session.shards if shard.rows), None)
    if shard is None:
        return 1.0
    frame = next(iter(session.columns.batches(shard.name, names, LOOKED_AT)))
    size = max(1.0, frame.estimated_size() / len(frame))
    key = operator.keys()[0]
    if frame.schema[key].base_type() == pl.List:
        lengths = frame[key].list.len().fill_null(0)
        size *= max(1.0, int(lengths.sum()) / len(frame))
    return size


def _runs(shards: Sequence[Shard], rows: float) -> Iterator[tuple[Shard, ...]]:
    """Runs of consecutive shards with about so many rows, at least one shard each."""
    run: list[Shard] = []
    total = 0
    for shard in shards:
        run.append(shard)
        total += shard.rows
        if total >= rows:
            yield tuple(run)
            run, total = [], 0
    if run:
        yield tuple(run)

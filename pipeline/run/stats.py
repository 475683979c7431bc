"""Stats: columns of all shards reduced to one table.

Each task reduces a few shards to a partial table. Partial tables are merged in any order and grouping, and
the last one is finished. The result is equal however they meet, since that is a Stat's contract
(operator.py).
"""

from collections.abc import Iterable, Iterator, Sequence

import polars as pl

from pipeline.errors import OperatorError, is_fault
from pipeline.operator import Operator, Stat
from pipeline.plan.session import Session
from pipeline.pool.shards import Shard
from pipeline.progress import begun
from pipeline.run.executor import Executor
from pipeline.run.stage.calls import where, with_columns
from pipeline.schema import is_storable

ROWS_PER_PARTIAL = 65_536  # rows that a Stat sees at a time, at most
SHARDS_PER_PARTIAL = 16  # shards that one task of a Stat reduces
MERGE_BYTES = 256 << 20  # of partial tables: a task merges its tables when they have more


def reduced(executor: Executor, task: "StatTask", shards: Sequence[Shard]) -> pl.DataFrame:
    """A Stat's table over some shards (at least one). Raises OperatorError."""
    chunks = [shards[i : i + SHARDS_PER_PARTIAL] for i in range(0, len(shards), SHARDS_PER_PARTIAL)]
    done = begun(f"{task.name}: reducing", len(chunks))
    return task.finish(executor.reduce(task.partial, task.merge, chunks, done))


class StatTask:
    """A Stat and the columns that it reads. Travels to Ray workers. Its methods raise OperatorError."""

    def __init__(self, session: Session, name: str) -> None:
        operator = session.recipe.operator(name)
        assert isinstance(operator, Stat)
        self.name = name
        self.operator = operator
        self.columns = session.columns

    def partial(self, shards: Iterable[Shard]) -> pl.DataFrame:
        """The merged partial table of some shards. Large tables are merged as they come."""
        tables: list[pl.DataFrame] = []
        size = 0
        for frame in (frame for shard in shards for frame in self.frames(shard)):
            tables.append(called(self.name, self.operator, "partial", [frame]))
            size += int(tables[-1].estimated_size())
            if size > MERGE_BYTES and len(tables) > 1:
                tables = [self.merge(tables)]
                size = 0
        return self.merge(tables)

    def frames(self, shard: Shard) -> Iterator[pl.DataFrame]:
        """The columns of one shard that the Stat reads, ROWS_PER_PARTIAL rows at a time."""
        return self.columns.batches(shard.name, self.operator.inputs(), ROWS_PER_PARTIAL)

    def merge(self, parts: list[pl.DataFrame]) -> pl.DataFrame:
        """One partial table out of several."""
        return merged_parts(self.name, self.operator, parts)

    def finish(self, merged: pl.DataFrame) -> pl.DataFrame:
        """The table to store."""
        return called(self.name, self.operator, "finish", [merged])


def merged_parts(name: str, operator: Operator, parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """One partial table out of several. It may be among the parts of the next call, so it must look as they
    do: an operator that breaks this works on a few shards, and ends a run over many. Raises OperatorError."""
    _check_alike(name, parts[0], parts[1:], "partial() and merge() must always give")
    merged = called(name, operator, "merge", [pl.concat(parts)])
    _check_alike(name, parts[0], [merged], "merge() must give")
    return merged


def _check_alike(name: str, table: pl.DataFrame, others: Sequence[pl.DataFrame], rule: str) -> None:
    """Raises OperatorError unless the tables have the same columns and types."""
    for other in others:
        if other.schema != table.schema:
            raise OperatorError(
                f"{name}: {rule} the same columns and types, got {_columns(other)} after {_columns(table)}"
            )


def _columns(table: pl.DataFrame) -> str:
    """The columns of a table with their types, in words."""
    return ", ".join(f"{name} {dtype}" for name, dtype in table.schema.items()) or "no column"


def called(name: str, operator: Operator, method: str, frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The frame that a method of an operator gives for some frames. Raises OperatorError if it raises, or
    gives anything else."""
    try:
        table = getattr(operator, method)(*frames)
    except BaseException as error:
        if not is_fault(error):
            raise
        why = with_columns(operator, error)
        raise OperatorError(f"{name}: {method}() fails: {why}{where(operator, error)}") from error
    if not isinstance(table, pl.DataFrame):
        kind = type(table).__name__
        raise OperatorError(f"{name}: {method}() must return a polars DataFrame, got {kind}")
    for column, dtype in table.schema.items():
        if not is_storable(dtype):
            raise OperatorError(f"{name}: {method}() returned {column} as {dtype}, which no file can hold")
    return table

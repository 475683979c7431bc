"""Stats: columns of all shards reduced to one table, in parts that may be merged in any order."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import polars as pl

from pipeline.errors import OperatorError, worded
from pipeline.operator import Stat
from pipeline.plan.session import Session
from pipeline.pool.shards import Shard
from pipeline.run.executor import Executor

ROWS_PER_PARTIAL = 65_536  # rows that a Stat sees at a time, at most


SHARDS_PER_PARTIAL = 16  # shards that one task of a Stat reduces


HELD = 256 << 20  # bytes of partial tables that wait to be merged


def reduced(executor: Executor, task: "StatTask", shards: Sequence[Shard]) -> pl.DataFrame:
    """A Stat's table over some shards."""
    chunks = [shards[i : i + SHARDS_PER_PARTIAL] for i in range(0, len(shards), SHARDS_PER_PARTIAL)]
    return task.finish(executor.reduce(task.partial, task.merge, chunks))


class StatTask:
    """A Stat and where its columns lie. Travels to Ray workers."""

    def __init__(self, session: Session, name: str) -> None:
        operator = session.recipe.operator(name)
        assert isinstance(operator, Stat)
        self.name, self.operator = name, operator
        self.columns = session.columns

    def partial(self, shards: Iterable[Shard]) -> pl.DataFrame:
        """The merged partial table of some shards; tables that are large are merged as they come."""
        held, size = list[pl.DataFrame](), 0
        for frame in (frame for shard in shards for frame in self.frames(shard)):
            held.append(self._table("partial", self.operator.partial, [frame]))
            size += int(held[-1].estimated_size())
            if size > HELD and len(held) > 1:
                held, size = [self.merge(held)], 0
        return self.merge(held)

    def frames(self, shard: Shard) -> Iterator[pl.DataFrame]:
        """The columns that the Stat reads, of one shard; of a large table, so many rows at a time."""
        return self.columns.batches(shard.name, self.operator.inputs(), ROWS_PER_PARTIAL)

    def merge(self, parts: list[pl.DataFrame]) -> pl.DataFrame:
        """One partial table out of several."""
        return self._table("merge", self.operator.merge, parts)

    def finish(self, merged: pl.DataFrame) -> pl.DataFrame:
        """The table to store."""
        return self._table("finish", self.operator.finish, [merged])

    def _table(
        self, step: str, method: Callable[[pl.DataFrame], pl.DataFrame], frames: list[pl.DataFrame]
    ) -> pl.DataFrame:
        """What a method makes of some frames, stacked. Raises OperatorError."""
        try:
            table = method(pl.concat(frames))
        except Exception as error:
            raise OperatorError(f"{self.name}: {step}() fails: {worded(error)}") from error
        if not isinstance(table, pl.DataFrame):
            kind = type(table).__name__
            raise OperatorError(f"{self.name}: {step}() must return a polars DataFrame, got {kind}")
        return table

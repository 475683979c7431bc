"""An executor that is started when the first work comes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain
from typing import TypeVar

import polars as pl

from pipeline.plan.cluster import Node
from pipeline.plan.passes import Stage
from pipeline.pool.shards import Shard
from pipeline.progress import Tick
from pipeline.run.batches import Work
from pipeline.run.executor import LITTLE, Asked, Executor, Report

Item = TypeVar("Item")
Result = TypeVar("Result")


class StartedLater:
    """Another executor, which is started when the first work comes: Ray takes seconds to start, and a command
    whose results are all stored has none for it. `start` may raise RecipeError."""

    def __init__(self, start: Callable[[], Executor]) -> None:
        self._start = start

    @cached_property
    def _started(self) -> Executor:
        """The executor, from now on."""
        return self._start()

    @property
    def nodes(self) -> Sequence[Node]:
        """See Executor."""
        return self._started.nodes

    def scores(
        self, work: Work, shards: Sequence[Shard], stages: Sequence[Stage], report: Report
    ) -> dict[str, int]:
        """See Executor."""
        return self._started.scores(work, shards, stages, report)

    @property
    def task_threads(self) -> int:
        """See Executor."""
        return self._started.task_threads

    def each(
        self, function: Callable[[Item], Result], items: Iterable[Item], asked: Asked = LITTLE
    ) -> Iterator[Result]:
        """See Executor. Without items nothing is started."""
        waiting = iter(items)
        for first in waiting:
            yield from self._started.each(function, chain([first], waiting), asked)

    def one(self, function: Callable[[Item], Result], item: Item, asked: Asked) -> Result:
        """See Executor."""
        return self._started.one(function, item, asked)

    def reduce(
        self,
        function: Callable[[Item], pl.DataFrame],
        merge: Callable[[list[pl.DataFrame]], pl.DataFrame],
        items: Sequence[Item],
        done: Tick,
    ) -> pl.DataFrame:
        """See Executor."""
        return self._started.reduce(function, merge, items, done)

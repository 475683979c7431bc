"""An executor that begins in this process, and hands what is left to Ray.

Ray takes seconds to start, and each of its passes some more. A small pool's captions, table or export are
done by then. So work begins here, on the machine where Ray would run. After SECONDS, which is about what
Ray's start takes, no shard or task is begun here, and Ray starts for what is left. Passes that decode images,
or for which `run:` reserves something, go to Ray at once: their operators take seconds to set up, and want
workers of their own. So do large shards, since what has begun is ended here.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain
from typing import TypeVar

import polars as pl

from pipeline.plan.cluster import Node
from pipeline.plan.passes import Stage
from pipeline.pool.shards import Shard
from pipeline.progress import Tick
from pipeline.recipe.sections import Resources
from pipeline.run.batches import Work
from pipeline.run.executor import LITTLE, Asked, Executor, LocalExecutor, Report

Item = TypeVar("Item")
Result = TypeVar("Result")
SECONDS = 5.0  # of work in this process
LARGE_BYTES, LARGE_ROWS = 64 << 20, 65_536  # of a shard


class LocalFirst:
    """The plain loop for `seconds`, then another executor, which `start` starts when work comes for it;
    `start` may raise RecipeError. With 0 seconds the other one gets all work."""

    def __init__(self, start: Callable[[], Executor], seconds: float = SECONDS) -> None:
        self._start = start
        self._seconds = seconds
        self._here = LocalExecutor()

    @cached_property
    def _started(self) -> Executor:
        """The other executor, from now on."""
        return self._start()

    @property
    def nodes(self) -> Sequence[Node]:
        """See Executor. Starts the other one."""
        return self._started.nodes

    def scores(
        self, work: Work, shards: Sequence[Shard], stages: Sequence[Stage], report: Report
    ) -> dict[str, int]:
        """See Executor. The shards that begin in time are done here."""
        done = 0
        if self._seconds and not work.reads_images and all(map(_reserves_nothing, stages)):
            small = _before_large(shards, work.reads_pool)
            done = self._here.begin_scores(work, small, stages, report, self._seconds)
        if done == len(shards):
            return dict.fromkeys(work.names, 1)
        return self._started.scores(work, shards[done:], stages, report)

    @property
    def task_threads(self) -> int:
        """See Executor."""
        return 1 if self._seconds else self._started.task_threads

    def each(
        self, function: Callable[[Item], Result], items: Iterable[Item], asked: Asked = LITTLE
    ) -> Iterator[Result]:
        """See Executor. Without items nothing is started."""
        waiting = iter(items)
        left = self._seconds if asked.resources == Resources() else 0.0
        while left > 0:
            began = time.perf_counter()
            try:
                item = next(waiting)
            except StopIteration:
                return
            result = function(item)
            left -= time.perf_counter() - began
            yield result
        for first in waiting:
            yield from self._started.each(function, chain([first], waiting), asked)

    def one(self, function: Callable[[Item], Result], item: Item, asked: Asked) -> Result:
        """See Executor. It is done here if nothing is asked for."""
        here = self._seconds and asked.resources == Resources()
        return (self._here if here else self._started).one(function, item, asked)

    def reduce(
        self,
        function: Callable[[Item], pl.DataFrame],
        merge: Callable[[list[pl.DataFrame]], pl.DataFrame],
        items: Sequence[Item],
        done: Tick,
    ) -> pl.DataFrame:
        """See Executor."""
        tables: list[pl.DataFrame] = []
        began = time.perf_counter()
        for place, item in enumerate(items):
            if time.perf_counter() - began >= self._seconds:
                tables.append(self._started.reduce(function, merge, items[place:], done))
                break
            tables.append(function(item))
            done(1)
            if len(tables) > 1:
                tables = [merge(tables)]
        return tables[0] if len(tables) == 1 else merge(tables)


def _reserves_nothing(stage: Stage) -> bool:
    """Whether the recipe leaves to Winnow where the operators of a stage run."""
    asked = stage.resources
    return not (asked.gpus or asked.cpus or asked.memory or asked.workers)


def _before_large(shards: Sequence[Shard], reads_pool: bool) -> Sequence[Shard]:
    """The shards before the first large one: by its bytes, if these are read, else by its rows. One of
    unknown size counts as large."""
    for place, shard in enumerate(shards):
        large = shard.size is None or shard.size > LARGE_BYTES if reads_pool else shard.rows > LARGE_ROWS
        if large:
            return shards[:place]
    return shards

"""How passes run: the Executor protocol, and the plain loop, which runs them in this process.

`LocalExecutor` and `on_ray.RayExecutor` differ in speed only; their columns are equal to the byte.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import polars as pl

from pipeline.operator import Device
from pipeline.plan.passes import Stage
from pipeline.pool.shards import Shard
from pipeline.recipe.sections import Resources
from pipeline.run.batches import Read, Work, batches
from pipeline.run.collector import Collector
from pipeline.run.stage import StageRunner, Tally

Item = TypeVar("Item")
Result = TypeVar("Result")
LOG = logging.getLogger("winnow.run")


@dataclass
class Event:
    """One step of a pass, for the progress display: rows through an operator chain, or a shard read."""

    rows: int = 0
    tally: Tally = field(default_factory=Tally)
    read: Read | None = None


Report = Callable[[Event], None]


class Executor(Protocol):
    """How passes run. `LocalExecutor` and `on_ray.RayExecutor` differ in nothing but speed."""

    def scores(
        self, work: Work, shards: Sequence[Shard], stages: Sequence[Stage], report: Report
    ) -> dict[str, int]:
        """Run a ScorePass; results are published as shards complete. Returns workers by operator."""

    def each(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Results of independent tasks, in any order."""

    def one(self, function: Callable[[Item], Result], item: Item, asked: Resources, key: str) -> Result:
        """The result of one large task, on a machine that has what the recipe asks for under `key`. Raises
        RecipeError if no machine has it."""

    def reduce(
        self,
        function: Callable[[Item], pl.DataFrame],
        merge: Callable[[list[pl.DataFrame]], pl.DataFrame],
        items: Sequence[Item],
    ) -> pl.DataFrame:
        """Merge the results of independent tasks, in any order and grouping."""


class LocalExecutor:
    """The plain loop: one process, one shard after the other; operators may use every core."""

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or os.cpu_count() or 1

    def scores(
        self, work: Work, shards: Sequence[Shard], stages: Sequence[Stage], report: Report
    ) -> dict[str, int]:
        """See Executor."""
        log_begun(work.names, shards, f"this process, {self.threads} threads")
        stats = work.stats()
        runners = [runner_of(work, stage, stats, device_of(stage, self.threads)) for stage in stages]
        for shard in shards:
            read, collector = Read(shard.name), Collector(work)
            for batch in batches(work, shard, read):
                tally = Tally()
                for runner in runners:
                    batch.frame, more = runner.run(batch.frame, batch.data)
                    tally += more
                collector.add_batch(batch)
                report(Event(len(batch.frame), tally))
            if read.error is None:
                collector.expect_rows(shard.name, read.rows)
                read.error = collector.failed.get(shard.name)
            report(Event(read=read))
        return {}

    def each(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """See Executor."""
        return map(function, items)

    def one(self, function: Callable[[Item], Result], item: Item, asked: Resources, key: str) -> Result:
        """See Executor. This machine is the only one."""
        return function(item)

    def reduce(
        self,
        function: Callable[[Item], pl.DataFrame],
        merge: Callable[[list[pl.DataFrame]], pl.DataFrame],
        items: Sequence[Item],
    ) -> pl.DataFrame:
        """See Executor."""
        merged = function(items[0])
        for item in items[1:]:
            merged = merge([merged, function(item)])
        return merged


def log_begun(names: Sequence[str], shards: Sequence[Shard], workers: str) -> None:
    """Log the one line with which a pass of Scores begins. `workers`: how many there are, and where."""
    LOG.info(
        "pass begun: %s; shards: %s; workers: %s", ", ".join(names) or "samples", f"{len(shards):,}", workers
    )


def device_of(stage: Stage, threads: int) -> Device:
    """A stage that asks for GPUs runs on `cuda`."""
    return Device("cuda" if stage.resources.gpus else "cpu", threads)


def runner_of(work: Work, stage: Stage, stats: Mapping[str, pl.DataFrame], device: Device) -> StageRunner:
    """The operators of a stage, loaded."""
    entries = {name: work.entries[name] for name in stage.names}
    return StageRunner(entries, stats, device, stage.rows)

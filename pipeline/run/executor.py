"""The Executor protocol, and the plain loop, which runs passes in this process.

The life of a batch in the plain loop: `batches` reads it from its shard, the runner of each stage adds
columns to it, and the shard's collector takes it. When the shard has ended, the collector publishes its
parts. On Ray the same steps run in many processes (ray_workers.py).

`LocalExecutor` and `on_ray.RayExecutor` differ in speed only; the files they write are equal to the byte.
So the plain loop is what tests compare Ray with.
"""

import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

import polars as pl

from pipeline.operator import Device
from pipeline.plan.absent import gpus_here
from pipeline.plan.cluster import Node
from pipeline.plan.passes import Stage
from pipeline.pool.shards import Shard
from pipeline.progress import Tick
from pipeline.recipe.sections import Resources
from pipeline.run.batches import Batch, Read, Work, batches
from pipeline.run.collector import Collector
from pipeline.run.stage import StageRunner, Tally

Item = TypeVar("Item")
Result = TypeVar("Result")
PIXELS_WEIGHT = 20  # how much longer a row takes in a stage that sees images, about
LOG = logging.getLogger("winnow.run")


class Asked(NamedTuple):
    """What the recipe asks for a task: `resources`, under `key`."""

    key: str = ""
    resources: Resources = Resources()


LITTLE = Asked()  # the recipe says nothing of the task


@dataclass
class Event:
    """One step of a pass, for logs and the progress display: some rows have passed a stage, a batch has every
    column, or a shard is read.

    rows   rows of the batch that now have every column of the pass
    tally  the work that was done on it
    read   how reading the shard went, once it has ended
    work   rows that were worked on; a row that has passed a part of the stages is a part of a row
    bytes  of the images that belong to this work, as far as they were read
    took   seconds of the worker that this work took it, without setting up its operators
    """

    rows: int = 0
    tally: Tally = field(default_factory=Tally)
    read: Read | None = None
    work: float = 0.0
    bytes: float = 0.0
    took: float = 0.0


Report = Callable[[Event], None]


class Executor(Protocol):
    """Runs passes and tasks. `nodes`: its machines, of which no worker can have more GPUs than one has.
    `task_threads`: CPU threads that a task may use."""

    @property
    def nodes(self) -> Sequence[Node]: ...

    @property
    def task_threads(self) -> int: ...

    def scores(
        self, work: Work, shards: Sequence[Shard], stages: Sequence[Stage], report: Report
    ) -> dict[str, int]:
        """Run a ScorePass and publish the parts of each shard as it is whole. Returns the number of workers
        by operator, nothing for the plain loop. Raises OperatorError."""

    def each(
        self, function: Callable[[Item], Result], items: Iterable[Item], asked: Asked = LITTLE
    ) -> Iterator[Result]:
        """The results of independent tasks, one per item, in any order. Each runs on a machine that has what
        is asked for. Raises RecipeError if no machine has it."""

    def one(self, function: Callable[[Item], Result], item: Item, asked: Asked) -> Result:
        """The result of one large task, on a machine that has what is asked for. Raises RecipeError if no
        machine has it."""

    def reduce(
        self,
        function: Callable[[Item], pl.DataFrame],
        merge: Callable[[list[pl.DataFrame]], pl.DataFrame],
        items: Sequence[Item],
        done: Tick,
    ) -> pl.DataFrame:
        """The tables of independent tasks, one per item (at least one), merged in any order and grouping.
        `done` is called with the number of tasks that have ended."""


class LocalExecutor:
    """The plain loop: one process, one shard after the other. Operators may use `threads` CPU threads, by
    default one per core."""

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or os.cpu_count() or 1

    @property
    def nodes(self) -> Sequence[Node]:
        """See Executor. An operator here gets all GPUs of this machine, however many it asks for."""
        return (Node(self.threads, math.inf if gpus_here() else 0),)

    def scores(
        self, work: Work, shards: Sequence[Shard], stages: Sequence[Stage], report: Report
    ) -> dict[str, int]:
        """See Executor."""
        log_begun(work.names, shards, f"this process, {self.threads} threads")
        stats = work.stats()
        runners = [runner_of(work, stage, stats, device_of(stage, self.threads)) for stage in stages]
        for shard in shards:
            read = Read(shard.name)
            collector = Collector(work)
            for batch in batches(work, shard, read):
                tally = _run_stages(runners, batch, report)
                collector.add_batch(batch)
                report(Event(len(batch.frame), tally))
            if read.error is None:
                collector.expect_rows(shard.name, read.rows, read.content)
                read.error = collector.failed.get(shard.name)
            report(Event(read=read))
        return {}

    @property
    def task_threads(self) -> int:
        """See Executor."""
        return self.threads

    def each(
        self, function: Callable[[Item], Result], items: Iterable[Item], asked: Asked = LITTLE
    ) -> Iterator[Result]:
        """See Executor. This machine is the only one, whatever is asked for."""
        return map(function, items)

    def one(self, function: Callable[[Item], Result], item: Item, asked: Asked) -> Result:
        """See Executor. This machine is the only one, whatever is asked for."""
        return function(item)

    def reduce(
        self,
        function: Callable[[Item], pl.DataFrame],
        merge: Callable[[list[pl.DataFrame]], pl.DataFrame],
        items: Sequence[Item],
        done: Tick,
    ) -> pl.DataFrame:
        """See Executor."""
        merged = function(items[0])
        done(1)
        for item in items[1:]:
            merged = merge([merged, function(item)])
            done(1)
        return merged


def _run_stages(runners: Sequence[StageRunner], batch: Batch, report: Report) -> Tally:
    """Add the columns of every stage to a batch, and tell of the work slice by slice: a batch may take
    minutes. Returns the tally. Raises OperatorError."""
    tally = Tally()
    weights = [PIXELS_WEIGHT if runner.sees_images else 1 for runner in runners] or [1]
    size = batch.bytes / max(1, len(batch.frame))
    since = time.perf_counter()

    def tell(rows: int, weight: int) -> None:
        nonlocal since
        before, since = since, time.perf_counter()
        work = rows * weight / sum(weights)
        report(Event(work=work, bytes=work * size, took=since - before))

    for runner, weight in zip(runners, weights, strict=False):
        batch.frame, stage_tally = runner.run(batch.frame, batch.data, partial(tell, weight=weight))
        tally += stage_tally
    if not runners:
        tell(len(batch.frame), 1)
    return tally


def log_begun(names: Sequence[str], shards: Sequence[Shard], workers: str) -> None:
    """Log the one line with which a pass of Scores begins. `workers`: how many there are, and where."""
    operators = ", ".join(names) or "samples"
    LOG.info("pass begun: %s; shards: %s; workers: %s", operators, f"{len(shards):,}", workers)


def device_of(stage: Stage, threads: int) -> Device:
    """Where a stage's operators run: on `cuda` if the recipe gives them GPUs, else on `cpu`."""
    return Device("cuda" if stage.resources.gpus else "cpu", threads)


def runner_of(work: Work, stage: Stage, stats: Mapping[str, pl.DataFrame], device: Device) -> StageRunner:
    """A runner of a stage's operators, which are set up. Raises OperatorError."""
    entries = {name: work.entries[name] for name in stage.names}
    return StageRunner(entries, stats, device, stage.rows, work.limits)

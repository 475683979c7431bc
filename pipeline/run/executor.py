"""The Executor protocol, and the plain loop, which runs passes in this process.

The life of a batch in the plain loop: `batches` reads it from its shard, the runner of each stage adds
columns to it, and the collector takes it. When its shard has ended, the collector publishes the shard's
parts. Up to IN_FLIGHT batches are on their way at a time, each on a thread, across the ends of shards; they
arrive in order. On Ray the same steps run in many processes (ray/).

`LocalExecutor` and `on_ray.RayExecutor` differ in speed only; the files they write are equal to the byte.
So the plain loop is what tests compare Ray with.
"""

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

import polars as pl

from pipeline.operator import Device
from pipeline.ordered_map import ordered_map
from pipeline.plan.absent import gpus_here
from pipeline.plan.cluster import Node
from pipeline.plan.passes import Stage
from pipeline.pool.shards import Shard
from pipeline.progress import Tally, Tick
from pipeline.recipe.sections import Resources
from pipeline.run.batches import Batch, Read, Work, batches
from pipeline.run.collector import Collector
from pipeline.run.stage.runner import IN_FLIGHT, StageRunner

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
    default one per core. Up to `in_flight` batches are on their way at a time; with 1, each by itself."""

    def __init__(self, threads: int | None = None, in_flight: int = IN_FLIGHT) -> None:
        self.threads = threads or os.cpu_count() or 1
        self.in_flight = in_flight

    @property
    def nodes(self) -> Sequence[Node]:
        """See Executor. An operator here gets all GPUs of this machine, however many it asks for."""
        return (Node(self.threads, math.inf if gpus_here() else 0),)

    def scores(
        self, work: Work, shards: Sequence[Shard], stages: Sequence[Stage], report: Report
    ) -> dict[str, int]:
        """See Executor."""
        self.begin_scores(work, shards, stages, report)
        return {}

    def begin_scores(
        self,
        work: Work,
        shards: Sequence[Shard],
        stages: Sequence[Stage],
        report: Report,
        seconds: float = math.inf,
    ) -> int:
        """Run a ScorePass, but begin no shard after so many seconds. Returns how many shards are done, the
        first ones. Raises OperatorError."""
        if not shards:
            return 0
        log_begun(work.names, shards, f"this process, {self.threads} threads")
        ends = time.perf_counter() + seconds
        done = 0

        def in_time() -> Iterator[Shard]:
            nonlocal done
            for shard in shards:
                if time.perf_counter() >= ends:
                    return
                done += 1
                yield shard

        stats = work.stats()
        runners = [runner_of(work, stage, stats, device_of(stage, self.threads)) for stage in stages]
        told = _in_turns(report)
        for event in run_shards(work, in_time(), runners, self.in_flight, told):
            told(event)
        return done

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


def run_shards(
    work: Work, shards: Iterable[Shard], runners: Sequence[StageRunner], in_flight: int, told: Report
) -> Iterator[Event]:
    """Run every stage on the batches of some shards, and publish each shard when its batches are done. Shards
    are taken one by one, as there is room for their batches. Gives an event for each batch and each end of a
    shard, in order; `told` hears of parts of batches, on several threads. After an error the runners are
    stopped for good. Raises OperatorError, and Stopped after it."""
    run = partial(_run_stages, runners, told)
    with ThreadPoolExecutor(in_flight) as pool, _stopped_by_errors(runners):
        for step, tally in ordered_map(pool, in_flight, run, _steps(work, shards)):
            yield _collected(step, tally)


class _Step(NamedTuple):
    """A batch of a shard, or None: the shard has been read, and how it went."""

    read: Read
    collector: Collector
    batch: Batch | None


def _steps(work: Work, shards: Iterable[Shard]) -> Iterator[_Step]:
    """The batches of every shard, one shard after the other."""
    for shard in shards:
        read = Read(shard.name)
        collector = Collector(work)
        for batch in batches(work, shard, read):
            yield _Step(read, collector, batch)
        yield _Step(read, collector, None)


def _collected(step: _Step, tally: Tally) -> Event:
    """Hand a step's columns to the collector of its shard, or tell it that this is all. Returns the event."""
    if step.batch is not None:
        step.collector.add_batch(step.batch)
        return Event(len(step.batch.frame), tally)
    read = step.read
    if read.error is None:
        step.collector.expect_rows(read.shard, read.rows, read.content)
        read.error = step.collector.failed.get(read.shard)
    return Event(read=read)


def _run_stages(runners: Sequence[StageRunner], report: Report, step: _Step) -> tuple[_Step, Tally]:
    """Add the columns of every stage to a batch, and tell of the work slice by slice: a batch may take
    minutes. Returns the step and the tally. Raises OperatorError."""
    tally = Tally()
    if (batch := step.batch) is None:
        return step, tally
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
    return step, tally


def _in_turns(report: Report) -> Report:
    """The same callback, called by one thread at a time."""
    turn = threading.Lock()

    def told(event: Event) -> None:
        with turn:
            report(event)

    return told


@contextmanager
def _stopped_by_errors(runners: Sequence[StageRunner]) -> Iterator[None]:
    """After an error in the block, or Ctrl-C, no runner computes, so that its threads end."""
    try:
        yield
    except BaseException:
        for runner in runners:
            runner.stop()
        raise


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

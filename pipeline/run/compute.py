"""Passes, executed: here as a plain loop that imports no Ray; `execute_ray.py` has the same on Ray Data.

    log = compute(session, LocalExecutor())

`compute` plans, runs the passes that are missing, and plans again from what is then stored, until nothing
is missing. A shard that cannot be read is left out of the later passes and reported; nothing else stops.
"""

import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import polars as pl

from pipeline.decide.books import RunLog
from pipeline.errors import OperatorError, worded
from pipeline.operator import Device, Stat
from pipeline.plan.passes import Pass, ScorePass, Stage, StatPass, plan, stat_path
from pipeline.plan.session import Session
from pipeline.pool.shards import Shard
from pipeline.run.batches import Collector, Read, Work, batches
from pipeline.run.stage import StageRunner, Tally

Item = TypeVar("Item")
Result = TypeVar("Result")
ROWS_PER_PARTIAL = 65_536  # rows that a Stat sees at a time, at most
SHARDS_PER_PARTIAL = 16  # shards that one task of a Stat reduces
HELD = 256 << 20  # bytes of partial tables that wait to be merged


@dataclass
class Event:
    """One step of a pass, for the progress display: rows through an operator chain, or a shard read."""

    rows: int = 0
    tally: Tally = field(default_factory=Tally)
    read: Read | None = None


Report = Callable[[Event], None]


class Executor(Protocol):
    """How passes run. `LocalExecutor` and `execute_ray.RayExecutor` differ in nothing but speed."""

    def scores(
        self, work: Work, shards: Sequence[Shard], stages: Sequence[Stage], report: Report
    ) -> dict[str, int]:
        """Run a ScorePass; results are published as shards complete. Returns workers by operator."""

    def each(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Results of independent tasks, in any order."""

    def index(self, build: Callable[[Session], Result], session: Session) -> Result:
        """The result of building a FAISS index, on a machine that has what `run.index` asks for."""

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
        stats = work.stats()
        runners = [runner_of(work, stage, stats, device_of(stage, self.threads)) for stage in stages]
        for shard in shards:
            read, collector = Read(shard.name), Collector(work)
            for batch in batches(work, shard, read):
                tally = Tally()
                for runner in runners:
                    batch.frame, more = runner.run(batch.frame, batch.data)
                    tally += more
                collector.add(batch)
                report(Event(len(batch.frame), tally))
            if read.error is None:
                collector.expect(shard.name, read.rows)
                read.error = collector.failed.get(shard.name)
            report(Event(read=read))
        return {}

    def each(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """See Executor."""
        return map(function, items)

    def index(self, build: Callable[[Session], Result], session: Session) -> Result:
        """See Executor."""
        return build(session)

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


def device_of(stage: Stage, threads: int) -> Device:
    """A stage that asks for GPUs runs on `cuda`."""
    return Device("cuda" if stage.resources.gpus else "cpu", threads)


def runner_of(work: Work, stage: Stage, stats: Mapping[str, pl.DataFrame], device: Device) -> StageRunner:
    """The operators of a stage, loaded."""
    entries = {name: work.entries[name] for name in stage.names}
    return StageRunner(entries, stats, device, stage.rows)


def compute(
    session: Session,
    executor: Executor,
    only: Collection[str] = (),
    observe: Callable[[Pass], Report] = lambda todo: lambda event: None,
) -> RunLog:
    """Fill what is missing. `observe` is told of each pass and gives the callback for its events. The log
    names the shards that could not be read; the rest of the pool is complete when this returns."""
    session.store.files.sweep()
    log = RunLog(session.store)
    while passes := plan(session.recipe, session.shards, session.keys, session.stored(), only):
        for todo in passes:
            if failed := _run(session, executor, todo, observe(todo), log):
                log.pending.update(failed)
                session = session.without(failed)
                break  # fewer shards have other Stats: plan anew
        session.store.files.sweep()
    log.write()
    return log


def _run(session: Session, executor: Executor, todo: Pass, report: Report, log: RunLog) -> dict[str, str]:
    """Run a pass; returns the shards that it could not finish, with reasons."""
    if isinstance(todo, ScorePass):
        return _scores(session, executor, todo, report, log)
    started = time.perf_counter()
    _stat(session, executor, todo)
    log.stat(todo.name, time.perf_counter() - started)
    return {}


def _scores(
    session: Session, executor: Executor, todo: ScorePass, report: Report, log: RunLog
) -> dict[str, str]:
    """Run a pass; returns the shards that it could not finish, with reasons."""
    work, errors = Work.of(session.recipe, session.keys, todo), {}

    def listen(event: Event) -> None:
        log.add(event.tally, event.read)
        if event.read is not None and event.read.error:
            errors[event.read.shard] = event.read.error
        report(event)

    for name in todo.names:
        session.store.files.publish(f"{session.folder(name)}/meta.json", session.describe(name))
    log.workers.update(executor.scores(work, todo.shards, todo.stages, listen))
    folders = [*session.sample_folders, *map(session.folder, todo.names)]
    there = [session.store.part_names(f) for f in folders]
    unfinished = [s.name for s in todo.shards if not all(s.name in names for names in there)]
    return {name: errors.get(name, "lost by a worker that died") for name in unfinished}


def _stat(session: Session, executor: Executor, todo: StatPass) -> None:
    """Reduce and publish one Stat."""
    table = reduced(executor, StatTask(session, todo.name), todo.shards)
    session.store.write(stat_path(todo.name, session.keys[todo.name]), table)


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

"""Passes, executed: `compute` fills what is missing, with any executor.

    log = compute(session, LocalExecutor())

`compute` plans, runs the passes that are missing, and plans again from what is then stored, until nothing
is missing. A shard that cannot be read is left out of the later passes and reported; nothing else stops.
"""

import time
from collections.abc import Callable, Collection

from pipeline.plan.passes import Pass, ScorePass, StatPass, plan
from pipeline.plan.session import Session
from pipeline.plan.stored import list_stored
from pipeline.run.batches import Work
from pipeline.run.executor import Event, Executor, Report
from pipeline.run.log import RunLog
from pipeline.run.stats import StatTask, reduced
from pipeline.storage import layout


def compute(
    session: Session,
    executor: Executor,
    only: Collection[str] = (),
    observe: Callable[[Pass], Report] = lambda todo: lambda event: None,
) -> RunLog:
    """Fill what is missing. `observe` is told of each pass and gives the callback for its events. The log
    names the shards that could not be read; the rest of the pool is complete when this returns."""
    session.store.root.remove_leftovers()
    log = RunLog(session.store)
    while passes := plan(session.recipe, session.shards, session.keys, list_stored(session), only):
        for todo in passes:
            if failed := _run(session, executor, todo, observe(todo), log):
                log.pending.update(failed)
                session = session.without(failed)
                break  # fewer shards have other Stats: plan anew
        session.store.root.remove_leftovers()
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
        session.store.root.publish(layout.meta(session.folder(name)), session.describe(name))
    log.workers.update(executor.scores(work, todo.shards, todo.stages, listen))
    folders = [*session.sample_folders, *map(session.folder, todo.names)]
    there = [session.store.part_names(f) for f in folders]
    unfinished = [s.name for s in todo.shards if not all(s.name in names for names in there)]
    return {name: errors.get(name, "lost by a worker that died") for name in unfinished}


def _stat(session: Session, executor: Executor, todo: StatPass) -> None:
    """Reduce and publish one Stat."""
    table = reduced(executor, StatTask(session, todo.name), todo.shards)
    session.store.write(layout.stat(todo.name, session.keys[todo.name]), table)

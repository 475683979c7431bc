"""Compute what is missing, pass by pass, with any executor.

    log = compute(session, LocalExecutor())

`compute` plans, runs the passes, and plans again from what is then stored, until nothing is missing. A shard
that cannot be read is left out of the later passes and reported; the others go on. Each pass has one line in
the log as it begins and one when it is done, and each failed shard has one.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from pipeline.plan.absent import check_present
from pipeline.plan.passes import Pass, ScorePass, StatPass, plan
from pipeline.plan.session import Session
from pipeline.plan.stored import list_stored
from pipeline.run.batches import Work
from pipeline.run.executor import Event, Executor, Report
from pipeline.run.log import RunLog
from pipeline.run.stats import StatTask, reduced
from pipeline.storage import layout

LOG = logging.getLogger("winnow.run")


def compute(
    session: Session,
    executor: Executor,
    only: Collection[str] = (),
    observe: Callable[[Pass], Report] = lambda planned: lambda event: None,
) -> RunLog:
    """Fill what is missing, of the operators `only` and what they need if any are named. `observe` is called
    with each pass and returns the callback for its events. The returned log names the shards that could not
    be read; the rest of the pool is complete. Raises RecipeError, before any work, if a file, a model or a
    GPU is missing (see plan/absent.py), and OperatorError."""
    session.store.root.remove_leftovers()
    log = RunLog(session.store)
    while passes := plan(session.recipe, session.shards, session.keys, list_stored(session), only):
        check_present(session, passes, executor.nodes)
        for planned in passes:
            if failed := _run(session, executor, planned, observe(planned), log):
                log.pending.update(failed)
                session = session.without(failed)
                break  # fewer shards have other Stats: plan anew
        session.store.root.remove_leftovers()
    log.write()
    return log


def _run(session: Session, executor: Executor, planned: Pass, report: Report, log: RunLog) -> dict[str, str]:
    """Run a pass; returns the shards that it could not finish, with reasons."""
    if isinstance(planned, ScorePass):
        return _run_scores(session, executor, planned, report, log)
    _run_stat(session, executor, planned, log)
    return {}


@dataclass
class _PassCounts:
    """The events of one pass, added up: rows, rows without a result by operator, and shards that could not
    be read, with reasons."""

    rows: int = 0
    failed_rows: Counter[str] = field(default_factory=Counter)
    errors: dict[str, str] = field(default_factory=dict)

    def add_event(self, event: Event) -> None:
        """Count one event."""
        self.rows += event.rows
        self.failed_rows.update(event.tally.failed)
        if event.read is not None and event.read.error:
            self.errors[event.read.shard] = event.read.error


def _run_scores(
    session: Session, executor: Executor, planned: ScorePass, report: Report, log: RunLog
) -> dict[str, str]:
    """Run a pass of Scores; returns the shards that it could not finish, with reasons."""
    work = Work.of(session.recipe, session.keys, planned)
    started = time.perf_counter()
    counts = _PassCounts()

    def listen(event: Event) -> None:
        log.add_event(event)
        counts.add_event(event)
        report(event)

    for name in planned.names:
        session.store.root.publish(layout.meta(session.folder(name)), session.describe(name))
    log.workers.update(executor.scores(work, planned.shards, planned.stages, listen))
    failed = _unfinished(session, planned, counts.errors)
    _log_done(planned.names, time.perf_counter() - started, counts, failed)
    return failed


def _unfinished(session: Session, planned: ScorePass, errors: Mapping[str, str]) -> dict[str, str]:
    """The shards of a pass that lack a published part, with the reason that was reported for each."""
    folders = [*session.sample_folders, *map(session.folder, planned.names)]
    published = [session.store.part_names(folder) for folder in folders]
    unfinished = [s.name for s in planned.shards if not all(s.name in names for names in published)]
    return {name: errors.get(name, "lost by a worker that died") for name in unfinished}


def _run_stat(session: Session, executor: Executor, planned: StatPass, log: RunLog) -> None:
    """Reduce and publish one Stat."""
    started = time.perf_counter()
    LOG.info("pass begun: %s (Stat); shards: %s", planned.name, f"{len(planned.shards):,}")
    table = reduced(executor, StatTask(session, planned.name), planned.shards)
    session.store.write(layout.stat(planned.name, session.keys[planned.name]), table)
    seconds = time.perf_counter() - started
    log.add_stat(planned.name, seconds)
    LOG.info("pass done: %s; rows of its table: %s; %.1f s", planned.name, f"{len(table):,}", seconds)


def _log_done(names: Collection[str], seconds: float, counts: _PassCounts, failed: Mapping[str, str]) -> None:
    """Log each failed shard, and the one line with which a pass of Scores ends."""
    for shard, reason in failed.items():
        LOG.warning("shard %s failed: %s", shard, reason)
    without = ", ".join(f"{name} {count:,}" for name, count in counts.failed_rows.items() if count) or "none"
    LOG.info(
        "pass done: %s; rows: %s; rows without a result: %s; failed shards: %d; %.1f s",
        ", ".join(names) or "samples",
        f"{counts.rows:,}",
        without,
        len(failed),
        seconds,
    )

"""Compute what is missing, pass by pass, with any executor.

    log = compute(session, LocalExecutor())

`compute` plans, runs the passes, and plans again from what is then stored, until nothing is missing. A shard
that cannot be read is left out of the later passes and reported; the others go on. A shard that changes while
it is read is read again. Each pass has one line in the log as it begins and one when it is done, and each
failed shard has one.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.errors import ShardError
from pipeline.plan.absent import check_present
from pipeline.plan.passes import GroupPass, Pass, ScorePass, StatPass, plan
from pipeline.plan.session import Session
from pipeline.plan.store_pool import claim_store
from pipeline.plan.stored import list_stored
from pipeline.pool.shards import Shard
from pipeline.run.batches import Work
from pipeline.run.executor import Event, Executor, Report
from pipeline.run.groups.meet import meet, remove_of_whole
from pipeline.run.log import RunLog
from pipeline.run.settle import settle
from pipeline.run.stats import StatTask, reduced
from pipeline.storage import layout

LOG = logging.getLogger("winnow.run")
ATTEMPTS = 3  # at a shard that changes while it is read, before it counts as failed


Observe = Callable[[Pass], Report]  # called with each pass; returns the callback for its events


def unobserved(planned: Pass) -> Report:
    """Nobody watches a pass."""
    return lambda event: None


def compute(
    session: Session,
    executor: Executor,
    only: Collection[str] = (),
    observe: Observe = unobserved,
) -> RunLog:
    """Fill what is missing, of the operators `only` and what they need if any are named. `observe` is called
    with each pass and returns the callback for its events. The returned log names the shards that could not
    be read; the rest of the pool is complete. Raises RecipeError, before any work, if a file, a model or a
    GPU is missing (see plan/absent.py), and OperatorError."""
    session.store.root.remove_leftovers()
    claim_store(session.store, session.root, session.recipe.pool, session.kind)
    log = RunLog(session)
    session = settle(session, executor, log)
    attempts = Counter[str]()  # by shard: how often its samples were read, or it changed under a pass
    while session.shards and (passes := _missing(session, only)):
        check_present(session, passes, lambda: executor.nodes)
        for planned in passes:
            outcome = _run(session, executor, planned, observe(planned), log)
            attempts.update({*outcome.read_anew, *outcome.changed})
            outcome.failed.update(_given_up(outcome, attempts))
            log.pending.update(outcome.failed)
            log.changed.update(outcome.changed)
            session = session.without(outcome.failed)
            if outcome.failed or outcome.changed or outcome.read_anew:
                break  # fewer shards, or shards of other contents, have other Stats: plan anew
        session.store.root.remove_leftovers()
        session = session.relisted() if outcome.changed else session.refreshed()
        session = settle(session, executor, log).unread(outcome.changed)
    remove_of_whole(session)
    log.session = log.session.updated(session.shards)
    log.write()
    return log


def _missing(session: Session, only: Collection[str]) -> list[Pass]:
    """The passes that are missing, see `plan`. Files of the store that are not as they were written are
    moved out of the way, so that they are computed again."""
    stored = list_stored(session)
    session.store.set_aside()
    return plan(session.recipe, session.shards, session.keys, stored, only)


@dataclass(frozen=True)
class _Outcome:
    """What became of the shards of a pass.

    failed     shards that it could not finish, with reasons
    changed    shards that changed while they were read, with what changed
    read_anew  shards whose samples it read and published, or was to
    """

    failed: dict[str, str] = field(default_factory=dict)
    changed: dict[str, str] = field(default_factory=dict)
    read_anew: Collection[str] = ()


def _given_up(outcome: _Outcome, attempts: Mapping[str, int]) -> dict[str, str]:
    """The shards that are still not done after ATTEMPTS, with the last reason."""
    return {
        shard: outcome.changed.get(shard, "changes again and again")
        for shard in {*outcome.read_anew, *outcome.changed}
        if attempts[shard] > ATTEMPTS - (shard in outcome.changed)
    }


def _run(session: Session, executor: Executor, planned: Pass, report: Report, log: RunLog) -> _Outcome:
    """Run a pass."""
    if isinstance(planned, ScorePass):
        return _run_scores(session, executor, planned, report, log)
    if isinstance(planned, GroupPass):
        _run_group(session, executor, planned, log)
    else:
        _run_stat(session, executor, planned, log)
    return _Outcome()


@dataclass
class _PassCounts:
    """The events of one pass, added up: rows, rows without a result by operator, shards that could not be
    read, with reasons, and those that changed meanwhile."""

    rows: int = 0
    failed_rows: Counter[str] = field(default_factory=Counter)
    errors: dict[str, str] = field(default_factory=dict)
    changed: dict[str, str] = field(default_factory=dict)

    def add_event(self, event: Event) -> None:
        """Count one event."""
        self.rows += event.rows
        self.failed_rows.update(event.tally.failed)
        if (read := event.read) is None:
            return
        self.errors.pop(read.shard, None)  # Ray may read a shard again
        if read.error:
            (self.changed if read.changed else self.errors)[read.shard] = read.error


def _run_scores(
    session: Session, executor: Executor, planned: ScorePass, report: Report, log: RunLog
) -> _Outcome:
    """Run a pass of Scores."""
    work = Work.of(session.recipe, session.keys, planned).with_pieces(planned.shards)
    started = time.perf_counter()
    counts, idle = _PassCounts(), True

    def listen(event: Event) -> None:
        nonlocal idle
        if idle and event.work:
            idle = False
            log.start_seconds += max(0.0, time.perf_counter() - started - event.took)
        log.add_event(event)
        counts.add_event(event)
        report(event)

    opened = [shard.name for shard in planned.shards if not shard.content]
    for folder in session.sample_folders:
        session.store.drop_packed(folder, opened)
    for name in planned.names:
        session.store.root.publish_json(layout.meta(session.folder(name)), session.describe(name))
        session.store.drop_packed(session.folder(name), [shard.name for shard in planned.shards])
    log.workers.update(executor.scores(work, planned.shards, planned.stages, listen))
    seconds = time.perf_counter() - started
    log.pass_seconds += seconds
    _check_files(session, planned.names, work.column_folders, planned.shards)
    failed = _unfinished(work, planned, counts)
    _log_done(planned.names, seconds, counts, failed)
    return _Outcome(failed, counts.changed, opened)


def _check_files(
    session: Session, names: Collection[str], folders: Sequence[str], shards: Sequence[Shard]
) -> None:
    """Raises ShardError if a file that these operators name is not the one that their keys cover: it was
    rewritten during their pass. Then the parts of these shards in `folders`, which may be of either content,
    are removed."""
    if all(session.contents[name] == session.digests_of(name) for name in names):
        return
    for folder in folders:
        _remove_parts(session, folder, shards)
    raise ShardError(
        f"a file that compute ({', '.join(names)}) reads was rewritten while it was used; what this pass "
        "computed is removed: run the command again"
    )


def _remove_parts(session: Session, folder: str, shards: Sequence[Shard]) -> None:
    """Remove the parts of these shards from a folder of the store."""
    written = session.store.root.file_names(folder, ".parquet") & {shard.name for shard in shards}
    session.store.root.remove([layout.part(folder, shard) for shard in sorted(written)])


def _unfinished(work: Work, planned: ScorePass, counts: _PassCounts) -> dict[str, str]:
    """The shards of a pass that could not be read, or that lack a published part, with the reasons. Those
    that changed while they were read are left out."""
    lost = [shard.name for shard in work.unpublished(planned.shards) if shard.name not in counts.changed]
    return {**dict.fromkeys(lost, "lost by a worker that died"), **counts.errors}


def _run_stat(session: Session, executor: Executor, planned: StatPass, log: RunLog) -> None:
    """Reduce and publish one Stat. Raises ShardError if a file that it names was rewritten meanwhile."""
    started = time.perf_counter()
    LOG.info("pass begun: %s (Stat); shards: %s", planned.name, f"{len(planned.shards):,}")
    table = reduced(executor, StatTask(session, planned.name), planned.shards)
    _check_files(session, [planned.name], (), ())
    key = session.keys[planned.name]
    session.store.root.publish_json(layout.stat_meta(planned.name, key), session.describe(planned.name))
    session.store.write(layout.stat(planned.name, key), table)
    seconds = time.perf_counter() - started
    log.add_stat(planned.name, seconds, sum(shard.rows for shard in planned.shards))
    LOG.info("pass done: %s; rows of its table: %s; %.1f s", planned.name, f"{len(table):,}", seconds)


def _run_group(session: Session, executor: Executor, planned: GroupPass, log: RunLog) -> None:
    """Let rows meet, and publish a Group's columns. Raises ShardError if a file that it names was rewritten
    meanwhile."""
    name = planned.name
    started = time.perf_counter()
    LOG.info("pass begun: %s (Group); shards: %s", name, f"{len(planned.shards):,}")
    missing = {shard.name for shard in planned.missing}
    folder = session.folder(name)
    session.store.root.publish_json(layout.meta(folder), session.describe(name))
    session.store.drop_packed(folder, sorted(missing))
    rows, failed = meet(session, executor, name, missing)
    _check_files(session, [name], [folder], planned.missing)
    seconds = time.perf_counter() - started
    log.add_group(name, seconds, rows, failed)
    _log_done([name], seconds, _PassCounts(rows, Counter({name: failed})), {})


def _log_done(names: Collection[str], seconds: float, counts: _PassCounts, failed: Mapping[str, str]) -> None:
    """Log each failed shard, and the one line with which a pass of Scores ends."""
    for shard, reason in failed.items():
        LOG.warning("shard %s failed: %s", shard, reason)
    for shard, reason in counts.changed.items():
        LOG.warning("shard %s is read again: %s", shard, reason)
    without = ", ".join(f"{name} {count:,}" for name, count in counts.failed_rows.items() if count) or "none"
    LOG.info(
        "pass done: %s; rows: %s; rows without a result: %s; failed shards: %d; %.1f s",
        ", ".join(names) or "samples",
        f"{counts.rows:,}",
        without,
        len(failed),
        seconds,
    )

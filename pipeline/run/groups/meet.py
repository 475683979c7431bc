"""A Group's pass: rows that share a key meet.

    meet(session, executor, "copies", missing)

The tasks are in tasks.py. Each writes one file of the store, so a pass that was killed goes on where it was.
Of rows, only those of the tasks that run are in memory; all others are in the store, about once as the Group
sees them. When the parts of all shards are published, the files between the tasks are removed; if that is cut
short, by the next run.
"""

import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from pipeline.operator import Group
from pipeline.plan.session import Session
from pipeline.plan.stored import is_whole
from pipeline.progress import watched
from pipeline.run.executor import Asked, Executor
from pipeline.run.groups.tasks import Gather, Meet, Met, Scatter
from pipeline.run.groups.work import GroupWork
from pipeline.storage import layout

LOG = logging.getLogger("winnow.run")
Result = TypeVar("Result")


def meet(session: Session, executor: Executor, name: str, missing: Collection[str]) -> tuple[int, int]:
    """Publish the parts of the shards in `missing`. Returns (rows, rows without a result) of the runs of
    shards that were gathered. Raises OperatorError, ShardError."""
    work = GroupWork.of(session, name)
    asked = session.recipe.resources(name)

    def each(what: str, task: Callable[[int], Result], numbers: Sequence[int]) -> list[Result]:
        results = executor.each(task, numbers, Asked(f"run.{name}", asked))
        return list(watched(f"{name}: {what}", results, len(numbers)))

    met = _finished(work)
    todo = [number for number in range(work.partitions) if number not in met]
    if todo:
        each("sorting rows by key", Scatter(work), _unwritten(work))
        threads = int(asked.cpus or executor.task_threads)
        new = each("rows meet", _Numbered(Meet(work, threads)), todo)
        met.update(new)
    _tell_splits(name, session, met.values())
    counts = each(
        "writing results", Gather(work, session.folder(name), frozenset(missing)), range(len(work.runs))
    )
    remove(work)
    return sum(rows for rows, _ in counts), sum(failed for _, failed in counts)


class _Numbered:
    """A task that returns its number beside its result: tasks end in any order. Travels to Ray workers."""

    def __init__(self, task: Meet) -> None:
        self.task = task

    def __call__(self, number: int) -> tuple[int, Met]:
        return number, self.task(number)


def _finished(work: GroupWork) -> dict[int, Met]:
    """The partitions whose results an earlier run has written, with what it noted."""
    written = _written(work, "results", work.partitions)
    return {number: Met(notes["groups"], notes["rows"]) for number, notes in written.items()}


def _unwritten(work: GroupWork) -> list[int]:
    """The runs whose rows no earlier run has written."""
    written = _written(work, "rows", len(work.runs))
    return [number for number in range(len(work.runs)) if number not in written]


def _written(work: GroupWork, kind: str, count: int) -> dict[int, dict[str, Any]]:
    """The notes of the first `count` files of a kind, `rows` or `results`, by number, as far as an earlier
    run has written them. Damaged ones are moved out of the way."""
    store = work.columns.store
    footers = store.footers(work.folder, [f"{kind}/{number:06d}" for number in range(count)])
    store.set_aside()
    return {int(name.rpartition("/")[2]): footer.notes for name, footer in footers.items()}


def _tell_splits(name: str, session: Session, met: Collection[Met]) -> None:
    """Say in the log, and beside the results, how many groups were split."""
    groups, rows = sum(one.split_groups for one in met), sum(one.split_rows for one in met)
    if not groups:
        return
    operator = session.recipe.operator(name)
    assert isinstance(operator, Group)
    LOG.warning(
        "%s: groups of more than %s rows were split: %s groups, with %s rows in all",
        name,
        f"{operator.most_rows():,}",
        f"{groups:,}",
        f"{rows:,}",
    )
    described = {**session.describe(name), "split": {"groups": groups, "rows": rows}}
    session.store.root.publish_json(layout.meta(session.folder(name)), described)


def remove_of_whole(session: Session) -> None:
    """Remove the files between the tasks of Groups that are whole: the pass that made them was killed as it
    removed them."""
    root = session.store.root
    if not session.shards or not root.file_names(layout.MEETINGS, ".parquet"):
        return
    for name in session.recipe.compute:
        if isinstance(session.recipe.operator(name), Group) and is_whole(session, session.folder(name)):
            with suppress(FileNotFoundError):  # columns that the Group reads, if they are forgotten
                remove(GroupWork.of(session, name))


def remove(work: GroupWork) -> None:
    """Remove the files between the tasks."""
    root = work.columns.store.root
    root.remove([layout.footer_cache(work.folder)] if root.exists(layout.footer_cache(work.folder)) else [])
    root.remove([layout.part(work.folder, name) for name in sorted(root.file_names(work.folder, ".parquet"))])

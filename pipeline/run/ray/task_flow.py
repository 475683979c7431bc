"""Tasks of Stats, Groups and exports: how many run at a time, and how their results are merged; without Ray
itself.

A task is started by a function that returns a handle at once. `wait` takes the handles of running tasks,
blocks until at least one has ended, and returns (ended, still running). `on_ray` passes Ray's object
references and `ray.wait`.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

import polars as pl

from pipeline.run.ray.log import log_in_worker

Item = TypeVar("Item")
Result = TypeVar("Result")
Handle = Any
Wait = Callable[[list[Handle]], tuple[list[Handle], list[Handle]]]


def counting(wait: Wait, done: Callable[[int], None]) -> Wait:
    """`wait` that tells how many tasks have ended, those that merge included."""

    def told(handles: list[Handle]) -> tuple[list[Handle], list[Handle]]:
        ended, running = wait(handles)
        done(len(ended))
        return ended, running

    return told


def run_all(
    start: Callable[[Item], Handle], wait: Wait, items: Iterable[Item], limit: int
) -> Iterator[Handle]:
    """Handles of the ended tasks, one task per item, in the order in which they end. At most `limit` run at a
    time; items are taken as there is room for them."""
    waiting = iter(items)
    running = [start(item) for item in islice(waiting, limit)]
    while running:
        ended, running = wait(running)
        yield from ended
        running += [start(item) for item in islice(waiting, limit - len(running))]


def run_tree(
    start: Callable[[Item], Handle],
    merge: Callable[[list[Handle]], Handle],
    wait: Wait,
    items: Iterable[Item],
    limit: int,
    fan_in: int,
) -> Handle:
    """The handle of the results of all items, merged by a tree of tasks: `merge` starts a task that takes
    up to `fan_in` results, in any order, and gives one. Of the items' own tasks at most `limit` run at a
    time."""
    waiting = iter(items)
    running: list[Handle] = []
    ended: list[Handle] = []
    while True:
        running += [start(item) for item in islice(waiting, max(0, limit - len(running)))]
        if len(ended) >= fan_in or (not running and len(ended) > 1):
            running.append(merge(ended[:fan_in]))
            ended = ended[fan_in:]
        elif running:
            more, running = wait(running)
            ended += more
        else:
            return ended[0]


def run_task(function: Callable[[Item], Result], item: Item) -> Result:
    """A task of a Stat or an export: `function(item)`."""
    log_in_worker()
    return function(item)


def merge_task(
    merge: Callable[[list[pl.DataFrame]], pl.DataFrame], get: Callable[[Any], Any], parts: list[Any]
) -> pl.DataFrame:
    """A task that merges the partial tables of some tasks. `parts` are their references, `get` is
    `ray.get`."""
    log_in_worker()
    return merge(get(parts))

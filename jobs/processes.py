"""A pool of processes for commands that read large inputs on one machine.

    each = in_order(workers=4)
    for table in each(read_file, paths):  # in the order of `paths`
        ...

On Ray, `RayExecutor.each` takes its place.
"""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from pipeline.ordered_map import ordered_map

Each = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]  # `map`, or a function used like it
AHEAD = 2  # items per worker that are taken before the results of earlier ones are handed out


def in_order(workers: int) -> Each:
    """A function like `map` that works on `workers` processes. Results come in the order of the items, and
    items are taken as they are needed. One worker is this process."""
    if workers == 1:
        return map

    def each(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        spawn = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, spawn, _begin)
        try:
            yield from ordered_map(pool, AHEAD * workers, function, items)
        finally:
            pool.shutdown(cancel_futures=True)

    return each


def _begin() -> None:
    """Set up a process of the pool. It ends when its parent does: if the parent is killed, it would otherwise
    wait for work for ever, or go on writing."""
    os.environ["POLARS_MAX_THREADS"] = (
        "1"  # polars reads it at its first computation: see pipeline/threads.py
    )
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Wait for the end of the parent process, then end this one at once."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)

"""What the readers of large inputs share: files by path or glob, a pool whose results come in order, progress."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from pipeline.run.ordered_map import ordered_map

Each = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]  # `map`, or one that uses processes
AHEAD = 2  # items a worker that are read before their turn


def in_order(workers: int) -> Each:
    """`map`, by so many processes: results in the order of the items, which are taken as they are needed."""
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
    """As many processes as cores need no threads besides; polars reads this when it first computes. And a
    process whose parent is killed would wait for work for ever, or go on writing: it ends with it."""
    os.environ["POLARS_MAX_THREADS"] = "1"
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)

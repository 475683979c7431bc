"""`map` on threads or processes: results come in the order of the items, and the items are taken lazily.

    for table in threaded_map(read, groups):        # threads of this process
        ...
    for table in ordered_map(pool, 8, read, groups):  # any pool of concurrent.futures
        ...

`Executor.map` would take every item at once, so a pool of a million shards would lie in memory.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

THREADS_PER_CORE = 2  # one waits for the disk, or for a lock of polars, while the other computes


def threaded_map(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`map` on two threads per core, for functions that spend their time in polars, numpy or pyarrow,
    which release Python's lock."""
    threads = THREADS_PER_CORE * (os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        yield from ordered_map(pool, threads, function, items)


def ordered_map(
    pool: Executor, most: int, function: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[Result]:
    """`map` on the workers of `pool`; at most `most` items are taken whose results are not yet handed out."""
    pending: deque[Future[Result]] = deque()
    for item in items:
        pending.append(pool.submit(function, item))
        if len(pending) == most:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()

"""What the readers of large inputs share: files by path or glob, a pool whose results come in order, progress."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

import fsspec
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from jobs.terminal.tables import console
from pipeline.decide.cuts import in_turn
from pipeline.errors import RecipeError

Each = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]  # `map`, or one that uses processes
Tick = Callable[[int, float], None]  # so many are done, which is this share of all
AHEAD = 2  # items a worker that are read before their turn


def files_of(option: str, pattern: str, inside: str) -> list[str]:
    """Paths in name order: a file, a glob's, or those called like `inside` in a folder. Raises RecipeError."""
    fs, path = fsspec.core.url_to_fs(os.path.expanduser(pattern))
    if fs.isdir(path):
        path = f"{path.rstrip('/')}/{inside}"
    found = [path] if fs.isfile(path) else sorted(name for name in fs.glob(path) if fs.isfile(name))
    if not found:
        raise RecipeError(
            f"{option} must be a file, a folder with {inside} or a glob, found none at {pattern}"
        )
    local = "file" in fs.protocol
    return found if local else [fs.unstrip_protocol(name) for name in found]


def in_order(workers: int) -> Each:
    """`map`, by so many processes: results in the order of the items, which are taken as they are needed."""
    if workers == 1:
        return map

    def each(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        spawn = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, spawn, _begin)
        try:
            yield from in_turn(pool, AHEAD * workers - 1, function, items)
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


@contextmanager
def progress(label: str, unit: str) -> Iterator[Tick]:
    """A line on stderr with a bar, items and items/s; nothing where there is no terminal."""
    text = (TextColumn("{task.description}"), BarColumn(bar_width=24), TaskProgressColumn())
    bars = Progress(
        *text,
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    task = bars.add_task(label, total=1.0, note="")

    def tick(items: int, share: float) -> None:
        rate = items / max(bars.tasks[0].elapsed or 0.0, 1e-9)
        bars.update(task, completed=share, note=f"{items:,} {unit}  {rate:,.0f}/s")

    with bars:
        yield tick

"""One line of progress on stderr, for commands that read large files."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jobs.terminal.progress import showing_progress

Tick = Callable[[int, float], None]  # (items done, their share of all)


@contextmanager
def progress(label: str, unit: str) -> Iterator[Tick]:
    """A line with a bar, items and items per second, and the time left."""
    with showing_progress() as display:
        line = display.line(label, unit)

        def tick(items: int, share: float) -> None:
            line.done = items
            line.update(share, f"{items / max(time.monotonic() - line.started, 1e-9):,.0f}/s")

        yield tick

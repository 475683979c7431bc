"""One progress bar on stderr, for commands that read large files."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from jobs.terminal.console import remarks

Tick = Callable[[int, float], None]  # (items done, their share of all)


@contextmanager
def progress(label: str, unit: str) -> Iterator[Tick]:
    """A line on stderr with a bar, items and items per second; nothing if stderr is not a terminal."""
    bars = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        TimeElapsedColumn(),
        console=remarks,
        disable=not remarks.is_terminal,
    )
    task = bars.add_task(label, total=1.0, note="")

    def tick(items: int, share: float) -> None:
        rate = items / max(bars.tasks[0].elapsed or 0.0, 1e-9)
        bars.update(task, completed=share, note=f"{items:,} {unit}  {rate:,.0f}/s")

    with bars:
        yield tick

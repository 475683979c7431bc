"""A live display of a pass: shards, samples, samples/s, failures, time left. Lines where there is no
terminal."""

import sys
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from jobs.terminal.tables import console
from pipeline.export.tar_writer import Written
from pipeline.plan.passes import Pass, ScorePass
from pipeline.run.batches import Read
from pipeline.run.executor import Event, Report
from pipeline.run.stage import Tally

if TYPE_CHECKING:
    from jobs.ingest.download import Fetched

EVERY = 10.0  # seconds between lines where there is no terminal


class Progress:
    """Context manager; `begin` a pass to get the callback for its events."""

    def __init__(self, quiet: bool = False) -> None:
        self.live = not quiet and console.is_terminal
        self.quiet = quiet
        self.bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("shards  {task.fields[note]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not self.live,
        )

    def __enter__(self) -> "Progress":
        self.bars.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bars.stop()

    def begin(self, todo: Pass) -> Report:
        """Show a pass; returns its callback."""
        names = todo.names if isinstance(todo, ScorePass) else (todo.name,)
        return _PassDisplay(self, ", ".join(names) or "index", len(todo.shards))

    def export(self, tars: int) -> Callable[[Written], None]:
        """Show an export of so many tars; returns its callback."""
        display = _PassDisplay(self, "export", tars)
        return lambda tar: display(Event(tar.rows, read=Read(tar.name, tar.rows, tar.bytes, error=tar.error)))

    def compact(self, folder: str, shards: int) -> Callable[[int], None]:
        """Show the packing of a folder's small parts, of so many shards at most; returns its callback."""
        task = self.bars.add_task(f"compact {folder}", total=shards, note="")
        return lambda count: self.bars.advance(task, count)

    def ingest(self) -> Callable[["Fetched"], None]:
        """Show a download, whose shards are counted as the list is read; returns its callback."""
        display = _PassDisplay(self, "ingest", None)

        def tell(fetched: "Fetched") -> None:
            rows, found = (fetched.stats.get(name, 0) for name in ("count", "successes"))
            failed = Tally(failed=Counter(download=rows - found))
            display(Event(rows, failed, read=Read(fetched.name, rows, error=fetched.error)))

        return tell


class _PassDisplay:
    def __init__(self, progress: Progress, label: str, shards: int | None) -> None:
        self.progress, self.label, self.shards = progress, label, shards
        self.task = progress.bars.add_task(label, total=shards, note="starting")
        self.started = self.said = time.monotonic()
        self.rows = self.failed = self.done = 0

    def __call__(self, event: Event) -> None:
        self.rows += event.rows
        self.failed += max((n for name, n in event.tally.failed.items() if name != "decode"), default=0)
        self.done += event.read is not None
        seconds = time.monotonic() - self.started
        note = f"{self.rows:,} samples  {self.rows / max(seconds, 1e-9):,.0f}/s  {self.failed:,} failed"
        self.progress.bars.update(self.task, completed=self.done, note=note)
        over = self.done == self.shards and event.read is not None
        if (
            not self.progress.live
            and not self.progress.quiet
            and (over or time.monotonic() - self.said > EVERY)
        ):
            self.said = time.monotonic()
            left = (
                ""
                if over or not self.done or self.shards is None
                else f", {seconds / self.done * (self.shards - self.done):,.0f} s left"
            )
            print(
                f"{self.label}: {self.done:,}{'' if self.shards is None else f'/{self.shards:,}'} shards, {note}{left}",
                file=sys.stderr,
                flush=True,
            )

"""A live display of a pass: shards, samples, samples per second, failures and time left.

    with Progress() as progress:
        report = progress.begin_pass(planned)   # call it with every Event of the pass

If stderr is not a terminal, the display is a line of text every ten seconds.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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

from jobs.terminal.console import remarks, say
from pipeline.export.exporter import TaskReport
from pipeline.plan.passes import Pass, ScorePass
from pipeline.run.batches import Read
from pipeline.run.executor import Event, Report
from pipeline.run.stage import Tally

if TYPE_CHECKING:
    from jobs.ingest.download import Fetched

EVERY = 10.0  # seconds between lines of text


class Progress:
    """A context manager that shows one bar per pass; `quiet` shows nothing."""

    def __init__(self, quiet: bool = False) -> None:
        self.live = not quiet and remarks.is_terminal
        self.quiet = quiet
        self.bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("shards  {task.fields[note]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("left", markup=False),
            TimeRemainingColumn(),
            console=remarks,
            disable=not self.live,
        )

    def __enter__(self) -> "Progress":
        self.bars.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bars.stop()

    def begin_pass(self, planned: Pass) -> Report:
        """Show a pass; returns the callback for its events."""
        names = planned.names if isinstance(planned, ScorePass) else (planned.name,)
        return _PassDisplay(self, ", ".join(names) or "samples", len(planned.shards))

    def export(self, tars: int) -> Callable[[TaskReport], None]:
        """Show an export of so many tars; returns the callback for every tar that is written."""
        display = _PassDisplay(self, "export", tars)
        return lambda tar: display(Event(tar.rows, read=Read(tar.name, tar.rows, tar.bytes, error=tar.error)))

    def compact(self, folder: str, shards: int) -> Callable[[int], None]:
        """Show the packing of the small parts of a folder, of at most so many shards; returns the callback
        for the number of parts that were packed."""
        task = self.bars.add_task(f"compact {folder}", total=shards, note="")
        return lambda count: self.bars.advance(task, count)

    def verify(self, what: str, count: int) -> Callable[[object], None]:
        """Show the verifying of so many files or shards; returns the callback for each."""
        task = self.bars.add_task(f"verify {what}", total=count, note="")
        return lambda _: self.bars.advance(task)

    def ingest(self) -> Callable[["Fetched"], None]:
        """Show a download, whose number of shards is not known before the whole list is read; returns the
        callback for every shard that was downloaded."""
        display = _PassDisplay(self, "ingest", None)

        def report(fetched: "Fetched") -> None:
            urls = fetched.stats.get("count", 0)
            failed = urls - fetched.stats.get("successes", 0)
            read = Read(fetched.name, urls, error=fetched.error)
            display(Event(urls, Tally(failed=Counter(download=failed)), read))

        return report


class _PassDisplay:
    """The bar of one pass, and the line of text in its place; `shards` is None if their number is not
    known."""

    def __init__(self, progress: Progress, label: str, shards: int | None) -> None:
        self.progress = progress
        self.label = label
        self.shards = shards
        self.task = progress.bars.add_task(label, total=shards, note="starting")
        self.started = self.printed = time.monotonic()
        self.rows = 0
        self.failed = 0
        self.done = 0
        self.unread = 0  # shards that could not be read, or not be written

    def __call__(self, event: Event) -> None:
        """Count an event, and show the counts."""
        self.rows += event.rows
        self.failed += max((n for name, n in event.tally.failed.items() if name != "decode"), default=0)
        if event.read is not None:
            self.done += event.read.error is None
            self.unread += event.read.error is not None
        seconds = time.monotonic() - self.started
        rate = self.rows / max(seconds, 1e-9)
        unread = f"  {self.unread:,} not done" if self.unread else ""
        note = f"{self.rows:,} samples  {rate:,.0f}/s  {self.failed:,} failed{unread}"
        self.progress.bars.update(self.task, completed=self.done, note=note)
        finished = self.done + self.unread == self.shards and event.read is not None
        if self.progress.quiet or self.progress.live:
            return
        if finished or time.monotonic() - self.printed > EVERY:
            self.printed = time.monotonic()
            left = "" if finished else self._left(seconds)
            say(f"{self.label}: {self._shards()} shards, {note}{left}")

    def _shards(self) -> str:
        """`3/40`, or `3` if the number of shards is not known."""
        return f"{self.done:,}" if self.shards is None else f"{self.done:,}/{self.shards:,}"

    def _left(self, seconds: float) -> str:
        """The time left, if it can be estimated from the shards that are done after so many seconds."""
        if not self.done or self.shards is None:
            return ""
        return f", {seconds / self.done * (self.shards - self.done - self.unread):,.0f} s left"


@contextmanager
def showing_progress(quiet: bool = False) -> Iterator[None]:
    """stub"""
    yield

"""A live display of what a command does: how far it is, how long it has taken and will take.

    with showing_progress() as progress:
        report = progress.begin_pass(planned)   # call it with every Event of the pass
        decide(session)                         # its loops tell by themselves, see pipeline/progress.py

Nothing is shown in the first second, so a fast command shows nothing at all. If stderr is not a terminal, the
display is a line of text every ten seconds. All of it goes to stderr, so a command with --json shows it too.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, ProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.progress import Task as BarTask
from rich.table import Column
from rich.text import Text

from jobs.terminal.amount import PassAmount
from jobs.terminal.console import remarks, say, shown
from pipeline.export.exporter import TaskReport
from pipeline.plan.passes import Pass, ScorePass
from pipeline.progress import Tally, Tick, watching
from pipeline.run.batches import Read
from pipeline.run.executor import Event, Report

if TYPE_CHECKING:
    from jobs.ingest.download import Fetched

DELAY = 1.0  # seconds without a display
EVERY = 10.0  # seconds between lines of text
BAR = 20  # columns of a bar, fewer on a narrow screen
NARROW = 60  # columns of a screen on which a bar has room
WIDE = 90  # the same of the note

_SHOWN: ContextVar["Progress | None"] = ContextVar("progress", default=None)


@contextmanager
def showing_progress() -> Iterator["Progress"]:
    """The display of the command: the one that is shown already, if there is one."""
    if (outer := _SHOWN.get()) is not None:
        yield outer
        return
    with Progress() as progress:
        yield progress


class Progress:
    """A display with a line per pass, and one for the loop that the engine is in."""

    def __init__(self) -> None:
        self.live = remarks.is_terminal
        self.bars = Bars(*_columns(remarks.width), console=remarks, disable=not self.live, expand=True)
        self.printed = time.monotonic()  # when a line of text was written last
        self._loop: Line | None = None
        self._pass: _PassDisplay | None = None
        self._lock = threading.Lock()
        self._ticks = threading.Lock()  # loops tick in any thread
        self._timer: threading.Timer | None = None
        self._exits = ExitStack()

    def __enter__(self) -> "Progress":
        token = _SHOWN.set(self)
        self._exits.callback(_SHOWN.reset, token)
        self._exits.enter_context(watching(self.watch))
        if self.live:
            self._timer = threading.Timer(DELAY, self._show)
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._exits.close()
        with self._lock:
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        self._end_last()
        self.bars.stop()

    def _show(self) -> None:
        """Begin to draw, unless the command has ended."""
        with self._lock:
            if self._timer is not None:
                self.bars.start()

    def line(self, label: str, unit: str = "", total: int | None = None) -> "Line":
        """A line of the display. `total`: how many of `unit` there are, None if that is not known."""
        self._end_last()
        return Line(self, label, unit, total)

    def watch(self, what: str, total: int | None) -> Tick:
        """Show a loop of the engine in place of the one before; see `pipeline.progress.Watcher`."""
        if total == 0:
            self._end_last()
            return lambda count: None
        line = self._loop = self.line(what, "", total)

        def tick(count: int) -> None:
            with self._ticks:
                line.advance(count)
                if line is self._loop and line.done == total:
                    self._end_last()

        return tick

    def _end_last(self) -> None:
        """Take the line of the last loop away, and say how the last pass ended."""
        if self._loop is not None:
            self._loop.remove()
            self._loop = None
        if self._pass is not None:
            self._pass.end()

    def begin_pass(self, planned: Pass) -> Report:
        """Show a pass; returns the callback for its events. A Stat is a loop of the engine."""
        if isinstance(planned, ScorePass):
            self._pass = _PassDisplay(self, ", ".join(planned.names) or "samples", planned)
            return self._pass
        return lambda event: None

    @contextmanager
    def export(self, work: str, tasks: int, kind: str) -> Iterator[Callable[[TaskReport], None]]:
        """Show the work of an export in so many tasks of a kind, such as `shards`; yields the callback for
        every task that has ended."""
        display = _PassDisplay(self, work, None, tasks)
        display.line.unit = kind
        yield lambda task: display(
            Event(task.rows, read=Read(task.name, task.rows, task.bytes, error=task.error))
        )
        if not display.line.done:  # all of it was there already
            display.line.remove()

    def compact(self, folder: str, shards: int) -> Callable[[int], None]:
        """Show the packing of the small parts of a folder, of at most so many shards; returns the callback
        for the number of parts that were packed."""
        return self.line(f"compact {folder}", "shards", shards).advance

    def verify(self, what: str, count: int) -> Callable[[object], None]:
        """Show the verifying of so many files or shards; returns the callback for each."""
        line = self.line("verify", what, count)
        return lambda _: line.advance(1)

    def ingest(self) -> Callable[["Fetched"], None]:
        """Show a download, whose number of shards is not known before the whole list is read; returns the
        callback for every shard that was downloaded."""
        display = _PassDisplay(self, "ingest", None)
        display.fault = "not downloaded"

        def report(fetched: "Fetched") -> None:
            urls = fetched.stats.get("count", 0)
            tally = Tally(failed=Counter(download=urls - fetched.stats.get("successes", 0)))
            display(Event(urls, tally, Read(fetched.name, urls, error=fetched.error)))

        return report


class Line:
    """A line of the display: a bar on a terminal, elsewhere a line of text every ten seconds."""

    def __init__(self, progress: Progress, label: str, unit: str, total: int | None) -> None:
        self.progress = progress
        self.label = shown(label)
        self.unit = unit
        self.total = total
        self.done = 0
        self.started = time.monotonic()
        # Since when it is estimated, and how much was done then
        self.first: tuple[float, float] | None = None
        whole = None if total is None else 1.0
        self.task = progress.bars.add_task(self.label, total=whole, count=self.count, note="", ends=None)

    @property
    def count(self) -> str:
        """`3/40 shards`; `3 shards` if their number is not known."""
        of = "" if self.total is None else f"/{self.total:,}"
        return f"{self.done:,}{of} {self.unit}".strip() if self.done or self.total is not None else ""

    def advance(self, count: int) -> None:
        """So many more are done."""
        self.done = self.done + count if self.total is None else min(self.total, self.done + count)
        self.update(None if not self.total else self.done / self.total)

    def update(self, share: float | None, note: str = "", finished: bool = False, took: float = 0.0) -> None:
        """Show how far it is: the `share` in [0, 1] that is done, if it is known. `took`: seconds of the work
        that was done last, if they are known."""
        now = time.monotonic()
        left = self._left(now, share, took) if share else None
        ends = None if left is None else now + left
        if self.task not in self.progress.bars.task_ids:
            return
        whole = None if share is None else 1.0
        fields: dict[str, Any] = {"count": self.count, "note": note, "ends": ends}
        self.progress.bars.update(self.task, total=whole, completed=share or 0, **fields)
        if self.progress.live:
            return
        if finished or now - self.progress.printed > EVERY:
            self.progress.printed = now
            waiting = "" if finished or left is None else f", {left:,.0f} s left"
            say(f"{self.label}: {', '.join(filter(None, (self.count, note)))}{waiting}")

    def _left(self, now: float, share: float, took: float) -> float:
        """The seconds that are left. Workers may have loaded models before the first part, so they are
        estimated from when that was begun; from when it was done, if nobody says how long it took, and then
        of the first part itself, from the start."""
        if self.first is None:
            self.first = (max(self.started, now - took), 0.0) if took else (now, share)
        since, before = self.first if share > self.first[1] else (self.started, 0.0)
        return (now - since) / (share - before) * (1 - share)

    def remove(self) -> None:
        """Show it no longer."""
        self.progress.bars.remove_task(self.task)


class _PassDisplay:
    """The line of one pass; `planned` is None if its shards are not known, `total` if their number is not."""

    def __init__(
        self, progress: Progress, label: str, planned: ScorePass | None, total: int | None = None
    ) -> None:
        self.amount = PassAmount(planned.shards) if planned else None
        self.line = progress.line(label, "shards", len(planned.shards) if planned else total)
        self.rows = 0
        self.fault = "with an error"  # not `failed`: the funnel calls those so that a rule finds no value for
        self.errors = 0
        self.unread = 0  # shards that could not be read, or not be written
        self.read = 0  # rows of the shards that were read: on Ray, before they are worked on
        self.said = False  # how it ended

    def __call__(self, event: Event) -> None:
        """Count an event, and show the counts."""
        self.rows += event.rows
        self.errors += max((n for name, n in event.tally.failed.items() if name != "decode"), default=0)
        if event.read is not None:
            self.line.done += event.read.error is None
            self.unread += event.read.error is not None
            self.read += event.read.rows if event.read.error is None else 0
        if self.amount is not None:
            self.amount.add(event)
        self._show(self.rows >= self.read, event.took)

    def end(self) -> None:
        """The pass has ended. Rows that an earlier run has computed were read, and have not come."""
        if not self.said:
            self._show(whole=True)

    def _show(self, whole: bool, took: float = 0.0) -> None:
        """Show the counts. `whole`: all rows that were read have come; `took`: seconds of the last work."""
        line = self.line
        rate = self.rows / max(time.monotonic() - line.started, 1e-9)
        errors = f"  {self.errors:,} {self.fault}" if self.errors else ""
        unread = f"  {self.unread:,} not done" if self.unread else ""
        note = f"{self.rows:,} samples  {rate:,.0f}/s{errors}{unread}"
        finished = whole and not self.said and line.done + self.unread == line.total
        self.said |= finished
        line.update(self._share(), note, finished, took)

    def _share(self) -> float | None:
        """The part of the pass that is done; None if that is not known."""
        if self.amount is not None:
            return self.amount.share
        return (self.line.done + self.unread) / self.line.total if self.line.total else None


def _columns(width: int) -> list[ProgressColumn]:
    """What a line shows on a screen of so many columns: numbers are whole, names are cut."""
    cell = partial(Column, no_wrap=True)
    name = TextColumn("{task.description}", markup=False, table_column=cell(ratio=1, overflow="ellipsis"))
    count = TextColumn("{task.fields[count]}", markup=False, table_column=cell())
    columns: list[ProgressColumn] = [name, count, TimeElapsedColumn(cell()), _TimeLeft(cell())]
    if width >= NARROW:
        columns.insert(1, BarColumn(bar_width=min(BAR, width // 8)))
    if width > WIDE:
        note = cell(ratio=2, overflow="ellipsis")
        columns.append(TextColumn("{task.fields[note]}", markup=False, table_column=note))
    return columns


class _TimeLeft(ProgressColumn):
    """The time that is left, as it was last estimated."""

    max_refresh = 0.5

    def render(self, task: BarTask) -> Text:
        """`0:01:20 left`, `33:10:00 left`; nothing if there is no estimate."""
        ends = task.fields["ends"]
        if ends is None or task.finished:
            return Text()
        minutes, seconds = divmod(round(max(0.0, ends - time.monotonic())), 60)
        return Text(f"{minutes // 60}:{minutes % 60:02}:{seconds:02} left", "progress.remaining")

"""How long each run took: `runs/<start>-<pid>.json` in the store, rewritten every few seconds.

All other counts can be derived from the results in the store. Time cannot, so it has a file. Messages for
people go to the logger `winnow` instead (pipeline/__init__.py).
"""

import os
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.plan.session import Session
from pipeline.progress import Tally
from pipeline.run.executor import Event
from pipeline.storage import layout
from pipeline.storage.store import Store

FLUSH = 5.0  # seconds between writes of a run's log


@dataclass(frozen=True)
class RunSummary:
    """The work of one run, as its log in the store holds it.

    seconds      since the run began
    image_bytes  bytes of images that were read
    workers      operator, or `read` -> workers on Ray; empty for the plain loop
    pending      shard -> why it could not be read
    rewritten    shard -> how its file differs from the one that was read before: it was read anew
    changed      shard -> what changed while it was read: it was read again
    touched      files that were written since they were read, with equal content
    operators    seconds, rows and failures by operator
    """

    seconds: float
    image_bytes: int
    workers: Mapping[str, int]
    pending: Mapping[str, str]
    rewritten: Mapping[str, str]
    changed: Mapping[str, str]
    touched: int
    operators: Tally

    @classmethod
    def from_json(cls, run: Mapping[str, Any]) -> "RunSummary":
        """The summary that a log holds, as `Folder.read_json` reads it."""
        operators = Tally.of(run["operators"])
        return cls(**{**run, "operators": operators})


@dataclass(frozen=True)
class Speed:
    """How fast an operator is, over some runs.

    rows             rows it has worked on; 0 for a Stat in the logs of earlier versions
    seconds          spent by its workers, added up; of a Stat and a Group, by the clock
    rows_per_second  of one worker; 0 without rows
    busy             seconds during which its workers, side by side, were at work
    """

    rows: int
    seconds: float
    rows_per_second: float
    busy: float


class RunLog:
    """The work of one run so far; the attributes are those of RunSummary. `session`: the run's session, with
    what is known of its shards when the run has ended."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.store = session.store
        self.started = time.time()
        self.flushed = time.time()
        self.path = layout.run_log(f"{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}")
        self.tally = Tally()
        self.bytes = 0
        self.pending: dict[str, str] = {}
        self.rewritten: dict[str, str] = {}
        self.changed: dict[str, str] = {}
        self.touched = 0
        self.workers: dict[str, int] = {}
        self.pass_seconds = 0.0  # of the passes of Scores, by the clock
        self.start_seconds = 0.0  # of these, before the first sample was worked on
        self.pass_work: dict[str, float] = defaultdict(float)  # seconds of workers in them, by part

    def add_event(self, event: Event) -> None:
        """Count a batch, or a shard that has been read."""
        self.tally += event.tally
        for name, seconds in event.tally.seconds.items():
            self.pass_work[name] += seconds
        if event.read is not None:
            self.tally.seconds["read"] += event.read.seconds
            self.pass_work["read"] += event.read.seconds
            self.tally.rows["read"] += event.read.rows
            self.bytes += event.read.bytes
        if time.time() - self.flushed > FLUSH:
            self.write()

    def add_stat(self, name: str, seconds: float, rows: int) -> None:
        """Count the reduction of a Stat over so many rows."""
        self.tally.seconds[name] += seconds
        self.tally.rows[name] += rows

    def add_group(self, name: str, seconds: float, rows: int, failed: int) -> None:
        """Count the pass of a Group."""
        self.tally.seconds[name] += seconds
        self.tally.rows[name] += rows
        self.tally.failed[name] += failed

    def write(self) -> None:
        """Write the log, if anything was done."""
        self.flushed = time.time()
        if self.tally.seconds:
            self.store.root.publish_json(self.path, self.summary())

    def summary(self) -> RunSummary:
        """The run so far."""
        seconds = round(time.time() - self.started, 3)
        return RunSummary(
            seconds=seconds,
            image_bytes=self.bytes,
            workers=self.workers,
            pending=self.pending,
            rewritten=self.rewritten,
            changed=self.changed,
            touched=self.touched,
            operators=self.tally,
        )


def speeds(store: Store) -> dict[str, Speed]:
    """Operator -> its speed over all runs on this store, the one that took longest first."""
    tally = Tally()
    busy: dict[str, float] = defaultdict(float)
    for name in sorted(store.root.file_names(layout.RUNS, ".json")):
        if (content := store.root.read_json(layout.run_log(name))) is None:
            store.damaged.check([layout.run_log(name)])
            store.set_aside()
            continue
        run = RunSummary.from_json(content)
        tally += run.operators
        for operator, seconds in run.operators.seconds.items():
            workers = run.workers.get(operator) or run.workers.get(_stage_of(operator, run.workers), 1)
            busy[operator] += seconds / workers
    return {
        name: Speed(
            rows=tally.rows[name],
            seconds=round(seconds, 3),
            rows_per_second=round(tally.rows[name] / seconds, 1) if seconds else 0.0,
            busy=round(busy[name], 3),
        )
        for name, seconds in sorted(tally.seconds.items(), key=lambda item: -busy[item[0]])
    }


def _stage_of(operator: str, workers: Mapping[str, int]) -> str:
    """Decoding happens in the image operators' pool, the largest one."""
    pools = {name: count for name, count in workers.items() if name != "read"}
    return max(pools, key=lambda name: pools[name]) if operator == "decode" and pools else operator

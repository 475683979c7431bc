"""A worker of Ray Data that gets whole shards, reads them, runs every operator, and publishes their parts:
the plain loop in a process of its own. Without Ray itself.

A call brings some shards, as many as there are small ones, and gives notes of what was done, one a second at
most. The next call begins on a thread beside it, so that decoding goes on while the last batches of a call
are computed. No batch travels.
"""

import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import orjson
import pyarrow as pa

from pipeline.errors import OperatorError, worded
from pipeline.plan.passes import Stage
from pipeline.pool.shards import Shard
from pipeline.run.batches import Work
from pipeline.run.executor import Event, device_of, run_shards, runner_of
from pipeline.run.ray.log import log_in_worker
from pipeline.run.stage.runner import IN_FLIGHT, Stopped

CALLS = 2  # of a worker at a time
SECONDS = 1.0  # between two notes of a call, at least
LOG = logging.getLogger("winnow.run")


class ShardWorker:
    """A plain loop, called with some shards at a time, by CALLS threads.

    Neither the constructor nor a call raises an error: Ray Data would take it for a lost process. A note
    carries the message to the driver instead.
    """

    def __init__(self, work: Work, stages: Sequence[Stage], threads: int) -> None:
        log_in_worker()
        LOG.info("shard worker begun: %s; threads: %d", ", ".join(work.names) or "samples", threads)
        self.work = work
        self.broken = ""
        try:
            stats = work.stats()
            self.runners = [runner_of(work, stage, stats, device_of(stage, threads)) for stage in stages]
        except Exception as error:
            self.broken = _said(error)

    def __call__(self, rows: pa.Table) -> Iterator[pa.Table]:
        """Shards in, as `shard_row` makes them; notes out, each as a table of one row."""
        if self.broken:
            yield _row({"fatal": self.broken})
            return
        told = _Told()
        shards = [shard_of(fields) for fields in rows.to_pylist()]
        since = time.monotonic()
        try:
            for event in run_shards(self.work, shards, self.runners, IN_FLIGHT // CALLS, told.hear):
                told.add(event)
                if time.monotonic() - since > SECONDS:
                    since = time.monotonic()
                    yield _row(told.note())
        except Stopped:  # an operator has failed in another call, whose note says so
            return
        except Exception as error:
            yield _row({"fatal": _said(error)})
            return
        yield _row(told.note())


class _Told:
    """What was done since the last note. Rows and the tally of a shard count once it has ended: if the
    process dies before, another one does the shard again."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._work = Event()
        self._begun = Event()  # of the shard that has not ended
        self._ended: list[dict[str, Any]] = []

    def hear(self, event: Event) -> None:
        """Work on a part of a batch, told of by any thread."""
        with self._turn:
            self._work.work += event.work
            self._work.bytes += event.bytes
            self._work.took += event.took

    def add(self, event: Event) -> None:
        """A batch that is done, or a shard that has ended."""
        self._begun.rows += event.rows
        self._begun.tally += event.tally
        if event.read is not None:
            counts = {"rows": self._begun.rows, "tally": self._begun.tally.as_dict()}
            self._ended.append(counts | {"read": vars(event.read)})
            self._begun = Event()

    def note(self) -> Mapping[str, Any]:
        """What was told; then it is forgotten."""
        with self._turn:
            work, self._work = self._work, Event()
        ended, self._ended = self._ended, []
        return {"work": work.work, "bytes": work.bytes, "took": work.took, "ended": ended}


def shard_row(shard: Shard) -> dict[str, Any]:
    """A shard as a row. Its path travels as bytes: on a local disk it may not be UTF-8."""
    return {**asdict(shard), "path": os.fsencode(shard.path)}


def shard_of(row: Mapping[str, Any]) -> Shard:
    """The shard of a row that `shard_row` made."""
    return Shard(**{**row, "path": os.fsdecode(row["path"])})


def _said(error: Exception) -> str:
    """An error in words; if it is a defect, its traceback is in the worker's log."""
    if isinstance(error, OperatorError):
        return str(error)
    LOG.exception("a worker failed")
    return f"a worker failed: {worded(error)} (the log of Ray's workers has the traceback)"


def _row(note: Mapping[str, Any]) -> pa.Table:
    """A note as a table."""
    return pa.table({"note": [orjson.dumps(note)]})

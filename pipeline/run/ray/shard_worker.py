"""A worker of Ray Data that gets whole shards, reads them, runs every operator, and publishes their parts:
the plain loop in a process of its own. Without Ray itself.

A call brings some shards, as many as there are small ones, and gives notes of what was done. The next call
begins on a thread beside it, so that decoding goes on while the last batches of a call are computed. No batch
travels.
"""

import logging
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from pipeline.errors import OperatorError
from pipeline.plan.passes import Stage
from pipeline.run.batches import Work
from pipeline.run.executor import Event, device_of, run_shards, runner_of
from pipeline.run.ray.data_workers import note_of, shard_of
from pipeline.run.ray.log import log_in_worker
from pipeline.run.stage.runner import IN_FLIGHT, Stopped

CALLS = 2  # of a worker at a time
BATCH, ROWS = 64, 512  # a note tells of one batch with so many rows at least, or of so many in small ones
LOG = logging.getLogger("winnow.run")


class ShardWorker:
    """A plain loop, called with some shards at a time, by CALLS threads.

    Neither the constructor nor a call raises an OperatorError: Ray would report a dead actor or a traceback
    of its own. A note carries the message to the driver instead.
    """

    def __init__(self, work: Work, stages: Sequence[Stage], threads: int) -> None:
        log_in_worker()
        LOG.info("shard worker begun: %s; threads: %d", ", ".join(work.names) or "samples", threads)
        self.work = work
        self.broken = ""
        try:
            stats = work.stats()
            self.runners = [runner_of(work, stage, stats, device_of(stage, threads)) for stage in stages]
        except OperatorError as error:
            self.broken = str(error)

    def __call__(self, rows: pa.Table) -> Iterator[pa.Table]:
        """Shards in, as `shard_row` makes them; notes out, each as a table of one row.

        If the process dies, Ray calls another one with the same shards, and takes no note from it that the
        first has given. So notes are cut by rows and ends of shards alone, and all calls give equally many.
        """
        if self.broken:
            yield _row({"fatal": self.broken})
            return
        told = _Told()
        shards = [shard_of(fields) for fields in rows.to_pylist()]
        try:
            for event in run_shards(self.work, shards, self.runners, IN_FLIGHT // CALLS, told.hear):
                if told.add(event) >= ROWS or event.rows >= BATCH:
                    yield _row(told.note())
        except OperatorError as error:
            yield _row({"fatal": str(error)})
            return
        except Stopped:  # an operator has failed in another call, whose note says so
            return
        yield _row(told.note())


class _Told:
    """Events since the last note, added up."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._total = Event()
        self._reads: list[dict[str, Any]] = []

    def hear(self, event: Event) -> None:
        """Work on a part of a batch, told of by any thread."""
        with self._turn:
            self._total.work += event.work
            self._total.bytes += event.bytes
            self._total.took += event.took

    def add(self, event: Event) -> int:
        """A batch that is done, or a shard that has ended. Returns the rows since the last note; a shard
        counts as one more."""
        with self._turn:
            self._total.rows += event.rows
            self._total.tally += event.tally
            if event.read is not None:
                self._reads.append(vars(event.read))
            return self._total.rows + len(self._reads)

    def note(self) -> dict[str, Any]:
        """What was told; then it is forgotten."""
        with self._turn:
            note = note_of(self._total) | {"reads": self._reads}
            self._begin()
        return note


def _row(note: dict[str, Any]) -> pa.Table:
    """A note as a table."""
    import orjson

    return pa.table({"note": [orjson.dumps(note)]})

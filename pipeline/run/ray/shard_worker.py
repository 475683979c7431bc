"""A worker that gets whole shards, reads them, runs every operator, and publishes their parts: the plain loop
in a process of its own. Without Ray itself.

The driver's calls (`exchange`) bring shards and take home what was done since the last call; the loop runs on
a thread beside them, across the ends of shards. So a call costs the same for one shard and for a thousand
tiny ones, and no batch travels.
"""

import logging
import os
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from pipeline.plan.passes import Stage
from pipeline.pool.shards import Shard
from pipeline.run.batches import Read, Work
from pipeline.run.executor import Event, device_of, run_shards, runner_of
from pipeline.run.pieces import Piece
from pipeline.run.ray.log import log_in_worker
from pipeline.run.stage.runner import IN_FLIGHT

SECONDS = 1.0  # a call waits, at most, while its worker has shards
LOG = logging.getLogger("winnow.run")


class Lot(NamedTuple):
    """What a call brings.

    call    its number: 1, 2, ...
    shards  to work on
    last    whether there are no more of them now
    pieces  what earlier processes have computed of these shards
    """

    call: int
    shards: Sequence[Shard] = ()
    last: bool = False
    pieces: Mapping[str, Sequence[Piece]] = {}


class Done(NamedTuple):
    """What a call takes home.

    token   random bytes that the worker's process picked as it started: another token, another process
    work    events since the last call, added up
    read    shards that have ended since the last call
    hungry  whether the worker has begun all its shards
    """

    token: bytes
    work: Event
    read: Sequence[Read]
    hungry: bool


class ShardWorker:
    """A plain loop that is fed from outside. An error of its loop, or of its start, is raised by the next
    call."""

    def __init__(self, work: Work, stages: Sequence[Stage], threads: int) -> None:
        log_in_worker()
        LOG.info("shard worker begun: %s; threads: %d", ", ".join(work.names) or "samples", threads)
        self.token = os.urandom(16)
        self.pieces = dict(work.pieces)  # `batches` and each Collector look here when they begin a shard
        self.work = replace(work, pieces=self.pieces)
        self.answered = (0, Done(self.token, Event(), (), hungry=True))
        self._changed = threading.Condition()  # guards all below
        self._waiting = deque[Shard]()
        self._last = False
        self._hungry = True
        self._running = False
        self._work = Event()
        self._read: list[Read] = []
        self._error: BaseException | None = None
        try:
            stats = work.stats()
            self.runners = [runner_of(work, stage, stats, device_of(stage, threads)) for stage in stages]
        except Exception as error:
            self._error = error

    def exchange(self, lot: Lot) -> Done:
        """Take shards, and give what was done. Waits until the worker is hungry or has ended, for SECONDS at
        most. Ray repeats a call whose answer it has lost; its answer is the same. Raises OperatorError, and
        whatever else has ended the loop."""
        if lot.call != self.answered[0]:
            self.answered = (lot.call, self._exchange(lot))
        return self.answered[1]

    def _exchange(self, lot: Lot) -> Done:
        with self._changed:
            self.pieces.update(lot.pieces)
            self._waiting.extend(lot.shards)
            self._last = lot.last
            self._hungry = not self._waiting and self._hungry
            if self._waiting and not self._running and self._error is None:
                self._running = True
                threading.Thread(target=self._run, daemon=True).start()
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._running or (self._hungry and not lot.last), SECONDS)
            if self._error is not None:
                raise self._error
            done = Done(self.token, self._work, tuple(self._read), self._hungry)
            self._work, self._read = Event(), []
        return done

    def _run(self) -> None:
        """The loop, on its thread, until all shards that came are done."""
        try:
            while self._goes_on():
                run_shards(self.work, self._shards(), self.runners, IN_FLIGHT, self._hear)
        except BaseException as error:
            with self._changed:
                self._error = error
                self._running = False
                self._changed.notify_all()

    def _goes_on(self) -> bool:
        """Whether there are shards that have not begun. If not, the thread is about to end."""
        with self._changed:
            self._running = bool(self._waiting)
            self._changed.notify_all()
            return self._running

    def _shards(self) -> Iterator[Shard]:
        """The shards as they come, until the last one."""
        while True:
            with self._changed:
                while not self._waiting:
                    self._hungry = True
                    if self._last:
                        return
                    self._changed.notify_all()
                    self._changed.wait()
                shard = self._waiting.popleft()
            yield shard

    def _hear(self, event: Event) -> None:
        """Add an event to those that the next call takes home."""
        with self._changed:
            total = self._work
            total.rows += event.rows
            total.tally += event.tally
            total.work += event.work
            total.bytes += event.bytes
            total.took += event.took
            if event.read is not None:
                self._read.append(event.read)

"""Which worker gets which shards; without Ray itself.

Every worker (`shard_worker.py`) is given a lot of shards, and another one when it has begun them all. Lots
are such that a call comes about once a second: one shard if that takes longer, hundreds of tiny ones else.
If the process of a worker dies, Ray starts it again and repeats the call. The answer's token then differs,
and shards that the worker had from earlier calls are handed out again, but for what is stored of them. If
its machine is lost, there is no answer: when others have nothing left to do, they get what it had.
"""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pipeline.errors import ShardError
from pipeline.pool.shards import Shard
from pipeline.run.executor import Event
from pipeline.run.pieces import Piece
from pipeline.run.ray.shard_worker import SECONDS, Done, Lot

Handle = Any
SILENT = 30.0  # seconds without an answer, after which a worker counts as lost if others are idle
LOG = logging.getLogger("winnow.run")


class Calls(NamedTuple):
    """How calls are made.

    start  begins a call of a worker, by its number, and returns a handle
    wait   blocks until a call of these has ended, and returns its handle; None after so many seconds
    get    the answer of a call that has ended
    """

    start: Callable[[int, Lot], Handle]
    wait: Callable[[list[Handle], float], Handle | None]
    get: Callable[[Handle], Done]


Stored = Callable[[Sequence[Shard]], tuple[Sequence[Shard], Mapping[str, Sequence[Piece]]]]
"""Those of some shards that are not done, and the pieces that are stored of them."""


@dataclass
class _Worker:
    """What the driver knows of a worker.

    number  of the worker, from 0
    calls   that were begun
    given   shards that its last lot had
    since   when that was
    called  when its last call was begun
    held    the shards that it has, by name, with the number of the call that brought them
    token   of its process
    """

    number: int
    calls: int = 0
    given: int = 0
    since: float = 0.0
    called: float = 0.0
    held: dict[str, tuple[Shard, int]] = field(default_factory=dict)
    token: bytes | None = None


class ShardFlow:
    """Hands shards to a pool of workers until all are done."""

    def __init__(self, workers: int, calls: Calls, shards: Sequence[Shard], stored: Stored) -> None:
        self.workers = workers
        self.calls = calls
        self.stored = stored
        self.waiting = deque(shards)
        self.left = len(shards)
        self.pieces: dict[str, Sequence[Piece]] = {}  # of shards that are handed out again
        self.idle = [_Worker(number) for number in range(workers)]
        self.busy: dict[Handle, _Worker] = {}

    def events(self, patience: float) -> Iterator[Event]:
        """What the workers do, as they do it. Raises ShardError if that is nothing for `patience` seconds,
        and what a worker raises."""
        progress = time.monotonic()
        self._call_idle()
        while self.left:
            handle = self.calls.wait(list(self.busy), min(SILENT, patience))
            if handle is not None:
                worker = self.busy.pop(handle)
                done = self.calls.get(handle)
                self._settle(worker, done)
                if done.work.work or done.read:
                    progress = time.monotonic()
                yield done.work
                yield from (Event(read=read) for read in done.read)
                if worker.held and not done.hungry:
                    self._call(worker, [])
                else:
                    self.idle.append(worker)
            self._call_idle()
            if self.idle:
                self._take_from_silent()
            if time.monotonic() - progress > patience:
                raise no_progress(patience)

    def _settle(self, worker: _Worker, done: Done) -> None:
        """Take note of an answer. If it comes from another process than the one before, what that one held
        is handed out again."""
        for read in done.read:
            self.left -= worker.held.pop(read.shard, None) is not None
        if worker.token not in (None, done.token):
            lost = [shard for shard, call in worker.held.values() if call < worker.calls]
            self._hand_out_again(worker, lost, "was restarted")
        worker.token = done.token

    def _take_from_silent(self) -> None:
        """Workers are idle: let them have what others hold that do not answer."""
        now = time.monotonic()
        for worker in [worker for worker in self.busy.values() if now - worker.called > SILENT]:
            self._hand_out_again(worker, [shard for shard, _ in worker.held.values()], "does not answer")
        self._call_idle()

    def _hand_out_again(self, worker: _Worker, lost: Sequence[Shard], why: str) -> None:
        """Let shards wait again that a worker will not do, unless they are stored."""
        if not lost:
            return
        for shard in lost:
            del worker.held[shard.name]
        again, pieces = self.stored(lost)
        self.pieces.update(pieces)
        self.waiting.extend(again)
        self.left += len(again) - len(lost)
        LOG.warning(
            "worker %d of %d %s; shards that are computed again: %d",
            worker.number + 1,
            self.workers,
            why,
            len(again),
        )

    def _call_idle(self) -> None:
        """Call every idle worker for which there is work."""
        idle, self.idle = self.idle, []
        for worker in idle:
            if worker.held or self.waiting:
                self._call(worker, self._lot(worker))
            else:
                self.idle.append(worker)

    def _lot(self, worker: _Worker) -> list[Shard]:
        """The next shards of a hungry worker: about as many as it begins in SECONDS, and never more than a
        fair share of half of those that are left, so that all workers end at about the same time."""
        now = time.monotonic()
        took, worker.since = now - worker.since, now
        wanted = worker.given * 2 if took < SECONDS / 2 else worker.given
        if took > 2 * SECONDS:
            wanted = worker.given // 2
        fair = math.ceil(len(self.waiting) / (2 * self.workers))
        worker.given = min(max(1, wanted), fair)
        return [self.waiting.popleft() for _ in range(worker.given)]

    def _call(self, worker: _Worker, shards: Sequence[Shard]) -> None:
        """Begin a call."""
        worker.calls += 1
        worker.called = time.monotonic()
        worker.held |= {shard.name: (shard, worker.calls) for shard in shards}
        pieces = {shard.name: self.pieces[shard.name] for shard in shards if shard.name in self.pieces}
        lot = Lot(worker.calls, shards, not self.waiting, pieces)
        self.busy[self.calls.start(worker.number, lot)] = worker


def no_progress(patience: float) -> ShardError:
    """The error of a pass in which nothing was done for so many seconds."""
    return ShardError(
        f"no batch finished in {patience / 60:g} minutes. Either an operator keeps killing its worker "
        "process, or a machine was lost and not replaced. Check `run:`, then run the command again"
    )

"""Shards are handed out in lots that take a second; what a lost process had is handed out again."""

import math
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ShardError
from pipeline.pool.shards import Shard
from pipeline.run.batches import Read
from pipeline.run.executor import Event
from pipeline.run.ray import shard_flow
from pipeline.run.ray.shard_flow import SILENT, Calls, ShardFlow
from pipeline.run.ray.shard_worker import SECONDS, Done, Lot


@dataclass
class Simulated:
    """A worker of the simulation: the shards that it has, with the seconds at which each begins and ends."""

    token: bytes = b"0"
    shards: list[tuple[str, float, float]] = field(default_factory=list)
    call: Lot = field(default_factory=lambda: Lot(0))
    answers_at: float = math.inf


class Farm:
    """Workers in a time of their own, which want more when they have read half of their last shard.

    took      seconds of each shard
    dies      (worker, second), in order: its process ends, and Ray starts it again
    vanishes  (worker, second): it gives no answer from then on
    handed    how often each shard was handed out
    done      shards that are published
    lots      sizes of the lots of each worker
    """

    def __init__(
        self,
        workers: int,
        took: dict[str, float],
        dies: tuple[tuple[int, float], ...] = (),
        vanishes: tuple[int, float] = (-1, math.inf),
    ):
        self.now = 0.0
        self.vanishes = vanishes
        self.took = took
        self.workers = [Simulated() for _ in range(workers)]
        self.dies = list(dies)
        self.handed: Counter[str] = Counter()
        self.done: set[str] = set()
        self.lots: list[list[int]] = [[] for _ in range(workers)]
        self.calls = 0

    def monotonic(self) -> float:
        return self.now

    def start(self, number: int, lot: Lot) -> int:
        worker = self.workers[number]
        assert worker.answers_at == math.inf, "one call at a time"
        assert lot.call == worker.call.call + 1
        self.calls += 1
        self.lots[number].append(len(lot.shards))
        self.handed.update(shard.name for shard in lot.shards)
        self._take(worker, lot)
        return number

    def _take(self, worker: Simulated, lot: Lot) -> None:
        worker.call = lot
        for shard in lot.shards:
            begins = max([self.now, *(end for _, _, end in worker.shards)])
            worker.shards.append((shard.name, begins, begins + self.took[shard.name]))
        news = max([self.now, *(end if lot.last else (begin + end) / 2 for _, begin, end in worker.shards)])
        worker.answers_at = min(self.now + SECONDS, news)

    def wait(self, running: list[int], seconds: float) -> int | None:
        first = min(running, key=self._answers_at)
        answers_at = self._answers_at(first)
        if self.dies and self.dies[0][1] <= answers_at:
            number, self.now = self.dies.pop(0)
            self._end(self.workers[number])
            return self.wait(running, seconds)
        if answers_at > self.now + seconds:
            self.now += seconds
            return None
        self.now = max(self.now, answers_at)
        return first

    def _answers_at(self, number: int) -> float:
        at = self.workers[number].answers_at
        return math.inf if number == self.vanishes[0] and at >= self.vanishes[1] else at

    def _end(self, worker: Simulated) -> None:
        """The process ends; what it has published stays. Ray repeats its call in another process."""
        self.done |= {name for name, _, end in worker.shards if end <= self.now}
        worker.token, worker.shards = worker.token + b"1", []
        if worker.answers_at < math.inf:
            self._take(worker, worker.call)

    def get(self, number: int) -> Done:
        worker = self.workers[number]
        worker.answers_at = math.inf
        ended = [name for name, _, end in worker.shards if end <= self.now]
        worker.shards = [shard for shard in worker.shards if shard[2] > self.now]
        self.done.update(ended)
        hungry = all((begin + end) / 2 <= self.now for _, begin, end in worker.shards)
        return Done(worker.token, Event(len(ended)), tuple(map(Read, ended)), hungry)

    def stored(self, lost):
        return [shard for shard in lost if shard.name not in self.done], {}


def run(farm: Farm, patience: float = 1000.0) -> list[Event]:
    """All events of a flow over the farm's shards, in its time."""
    shards = [Shard(name, f"{name}.tar") for name in farm.took]
    flow = ShardFlow(len(farm.workers), Calls(farm.start, farm.wait, farm.get), shards, farm.stored)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard_flow, "time", farm)
        return list(flow.events(patience))


def test_tiny_shards_come_by_the_hundred():
    """2,000 shards of 10 ms on two workers: 10 s, in lots of a second."""
    farm = Farm(2, {f"{n:04d}": 0.01 for n in range(2000)})
    events = run(farm)
    assert [event.rows for event in events if event.rows and event.read] == []
    assert sum(event.rows for event in events) == 2000
    assert sorted(event.read.shard for event in events if event.read) == sorted(farm.took)
    assert set(farm.handed.values()) == {1}
    assert farm.lots[0][:6] == [1, 2, 4, 8, 16, 32]
    assert farm.calls < 80
    assert farm.now == pytest.approx(10, rel=0.02)


def test_slow_shards_come_one_by_one_and_workers_end_together():
    """Sixteen shards of ten seconds on two workers."""
    farm = Farm(2, {f"{n}": 10.0 for n in range(16)})
    run(farm)
    assert {count for lots in farm.lots for count in lots} == {0, 1}
    assert farm.now == pytest.approx(80, abs=2)


def test_shards_of_a_lost_process_are_handed_out_again_unless_they_are_published():
    """Worker 0 has done shard 0 and told of it, and has shard 2 in hand, when its process dies."""
    farm = Farm(2, {f"{n}": 3.0 for n in range(4)}, dies=((0, 4.5),))
    events = run(farm)
    assert farm.done == set(farm.took)
    assert farm.handed["0"] == 1
    assert sum(farm.handed.values()) == 5
    assert len([event for event in events if event.read]) == 4


def test_shards_of_a_worker_that_vanished_go_to_the_others_when_these_are_idle():
    """Worker 0 vanishes after 4.5 s with one of its shards of 3 s; nobody starts it again."""
    farm = Farm(2, {f"{n}": 3.0 for n in range(6)}, vanishes=(0, 4.5))
    run(farm)
    assert farm.done == set(farm.took)
    assert sum(farm.handed.values()) == 7
    assert farm.now < 3 * 6 + SILENT + 3


@given(
    st.lists(st.floats(0.001, 5), min_size=1, max_size=60),
    st.integers(1, 5),
    st.lists(st.tuples(st.integers(0, 4), st.floats(0, 40)), max_size=4),
    st.tuples(st.sampled_from([-1, 1]), st.floats(0, 40)),
)
def test_every_shard_is_done_whatever_dies(took, workers, dies, vanishes):
    deaths = sorted(((number % workers, at) for number, at in dies), key=lambda death: death[1])
    farm = Farm(workers, {f"{n}": seconds for n, seconds in enumerate(took)}, tuple(deaths), vanishes)
    run(farm)
    assert farm.done == set(farm.took)
    if not deaths and vanishes[0] < 0:
        assert set(farm.handed.values()) == {1}


def test_a_pass_gives_up_when_nothing_is_done_for_long():
    """A shard of an hour, of which nothing is heard."""
    farm = Farm(1, {"0": 3600.0})
    with pytest.raises(ShardError, match=r"^no batch finished in 2 minutes\. Either"):
        run(farm, patience=120)
    assert farm.now == pytest.approx(120, abs=2)

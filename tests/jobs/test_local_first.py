"""Work that begins in this process, and what is left for Ray."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import polars as pl
import pytest

from jobs import local_first, steps
from jobs.local_first import LocalFirst
from pipeline.plan.session import Session
from pipeline.recipe.load import parse
from pipeline.recipe.sections import Resources
from pipeline.run import executor as executors
from pipeline.run.compute import compute
from pipeline.run.executor import Asked, LocalExecutor
from pipeline.storage import layout

MUCH = 1e9  # seconds


class Other(LocalExecutor):
    """Stands for Ray: notes the shards and items that it is given."""

    def __init__(self, recipe: object = None) -> None:
        super().__init__(1)
        self.shards: list[str] = []
        self.items: list[object] = []

    def scores(self, work, shards, stages, report):
        self.shards += [shard.name for shard in shards]
        super().scores(work, shards, stages, report)
        return dict.fromkeys(work.names, 1)

    def each(self, function, items, asked=executors.LITTLE):
        for item in items:
            self.items.append(item)
            yield function(item)

    def reduce(self, function, merge, items, done):
        self.items += items
        return super().reduce(function, merge, items, done)


@pytest.fixture
def session_of(write_pool, tmp_path) -> Callable[..., Session]:
    """Opens six shards of two samples each; counts words, and how often each occurs."""
    for shard in "abcdef":
        write_pool(["one two three", "one"], shard=shard)

    def opened(store: str, **sections: object) -> Session:
        compute = {"caption": {"use": "caption.Caption"}, "words": {"use": "wfpp.WordFrequency"}}
        pool = {"shards": f"{tmp_path}/pool", "store": f"{tmp_path}/{store}"}
        return Session.open(parse({"pool": pool, "compute": compute, **sections}))

    return opened


def never() -> LocalExecutor:
    raise AssertionError("the other executor was started")


def passing(start: float = 0) -> SimpleNamespace:
    """A clock that is a second later whenever it is read."""
    return SimpleNamespace(perf_counter=partial(next, itertools.count(start)))


def columns(session: Session) -> pl.DataFrame:
    """The words of every caption."""
    frames = (session.columns.read(shard.name, ["caption.words"]) for shard in session.shards)
    return pl.concat(frames)


def test_work_that_is_done_in_time_starts_nothing(session_of):
    log = compute(session_of("here"), LocalFirst(never, MUCH))
    assert not log.pending
    assert log.workers == {"caption": 1}
    assert columns(log.session)["caption.words"].to_list() == [3, 1] * 6


def test_what_is_left_goes_to_the_other_executor(session_of, monkeypatch):
    expected = compute(session_of("expected"), LocalExecutor(1)).session
    other = Other()
    monkeypatch.setattr(executors, "time", passing())
    monkeypatch.setattr(local_first, "time", passing())
    log = compute(session_of("shared"), LocalFirst(lambda: other, 3))
    monkeypatch.undo()
    names = [shard.name for shard in log.session.shards]
    assert other.shards
    assert other.shards == names[-len(other.shards) :]
    assert len(other.shards) < len(names)
    assert log.workers == {"caption": 1}
    assert columns(log.session).equals(columns(expected))
    tables = [made.store.read(layout.stat("words", made.keys["words"])) for made in (expected, log.session)]
    assert tables[0].equals(tables[1])


@pytest.mark.parametrize("size", [None, local_first.LARGE_BYTES + 1])
def test_shards_of_unknown_size_count_as_large(session_of, size):
    session = session_of("unknown")
    shards = [replace(shard, size=size) for shard in session.shards]
    other = Other()
    compute(session.over(shards), LocalFirst(lambda: other, MUCH))
    assert other.shards == [shard.name for shard in shards]


@pytest.mark.parametrize(
    "sections",
    [
        {"run": {"caption": {"workers": 1}}},
        {"compute": {"text": {"use": "pdq.PdqHash"}}},
    ],
)
def test_passes_that_want_workers_of_their_own_start_elsewhere(session_of, sections):
    other = Other()
    log = compute(session_of("other", **sections), LocalFirst(lambda: other, MUCH))
    assert other.shards == [shard.name for shard in log.session.shards]


def test_a_large_shard_and_those_behind_it_go_to_the_other_executor(session_of, monkeypatch):
    session = session_of("large")
    monkeypatch.setattr(local_first, "LARGE_BYTES", session.shards[0].size - 1)
    other = Other()
    compute(session, LocalFirst(lambda: other, MUCH))
    assert other.shards == [shard.name for shard in session.shards]


def test_tasks(monkeypatch):
    other = Other()
    monkeypatch.setattr(local_first, "time", passing())
    executor = LocalFirst(lambda: other, 2)
    assert list(executor.each(abs, [-1, 2, -3, 4])) == [1, 2, 3, 4]
    assert other.items == [-3, 4]
    assert executor.one(abs, -4, Asked("run.index")) == 4
    assert executor.task_threads == 1
    assert list(LocalFirst(never, 0).each(abs, [])) == []


def test_a_reduction_is_merged_from_both(monkeypatch):
    other = Other()
    monkeypatch.setattr(local_first, "time", passing())
    parts = [pl.DataFrame({"n": [number]}) for number in range(5)]
    steps = list[int]()
    merged = LocalFirst(lambda: other, 3).reduce(
        lambda part: part, lambda t: pl.concat(t).sum(), parts, steps.append
    )
    assert merged["n"].to_list() == [10]
    assert sum(steps) == 5
    assert 0 < len(other.items) < 5
    alone = LocalFirst(never, MUCH).reduce(lambda part: part, pl.concat, parts[:1], steps.append)
    assert alone["n"].to_list() == [0]


def test_a_task_that_reserves_something_goes_to_the_other_executor():
    other, asked = Other(), Asked("run.index", Resources(memory=1))
    assert list(LocalFirst(lambda: other, MUCH).each(abs, [-1], asked)) == [1]
    assert other.items == [-1]


def test_a_cluster_gets_all_work_and_a_command_without_work_starts_nothing(session_of, monkeypatch):
    from pipeline.run import on_ray

    made = list[Other]()

    def ray(recipe: object) -> Other:
        made.append(Other())
        return made[-1]

    monkeypatch.setattr(on_ray, "RayExecutor", ray)
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    session = session_of("cluster")
    for _ in range(2):
        executor = steps.executor_of(session, local=False)
        log = steps.compute_missing(session.refreshed(), executor)
        steps.decide_and_export(log.session, executor, log.pending)
    assert [one.shards for one in made] == [[shard.name for shard in session.shards]]


def test_operators_of_plugins_go_to_ray(session_of, tmp_path, monkeypatch):
    """Nobody knows what they do: one that ends its process would end the command."""
    from pipeline.run import on_ray

    (tmp_path / "mine.py").write_text(
        "from pipeline.operator import Score\n\n\nclass Same(Score):\n"
        "    needs = ('text',)\n    writes = {'text': __import__('polars').String}\n\n"
        "    def score(self, batch):\n        return batch.select('text')\n"
    )
    other = Other()
    monkeypatch.setattr(on_ray, "RayExecutor", lambda recipe: other)
    session = session_of("mine", plugins=[str(tmp_path / "mine.py")], compute={"same": {"use": "mine.Same"}})
    steps.compute_missing(session, steps.executor_of(session, local=False))
    assert other.shards == [shard.name for shard in session.shards]

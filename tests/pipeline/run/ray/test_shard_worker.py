"""Workers that take whole shards, on threads of this process and on Ray: the plain loop's bytes."""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from jobs.toy.sample_pool import make_pool
from pipeline.errors import OperatorError
from pipeline.plan.passes import ScorePass, Stage, plan
from pipeline.plan.session import Session
from pipeline.plan.stored import list_stored
from pipeline.pool.shards import Shard
from pipeline.recipe.load import parse
from pipeline.recipe.sections import Recipe
from pipeline.run.batches import Work
from pipeline.run.compute import compute
from pipeline.run.executor import Event, LocalExecutor, Report
from pipeline.run.log import RunLog
from pipeline.run.on_ray import RayExecutor
from pipeline.run.ray.shard_flow import Calls, ShardFlow
from pipeline.run.ray.shard_worker import Lot, ShardWorker
from tests.support.folders import tree
from tests.support.paths import PLUGINS

SHARDS = 17
PER_SHARD = 3


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seventeen shards of three small pictures; the last is truncated."""
    folder = tmp_path_factory.mktemp("shards")
    made = make_pool(folder, shards=SHARDS, per_shard=PER_SHARD, seed=1, image_size=32)
    whole = made[-1].read_bytes()
    made[-1].write_bytes(whole[: len(whole) * 2 // 3])
    return folder


def recipe(shards: Path, store: Path, compute: dict[str, object], **more: object) -> Recipe:
    return parse(
        {
            "plugins": [str(PLUGINS)],
            "pool": {"shards": f"{shards}/*.tar", "store": str(store)},
            "compute": compute,
            **more,
        }
    )


BOTH = {"caption": {"use": "caption.Caption"}, "bright": {"use": "planted.Brightness"}}


class OnThreads(LocalExecutor):
    """Two workers on threads of this process, fed as on Ray."""

    def scores(
        self, work: Work, shards: Sequence[Shard], stages: Sequence[Stage], report: Report
    ) -> dict[str, int]:
        workers = [ShardWorker(work, stages, 1) for _ in range(2)]
        with ThreadPoolExecutor(2) as pool:

            def first(running: list[Future[object]], seconds: float) -> Future[object]:
                return wait(running, seconds, FIRST_COMPLETED).done.pop()

            calls = Calls(
                lambda n, lot: pool.submit(workers[n].exchange, lot), first, lambda call: call.result()
            )
            for event in ShardFlow(2, calls, shards, lambda lost: (lost, {})).events(60):
                report(event)
        return {}


def computed(made: Recipe, executor: object) -> tuple[dict[str, bytes], RunLog, list[Event]]:
    """The store's files, the log, and the events."""
    events: list[Event] = []
    log = compute(Session.open(made), executor, observe=lambda todo: events.append)
    return tree(Path(made.pool.folder)), log, events


def same_counts(log: RunLog, plain: RunLog, events: Sequence[Event]) -> None:
    """The books of a run do not depend on the executor."""
    assert (log.tally.rows, log.tally.failed) == (plain.tally.rows, plain.tally.failed)
    assert log.bytes == plain.bytes
    read = sorted(event.read.shard for event in events if event.read)
    assert read == [f"{n:05d}" for n in range(SHARDS)]
    assert sum(event.rows for event in events) == log.tally.rows["caption"]
    assert sum(event.work for event in events) == pytest.approx(log.tally.rows["caption"])


def test_workers_on_threads_equal_the_plain_loop(shards: Path, tmp_path: Path) -> None:
    plain, log, _ = computed(recipe(shards, tmp_path / "plain", BOTH), LocalExecutor())
    made, log_made, events = computed(recipe(shards, tmp_path / "threads", BOTH), OnThreads())
    assert made == plain
    assert {"samples/00016.parquet"} < made.keys()
    same_counts(log_made, log, events)


@pytest.mark.usefixtures("local_ray")
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_workers_of_ray_equal_the_plain_loop_and_one_may_die(shards: Path, tmp_path: Path) -> None:
    both = BOTH | {"deadly": {"use": "faulty.DeadlyOnce", "flag": str(tmp_path / "flag")}}
    run = {"caption": {"workers": 2, "cpus": 0.5}}
    run |= dict.fromkeys(("bright", "deadly"), run["caption"])
    plain, log, _ = computed(recipe(shards, tmp_path / "plain", both), LocalExecutor())
    made = recipe(shards, tmp_path / "ray", both, run=run)
    found, log_made, events = computed(made, RayExecutor(made))
    assert found == plain
    assert log_made.workers == {"caption": 2, "bright": 2, "deadly": 2, "read": 2}
    same_counts(log_made, log, events)

    shown = list[Event]()

    def kill_after_the_first(event: Event) -> None:
        if event.read and not shown:
            (tmp_path / "flag").touch()
            shown.append(event)

    made = recipe(shards, tmp_path / "killed", both, run=run)
    log_made = compute(Session.open(made), RayExecutor(made), observe=lambda todo: kill_after_the_first)
    assert shown
    assert not (tmp_path / "flag").exists()
    assert tree(tmp_path / "killed") == plain
    assert log_made.pending == {}


def worker(made: Recipe) -> tuple[ShardWorker, Sequence[Shard]]:
    """A worker of a recipe's first pass, and the shards of it."""
    session = Session.open(made)
    (todo,) = plan(made, session.shards, session.keys, list_stored(session))
    assert isinstance(todo, ScorePass)
    return ShardWorker(Work.of(made, session.keys, todo), todo.stages, 1), todo.shards


def until(call: Callable[[int], bool]) -> None:
    """Calls numbered from 2, until one says that all is done."""
    assert any(call(number) for number in range(2, 100))


def test_a_repeated_call_has_the_same_answer_and_brings_no_shard_twice(shards: Path, tmp_path: Path) -> None:
    here, todo = worker(recipe(shards, tmp_path / "store", {"caption": {"use": "caption.Caption"}}))
    lot = Lot(1, todo[:2], last=True)
    done = here.exchange(lot)
    assert here.exchange(lot) is done
    read = list(done.read)

    def told(number: int) -> bool:
        read.extend(here.exchange(Lot(number, (), last=True)).read)
        return len(read) == 2

    until(told)
    assert [(r.shard, r.rows) for r in read] == [("00000", PER_SHARD), ("00001", PER_SHARD)]
    assert here.exchange(Lot(100, (), last=True)).read == ()  # nothing is under way: the answer comes at once


def test_shards_that_come_after_the_last_one_are_done_as_well(shards: Path, tmp_path: Path) -> None:
    """Such as those of another worker whose process ended."""
    here, todo = worker(recipe(shards, tmp_path / "store", {"caption": {"use": "caption.Caption"}}))
    read: list[str] = []
    for number, lot in enumerate([todo[:1], (), todo[1:2], (), ()], 1):
        read += [r.shard for r in here.exchange(Lot(number, lot, last=True)).read]
    assert read == ["00000", "00001"]


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        ({"use": "faulty.Broken"}, "bad fails on every row of a batch: ValueError: no row"),
        ({"use": "faulty.NoSetup"}, "bad cannot be set up: RuntimeError: nothing to set up"),
    ],
)
def test_what_ends_the_loop_or_its_start_is_raised_by_the_next_call(
    tmp_path: Path, operator: dict[str, str], message: str
) -> None:
    make_pool(tmp_path / "pool", shards=1, per_shard=20, seed=1, image_size=32)
    here, todo = worker(recipe(tmp_path / "pool", tmp_path / "store", {"bad": operator}))

    def call(number: int) -> bool:
        here.exchange(Lot(number, todo if number == 2 else (), last=True))
        return False

    with pytest.raises(OperatorError, match=message):
        until(call)

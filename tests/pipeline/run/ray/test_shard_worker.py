"""Workers that take whole shards, on threads of this process and on Ray: the plain loop's bytes."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson
import pyarrow as pa
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
from pipeline.run.ray.data_workers import events_of
from pipeline.run.ray.shard_worker import ShardWorker, shard_row
from tests.support.folders import tree
from tests.support.paths import PLUGINS

SHARDS = 7
PER_SHARD = 66  # a batch of 64, and one of two


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven shards of small pictures; the last is truncated."""
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


@pytest.fixture(autouse=True)
def _no_log_of_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker logs to stderr from its start to the end of its process, which is this one here."""
    monkeypatch.setattr("pipeline.run.ray.shard_worker.log_in_worker", lambda: None)


BOTH = {"caption": {"use": "caption.Caption"}, "bright": {"use": "planted.Brightness"}}


def lot(shards: Sequence[Shard]) -> pa.Table:
    """What a call is given."""
    return pa.Table.from_pylist([shard_row(shard) for shard in shards])


class OnThreads(LocalExecutor):
    """One worker in this process, called twice at a time, as Ray does."""

    def scores(
        self, work: Work, shards: Sequence[Shard], stages: Sequence[Stage], report: Report
    ) -> dict[str, int]:
        worker = ShardWorker(work, stages, 1)
        with ThreadPoolExecutor(2) as pool:
            for notes in pool.map(lambda some: list(worker(lot(some))), (shards[:3], shards[3:])):
                for table in notes:
                    for event in events_of(table["note"][0].as_py()):
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


def test_calls_side_by_side_equal_the_plain_loop(shards: Path, tmp_path: Path) -> None:
    plain, log, _ = computed(recipe(shards, tmp_path / "plain", BOTH), LocalExecutor())
    made, log_made, events = computed(recipe(shards, tmp_path / "threads", BOTH), OnThreads())
    assert made == plain
    assert {"samples/00006.parquet"} < made.keys()
    same_counts(log_made, log, events)


@pytest.mark.usefixtures("local_ray")
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_workers_of_ray_equal_the_plain_loop_and_one_may_die(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three or four shards in a call, of which a worker has told in part when it dies."""
    monkeypatch.setattr("pipeline.plan.cluster.SHARDS_EACH", 1)
    monkeypatch.setattr("pipeline.plan.cluster.TASKS_PER_READER", 1)
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
        if event.rows and not shown:
            (tmp_path / "flag").touch()
        shown.append(event)

    made = recipe(shards, tmp_path / "killed", both, run=run)
    log_made = compute(Session.open(made), RayExecutor(made), observe=lambda todo: kill_after_the_first)
    assert not (tmp_path / "flag").exists()
    assert tree(tmp_path / "killed") == plain
    assert log_made.pending == {}
    assert sorted(event.read.shard for event in shown if event.read) == [f"{n:05d}" for n in range(SHARDS)]
    assert sum(event.rows for event in shown) == log.tally.rows["caption"]


def worker(made: Recipe) -> tuple[ShardWorker, Sequence[Shard]]:
    """A worker of a recipe's first pass, and the shards of it."""
    session = Session.open(made)
    (todo,) = plan(made, session.shards, session.keys, list_stored(session))
    assert isinstance(todo, ScorePass)
    return ShardWorker(Work.of(made, session.keys, todo), todo.stages, 1), todo.shards


def test_rows_count_with_the_end_of_their_shard(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A note per event: two batches and an end for each shard. What is told of a shard that has not ended is
    work, which only the display counts."""
    monkeypatch.setattr("pipeline.run.ray.shard_worker.SECONDS", -1.0)
    here, todo = worker(recipe(shards, tmp_path / "store", BOTH))
    notes = [orjson.loads(table["note"][0].as_py()) for table in here(lot(todo[:2]))]
    ends = [[(shard["read"]["shard"], shard["rows"]) for shard in note["ended"]] for note in notes]
    assert ends == [[], [], [("00000", 66)], [], [], [("00001", 66)], []]
    assert sum(note["work"] for note in notes) == pytest.approx(132)


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        ({"use": "faulty.Broken"}, "bad fails on every row of a batch: ValueError: no row"),
        ({"use": "faulty.NoSetup"}, "bad cannot be set up: RuntimeError: nothing to set up"),
    ],
)
def test_what_ends_the_loop_or_its_start_is_told_by_a_note(
    tmp_path: Path, operator: dict[str, str], message: str
) -> None:
    make_pool(tmp_path / "pool", shards=1, per_shard=20, seed=1, image_size=32)
    here, todo = worker(recipe(tmp_path / "pool", tmp_path / "store", {"bad": operator}))
    *_, last = here(lot(todo))
    with pytest.raises(OperatorError, match=message):
        list(events_of(last["note"][0].as_py()))

"""Passes on Ray that fail, workers that end, and tasks of their own."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import ray

from pipeline.errors import OperatorError, RecipeError, ShardError
from pipeline.plan.cluster import SHARDS_EACH
from pipeline.plan.session import Session
from pipeline.recipe.load import parse
from pipeline.run.batches import Work
from pipeline.run.compute import compute
from pipeline.run.executor import Asked, Event
from pipeline.run.on_ray import RayExecutor
from pipeline.run.ray import data_flow
from tests.pipeline.run.ray_passes import run_on_ray
from tests.support.paths import PLUGINS

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own


@pytest.mark.usefixtures("local_ray")
def test_an_operator_that_always_fails_stops_the_pass(pool: Path) -> None:
    made = parse(
        {
            "plugins": [str(PLUGINS)],
            "pool": {"shards": f"{pool}/pool/*.tar", "store": str(pool / "broken")},
            "compute": {"broken": {"use": "faulty.Broken"}},
        }
    )
    with pytest.raises(OperatorError, match="broken fails on every row"):
        run_on_ray(made)


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("each", [SHARDS_EACH, 1], ids=["batches", "whole shards"])
def test_an_operator_that_ends_its_process_does_not_run_for_ever(
    pool: Path, each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.run.on_ray.PATIENCE", 6)
    monkeypatch.setattr("pipeline.plan.cluster.SHARDS_EACH", each)
    made = parse(
        {
            "plugins": [str(PLUGINS)],
            "pool": {"shards": f"{pool}/pool/*.tar", "store": str(pool / f"deadly{each}")},
            "compute": {"deadly": {"use": "faulty.Deadly"}},
        }
    )
    why = r"^(no batch finished in 0\.1 minutes|workers ended 4 times before they had finished a shard)\. "
    with pytest.raises(ShardError, match=why + "Either an operator keeps killing"):
        run_on_ray(made)


@pytest.mark.usefixtures("local_ray")
def test_workers_write_their_log_lines_to_files_of_ray(pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file per process, in the logs of Ray's session."""
    caption = {"caption": {"use": "caption.Caption"}}
    for each in (SHARDS_EACH, 1):
        monkeypatch.setattr("pipeline.plan.cluster.SHARDS_EACH", each)
        store = str(pool / f"log{each}")
        run_on_ray(parse({"pool": {"shards": f"{pool}/pool/*.tar", "store": store}, "compute": caption}))
    logs = Path(ray._private.worker.global_worker.node.get_logs_dir_path())
    text = "\n".join(path.read_text() for path in logs.glob("worker-*.err"))
    for line in (
        r"stage worker begun: caption; threads: \d+",
        r"shard worker begun: caption; threads: \d+",
        r"collector begun: caption",
    ):
        assert re.search(rf"^\d\d:\d\d:\d\d INFO winnow\.run: {line}$", text, re.M)


@pytest.mark.usefixtures("local_ray")
def test_a_restarted_collector_is_logged_and_every_shard_is_done(
    pool: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    collectors: list[object] = []
    real = data_flow._collectors

    @contextmanager
    def watched(work: Work, count: int) -> Iterator[list[object]]:
        with real(work, count) as started:
            collectors.extend(started)
            yield started

    def kill_once(event: Event) -> None:
        if event.rows and len(collectors) == 1:
            ray.kill(collectors[0], no_restart=False)
            collectors.append("killed")

    monkeypatch.setattr(data_flow, "_collectors", watched)
    caption = {"caption": {"use": "caption.Caption"}}
    made = parse({"pool": {"shards": f"{pool}/pool/*.tar", "store": str(pool / "kill")}, "compute": caption})
    log = compute(Session.open(made), RayExecutor(made), observe=lambda _: kill_once)
    (message,) = [record.getMessage() for record in caplog.records if record.name == "winnow.run"]
    assert re.fullmatch(
        r"Ray restarted 1 of 1 collectors; shards whose rows are lost and computed again: [0-3]", message
    )
    assert log.pending == {}
    assert len(list((pool / "kill").glob("columns/caption-*/*.parquet"))) == 3


@pytest.mark.usefixtures("local_ray")
def test_one_large_task_runs_in_a_worker(pool: Path) -> None:
    made = {
        "plugins": [str(PLUGINS)],
        "pool": {"shards": f"{pool}/pool/*.tar", "store": str(pool / "task")},
        "compute": {"thumb": {"use": "thumbnails.Thumbnail"}},
        "export": {"index": {"embedding": "thumb.vector", "path": f"{pool}/index"}},
    }
    for run in ({}, {"index": {"cpus": 1, "memory": 0.5}}):
        session = Session.open(parse({**made, "run": run}))
        executor = RayExecutor(session.recipe)
        asked = session.recipe.resources("index")
        elsewhere, shards = executor.one(
            lambda s: (os.getpid(), len(s.shards)), session, Asked("run.index", asked)
        )
        assert (elsewhere != os.getpid(), shards) == (True, 3)
    with pytest.raises(RecipeError, match="of the task"):  # an error of ours comes out as itself
        executor.one(_refuse, session, Asked("run.index", asked))
    asked = parse({**made, "run": {"index": {"memory": 1e6}}}).resources("index")
    with pytest.raises(RecipeError, match=r"run.index.memory asks for 1e\+06, the cluster has"):
        executor.one(len, session, Asked("run.index", asked))


def _refuse(session: Session) -> None:
    raise RecipeError("of the task")

"""The worker of a stage, in this process."""

import threading
from pathlib import Path

import pyarrow as pa
import pytest

from jobs.toy.sample_pool import make_pool
from pipeline.plan.passes import ScorePass, plan
from pipeline.plan.session import Session
from pipeline.plan.stored import list_stored
from pipeline.recipe.load import parse
from pipeline.run.batches import Work
from pipeline.run.ray.data_workers import StageWorker, read_shards
from pipeline.run.ray.shard_worker import shard_row


class Nowhere:
    """A sink that keeps nothing."""

    def add_payloads(self, payloads):
        pass

    expect_rows = add_payloads


def test_batches_are_worked_on_by_threads_of_python_and_not_by_those_of_ray(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the end of a thread of Ray's, libraries of pybind11's such as OpenVINO end the process."""
    monkeypatch.setattr("pipeline.run.ray.data_workers.log_in_worker", lambda: None)
    make_pool(tmp_path / "pool", shards=2, per_shard=3, seed=1, image_size=32)
    pool = {"shards": f"{tmp_path}/pool/*.tar", "store": str(tmp_path / "store")}
    recipe = parse({"pool": pool, "compute": {"caption": {"use": "caption.Caption"}}})
    session = Session.open(recipe)
    todo = plan(recipe, session.shards, session.keys, list_stored(session))[0]
    assert isinstance(todo, ScorePass)
    work = Work.of(recipe, session.keys, todo)
    shards = pa.Table.from_pylist([shard_row(shard) for shard in session.shards])
    worker = StageWorker(work, todo.stages[0], 0, 1, Nowhere())
    run, threads = worker.runner.run, []

    def watched(*args):
        threads.append(threading.current_thread())
        return run(*args)

    monkeypatch.setattr(worker.runner, "run", watched)
    notes = [worker(rows) for rows in read_shards(shards, work, Nowhere())]
    assert len(threads) == 2
    assert all(thread in worker.threads._threads for thread in threads)
    assert sum(len(table) for table in notes) == 4  # two batches, and the ends of two shards

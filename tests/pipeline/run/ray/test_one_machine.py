"""A Ray that Winnow starts on this machine: which processes it has, and where it speaks."""

import os
import pickle
from pathlib import Path

import psutil
import pytest
import ray
from ray.data._internal import stats
from ray.data._internal.execution import streaming_executor
from ray.data._internal.execution.operators import actor_pool_map_operator

from pipeline.recipe.load import parse
from pipeline.run.ray import one_machine
from pipeline.run.ray.one_machine import KNOWN, Nobody, few_helpers, small_head
from tests.pipeline.run.ray_passes import run_on_ray

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # Ray's own
    pytest.mark.skipif(not ray.__version__.startswith(KNOWN), reason="this Ray keeps its helpers"),
]
FUNCTIONS = [
    (stats, "get_or_create_stats_actor"),
    (streaming_executor, "create_cluster_autoscaler"),
    (actor_pool_map_operator, "get_or_create_actor_location_tracker"),
    (actor_pool_map_operator, "get_actor_locations"),
]


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("each", [8, 1], ids=["batches", "whole shards"])
def test_a_pass_runs_without_processes_that_serve_a_cluster(
    pool: Path, each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.plan.cluster.SHARDS_EACH", each)
    made = parse(
        {
            "pool": {"shards": f"{pool}/pool/*.tar", "store": str(pool / f"helpers{each}")},
            "compute": {"digest": {"use": "duplicates.ImageDigest"}},
        }
    )
    run_on_ray(made)
    actors = {actor["ActorClassName"] for actor in ray._private.state.actors().values()}
    assert any("MapWorker" in name for name in actors)
    helpers = {"_StatsActor", "_AutoscalingCoordinatorActor", "ActorLocationTracker"}
    assert helpers.isdisjoint(actors)
    commands = [" ".join(_command(child)) for child in psutil.Process().children(recursive=True)]
    assert any("gcs_server" in command for command in commands)
    for name in ("monitor.py", "log_monitor.py", "dashboard.py"):
        assert not any(name in command for command in commands)


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


@pytest.mark.usefixtures("local_ray")
def test_outside_of_a_pass_and_on_a_cluster_ray_data_is_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    before = [getattr(module, name) for module, name in FUNCTIONS]
    with few_helpers():
        assert all(getattr(m, n) is not old for (m, n), old in zip(FUNCTIONS, before, strict=True))
    assert [getattr(module, name) for module, name in FUNCTIONS] == before
    monkeypatch.setattr(one_machine, "_SMALL", set())  # as if another had started Ray
    with few_helpers():
        assert [getattr(module, name) for module, name in FUNCTIONS] == before


@pytest.mark.usefixtures("local_ray")
def test_other_versions_of_ray_keep_their_helpers(monkeypatch: pytest.MonkeyPatch) -> None:
    node = ray._private.node.Node
    before = [getattr(node, name) for name in ("start_monitor", "start_log_monitor", "start_api_server")]
    monkeypatch.setattr(one_machine, "_SMALL", set())
    for version, small in (("2.61.0", False), ("2.60.0", True)):
        monkeypatch.setattr(ray, "__version__", version)
        with small_head():
            now = [getattr(node, name) for name in ("start_monitor", "start_log_monitor", "start_api_server")]
            assert (now != before) == small
        assert bool(one_machine._SMALL) == small


def test_nobody_takes_any_call_and_travels() -> None:
    other = pickle.loads(pickle.dumps(Nobody()))
    assert other.update_actor_location.remote("a", node="b") is None


@pytest.mark.usefixtures("local_ray")
def test_ray_speaks_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    data = {"lines": [f"A worker died {os.urandom(8).hex()}"], "pid": "raylet", "is_err": False}
    ray._private.worker.print_to_stdstream(data, ignore_prefix=False)
    out, err = capsys.readouterr()
    assert out == ""
    assert "A worker died" in err

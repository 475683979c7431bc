"""A Group's pass on Ray whose driver is killed by SIGKILL in the midst of it, again and again: the bytes of
the plain loop. Ray dies with the driver that started it; a cluster lives on, with the tasks that were
running."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import pytest
import yaml

from tests.pipeline.run.groups.test_meet import GROUPS, LITTLE, MEETING, write_pool
from tests.support.folders import tree
from tests.support.paths import ROOT
from tests.support.ray_nodes import STARTS, nodes
from tests.support.sizes import either, only_full

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore")]  # warnings of Ray

KILLS = either(1, 10)  # of each way
IN_A_SERIES = 3  # kills at most, before a run to the end
LONGEST = (
    180.0  # seconds until a run that is to be killed has come so far; a busy machine takes most of a minute
)
ASIDE = ("runs", "footers", "store.json")


def write_recipe(folder: Path) -> str:
    """A recipe whose Groups have several runs of shards and partitions each."""
    recipe = {
        "plugins": [MEETING],
        "pool": {"shards": f"{folder}/pool", "store": f"{folder}/store"},
        "compute": {**GROUPS, "copies": {"use": "duplicates.Exact", "key": ["text", "url"]}},
        "run": {name: {"memory": 100 * LITTLE} for name in ("place", "size", "both", "shared", "copies")},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return str(path)


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "jobs", "compute", *words]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool, `first`: its store before the Groups, and `expected`: its store in the end."""
    folder = tmp_path_factory.mktemp("kills")
    texts = [None if number % 50 == 0 else f"{number % 37} {number % 11}" for number in range(1200)]
    write_pool(folder / "pool", texts, 6)
    recipe = write_recipe(folder)
    for name, words in (("first", ("words",)), ("expected", ())):
        subprocess.run(command(recipe, *words, "--local"), check=True, cwd=ROOT, capture_output=True)
        shutil.copytree(folder / "store", folder / name)
    return folder


def written(store: Path) -> set[str]:
    """Every file of the store that Groups' passes have written, to be read once or for good."""
    paths = (*store.glob("groups/**/*.parquet"), *store.glob("columns/**/*.parquet"))
    return {str(path) for path in paths}


def killed(words: list[str], environment: Mapping[str, str], store: Path, rng: random.Random) -> bool:
    """Start a run and kill it when it has written a few files more; whether it was still running."""
    before = written(store)
    process = subprocess.Popen(
        words, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    until, more = time.monotonic() + LONGEST, rng.randint(1, 30)
    while process.poll() is None and time.monotonic() < until and len(written(store) - before) < more:
        time.sleep(0.005)
    time.sleep(rng.uniform(0, 0.1))
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def finish(words: list[str], environment: Mapping[str, str]) -> None:
    """Run to the end; a busy machine may be too slow for Ray to start."""
    for _ in range(STARTS):
        done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
        if "Ray cannot be started" not in done.stderr:
            break
    assert done.returncode == 0, done.stderr


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "lasts",
    [
        pytest.param(False, id="Ray dies, too", marks=only_full),  # in test_resume as well
        pytest.param(True, id="the cluster lives on"),
    ],
)
def test_a_driver_that_is_killed_in_a_group_s_pass(folder: Path, lasts: bool) -> None:
    rng, hits, kills = random.Random(18 + lasts), 0, 0
    store, words = folder / "store", command(str(folder / "recipe.yaml"))
    with nodes([{"num_cpus": 2}]) if lasts else nullcontext():
        environment = {**os.environ}
        while kills < KILLS:
            shutil.rmtree(store)
            shutil.copytree(folder / "first", store)
            for _ in range(min(rng.randint(1, IN_A_SERIES), KILLS - kills)):
                hits += killed(words, environment, store, rng)
                kills += 1
            finish(words, environment)
            assert differing(folder) == []
            assert not [*(store / "groups").rglob("*.parquet")]
            print(f"{kills} kills, {hits} of a running pass", flush=True)
    assert hits >= either(1, 8), f"only {hits} kills met a running pass"


def differing(folder: Path) -> list[str]:
    """The files of the store that are not as they should be."""
    found, expected = (tree(folder / name, without=ASIDE) for name in ("store", "expected"))
    return [name for name in sorted({*found, *expected}) if found.get(name) != expected.get(name)]

"""Killed at any moment and started again: the bytes of an undisturbed run, and nothing done twice."""

import json
import random
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from jobs.toy.sample_pool import make_pool
from pipeline.storage.disk import is_temporary
from tests.support.killable_run import command, killed, outputs, write_recipe
from tests.support.paths import ROOT
from tests.support.sizes import either
from tests.support.warm import Warm


def published(folder: Path) -> dict[str, int]:
    """Published files that no later step replaces, with their times of writing. Of the exported ones, those
    that the manifest notes: what was written since it was saved last is written again after a kill."""
    files = (p for p in (folder / "store").rglob("*.parquet") if not is_temporary(p.name))
    manifest = folder / "shards" / "_winnow.json"
    noted = json.loads(manifest.read_bytes()).get("contents", {}) if manifest.exists() else {}
    tars = (p for p in (folder / "shards").glob("*_stats.json") if p.name in noted)
    return {
        str(p.relative_to(folder)): p.stat().st_mtime_ns
        for p in (*files, *tars)
        if "decisions" not in p.parts
    }


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pool")
    make_pool(folder, shards=12, per_shard=50, seed=3, image_size=32)
    return folder


@pytest.fixture(scope="module")
def undisturbed(pool: Path, warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed")
    done = warm.winnow("run", write_recipe(folder, pool), "--local")
    assert done.returncode == 0, done.stderr
    return outputs(folder)


def kill_often(
    folder: Path,
    killed: Callable[[float], bool],
    finish: Callable[[], CompletedProcess[str]],
    waits: list[float],
) -> int:
    """Start, SIGKILL after each of some `waits`, start again; then let it finish. Returns how often it was
    still running when killed. Asserts that no published file was ever written again."""
    seen, hit = published(folder), 0
    for wait in waits:
        hit += killed(wait)
        now = published(folder)
        assert {name: now.get(name) for name in seen} == seen, "a finished file was written again"
        seen = now
    done = finish()
    assert done.returncode == 0, done.stderr
    now = published(folder)
    assert {name: now.get(name) for name in seen} == seen, "a finished file was written again"
    return hit


def draw(seed: int, kills: int, shortest: float, longest: float) -> list[float]:
    """Seconds from each start to the kill."""
    rng = random.Random(seed)
    return [rng.uniform(shortest, longest) for _ in range(kills)]


def test_killed_in_compute_keep_and_export(
    pool: Path, warm: Warm, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    recipe = str(write_recipe(tmp_path, pool))

    def often(words: tuple[str, ...], waits: list[float]) -> int:
        def killed_fork(wait: float) -> bool:
            run = warm.start(*words)
            time.sleep(wait)
            run.kill()
            return run.wait().returncode == -signal.SIGKILL

        return kill_often(tmp_path, killed_fork, lambda: warm.winnow(*words), waits)

    hits = often(("compute", recipe, "--local"), draw(0, either(5, 20), 0, 0.9))
    hits += often(("keep", recipe), draw(1, either(2, 10), 0, 0.4))
    hits += often(("export", recipe, "--local"), draw(2, either(4, 14), 0, 0.8))
    made = outputs(tmp_path)
    assert made.keys() == undisturbed.keys()
    assert [name for name in made if made[name] != undisturbed[name]] == []
    assert hits >= either(5, 15), f"only {hits} kills met a running process"


@pytest.mark.ray
def test_killed_on_ray(pool: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    words = command("run", str(write_recipe(tmp_path, pool)))
    kills = either(1, 6)

    def finish() -> CompletedProcess[str]:
        return subprocess.run(words, cwd=ROOT, capture_output=True, text=True)

    hits = kill_often(tmp_path, partial(killed, words), finish, draw(3, kills, 0.7, 20.0))
    assert outputs(tmp_path) == undisturbed
    assert hits == kills

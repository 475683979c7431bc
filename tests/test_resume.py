"""Killed at any moment and started again: the bytes of an undisturbed run, and nothing done twice."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs.toy.sample_pool import make_pool
from pipeline.storage.disk import is_temporary
from tests.support.killable_run import outputs, write_recipe
from tests.support.paths import ROOT
from tests.support.sizes import either


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


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "jobs", *words]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pool")
    make_pool(folder, shards=12, per_shard=50, seed=3, image_size=32)
    return folder


@pytest.fixture(scope="module")
def undisturbed(pool: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed")
    recipe = write_recipe(folder, pool)
    subprocess.run(command("run", str(recipe), "--local"), check=True, cwd=ROOT, capture_output=True)
    return outputs(folder)


def kill_often(folder: Path, words: list[str], kills: int, longest: float, seed: int) -> int:
    """Start, SIGKILL at a random moment, start again, `kills` times; then let it finish. Returns how often
    it was still running when killed. Asserts that no published file was ever written again."""
    rng, seen, hit = random.Random(seed), published(folder), 0
    for _ in range(kills):
        process = subprocess.Popen(
            command(*words),
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(rng.uniform(0.7, longest))
        hit += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        now = published(folder)
        assert {name: now.get(name) for name in seen} == seen, "a finished file was written again"
        seen = now
    done = subprocess.run(command(*words), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    now = published(folder)
    assert {name: now.get(name) for name in seen} == seen, "a finished file was written again"
    return hit


def test_killed_in_compute_keep_and_export(pool: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    recipe = str(write_recipe(tmp_path, pool))
    hits = kill_often(tmp_path, ["compute", recipe, "--local"], kills=either(5, 20), longest=1.6, seed=0)
    hits += kill_often(tmp_path, ["keep", recipe], kills=either(2, 10), longest=1.5, seed=1)
    hits += kill_often(tmp_path, ["export", recipe, "--local"], kills=either(4, 14), longest=2.5, seed=2)
    made = outputs(tmp_path)
    assert made.keys() == undisturbed.keys()
    assert [name for name in made if made[name] != undisturbed[name]] == []
    assert hits >= either(5, 15), f"only {hits} kills met a running process"


@pytest.mark.ray
def test_killed_on_ray(pool: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    recipe = str(write_recipe(tmp_path, pool))
    kills = either(1, 6)
    hits = kill_often(tmp_path, ["run", recipe], kills, longest=20.0, seed=3)
    assert outputs(tmp_path) == undisturbed
    assert hits == kills

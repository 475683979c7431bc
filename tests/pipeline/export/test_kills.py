"""Exports that are killed at random moments, by SIGKILL: the earlier one is whole or the manifest says that
it is not, and the next run ends with the bytes of one that was never killed."""

import json
import random
import shutil
import time
from pathlib import Path

import pytest

from jobs import steps
from pipeline.plan.session import Session
from pipeline.run.executor import LocalExecutor
from tests.support.begun_process import begun_process
from tests.support.decided_pool import decided, ordinary, recipe
from tests.support.folders import contents
from tests.support.sizes import either

RULES = {"a": 3, "b": 17, "c": 1}  # caption.characters, at least
MANIFESTS = {"shards": "_winnow.json", "urls": "_winnow.json", "index": "image.json"}


def export_of(folder: Path) -> dict:
    """Every kind of export, in a folder."""
    index = {"embedding": "vector.embedding", "path": f"{folder}/index"}
    names = {"shards": "shards", "urls": "urls", "table": "kept.parquet", "subset": "subset.npy"}
    return {**{k: f"{folder}/{name}" for k, name in names.items()}, "index": index, "samples_per_shard": 2}


def session_of(root: Path, letter: str, folder: Path) -> Session:
    """The session of one rule whose exports go to a folder."""
    more = {"keep": {"caption.characters": {"min": RULES[letter]}}}
    return Session.open(recipe(root, export_of(folder), **more))


def write(root: Path, letter: str, folder: Path) -> None:
    """Export one decision; in a process of its own, which says when it begins."""
    (root / "begun").touch()
    steps.write_exports(session_of(root, letter, folder), LocalExecutor())


@pytest.fixture
def expected(tmp_path) -> dict[str, dict[str, bytes]]:
    """The bytes of each export that was never disturbed."""
    ordinary(tmp_path / "pool", (9, 0, 12))
    found = {}
    for letter, least in RULES.items():
        folder = tmp_path / "fresh"
        session = decided(tmp_path, export_of(folder), keep={"caption.characters": {"min": least}})
        steps.write_exports(session, LocalExecutor())
        found[letter] = contents(folder)
        shutil.rmtree(folder)
    return found


def check(folder: Path, expected: dict[str, dict[str, bytes]]) -> int:
    """Whatever the folder says is complete is that, byte for byte; returns how many exports say so."""
    complete = 0
    for name, manifest in MANIFESTS.items():
        path = folder / name / manifest
        if path.exists() and (about := json.loads(path.read_bytes()))["complete"]:
            complete += 1
            (letter,) = [
                k for k, files in expected.items() if files[f"{name}/{manifest}"] == path.read_bytes()
            ]
            whole = {n: data for n, data in expected[letter].items() if n.startswith(f"{name}/")}
            assert {n: (folder / n).read_bytes() for n in whole} == whole, about
    for name in ("kept.parquet", "subset.npy"):
        if (folder / name).exists():
            assert (folder / name).read_bytes() in [files[name] for files in expected.values()]
    return complete


def test_killed_at_random_moments(tmp_path, expected):
    rng, folder, killed, seen = random.Random(5), tmp_path / "out", 0, 0
    process = begun_process(write, tmp_path, "a", folder)
    begun = time.monotonic()
    process.join()
    longest = (time.monotonic() - begun) * 1.1
    assert contents(folder) == expected["a"]
    for _ in range(either(3, 100)):
        letter = rng.choice("abc")
        process = begun_process(write, tmp_path, letter, folder)
        process.join(rng.uniform(0, longest))
        if process.exitcode is None:
            process.kill()
            process.join()
            killed += 1
        seen += check(folder, expected)
        if rng.random() < 0.2:
            process = begun_process(write, tmp_path, letter, folder)
            process.join()
            assert process.exitcode == 0
            assert contents(folder) == expected[letter]
    begun_process(write, tmp_path, "b", folder).join()
    assert contents(folder) == expected["b"]
    assert killed >= either(1, 40)
    assert seen > 0

"""Building an index in parts, killed by SIGKILL at random moments, on the loop and on Ray: the bytes in the
end are those of a build that was never killed, and an earlier index stays until the new one is whole."""

import json
import random
import shutil
import time
from pathlib import Path

import pytest

from pipeline.export.indexes.index_exporter import write_index
from pipeline.plan import index_choice
from pipeline.plan.session import Session
from pipeline.run.executor import Executor, LocalExecutor
from tests.support.begun_process import begun_process
from tests.support.decided_pool import decided, ordinary, recipe
from tests.support.folders import contents
from tests.support.sizes import either, only_full

FACTORIES = {"a": "IVF4,Flat", "b": "IVF2,SQ8", "c": "Flat"}
SHARDS = (9, 0, 12, 9, 12, 15)


def export_of(root: Path, letter: str, out: str = "out") -> dict:
    """One of several indexes, all at one path; the last is left in parts."""
    memory = 1e-9 if letter == "c" else 32
    index = {"path": str(root / out), "factory": FACTORIES[letter], "memory": memory, "grow": True}
    return {"index": {"embedding": "vector.embedding", **index}}


def write(root: Path, letter: str, on_ray: bool) -> None:
    """Build one index in parts of a shard; in a process of its own, which says when it begins."""
    index_choice.PART_BYTES, index_choice.HEADS = 1, 0
    executor: Executor = LocalExecutor()
    if on_ray:
        from pipeline.run.on_ray import RayExecutor

        executor = RayExecutor()
    (root / "begun").touch()
    write_index(Session.open(recipe(root, export_of(root, letter))), executor)


@pytest.fixture
def expected(tmp_path, small_parts) -> dict[str, dict[str, bytes]]:
    """The bytes of each index that was never disturbed."""
    ordinary(tmp_path / "pool", SHARDS)
    found = {}
    for letter in FACTORIES:
        write_index(decided(tmp_path, export_of(tmp_path, letter, "new")))
        found[letter] = contents(tmp_path / "new")
        shutil.rmtree(tmp_path / "new")
    return found


def kill_often(root: Path, expected: dict[str, dict[str, bytes]], kills: int, on_ray: bool) -> None:
    """Kill builds of changing indexes, and let one end now and then."""
    rng, out, killed = random.Random(7), root / "out", 0
    process = begun_process(write, root, "a", on_ray)
    begun = time.monotonic()
    process.join()
    longest = time.monotonic() - begun
    assert contents(out) == expected["a"]
    while killed < kills:
        letter = rng.choice("abc")
        process = begun_process(write, root, letter, on_ray)
        process.join(rng.uniform(0, longest))
        if process.exitcode is None:
            process.kill()
            killed += 1
        process.join()
        path = out / "image.json"
        if path.exists() and json.loads(path.read_bytes())["complete"]:
            [whole] = [files for files in expected.values() if files["image.json"] == path.read_bytes()]
            assert {name: (out / name).read_bytes() for name in whole} == whole
        if rng.random() < 0.3:
            process = begun_process(write, root, letter, on_ray)
            process.join()
            assert process.exitcode == 0
            assert contents(out) == expected[letter]
    for letter in FACTORIES:
        begun_process(write, root, letter, on_ray).join()
        assert contents(out) == expected[letter]


def test_killed_on_the_loop(tmp_path, expected):
    kill_often(tmp_path, expected, either(3, 20), False)


@pytest.mark.parametrize("letter", "bc")
def test_killed_while_it_grows(tmp_path, small_parts, letter):
    """In one file and in parts: the bytes in the end are those of an index that grew undisturbed."""
    rng, out = random.Random(ord(letter)), tmp_path / "out"
    ordinary(tmp_path / "pool", SHARDS[:4])
    write_index(decided(tmp_path, export_of(tmp_path, letter)))
    shutil.copytree(out, tmp_path / "base")
    ordinary(tmp_path / "pool", SHARDS)
    begun = time.monotonic()
    assert write_index(decided(tmp_path, export_of(tmp_path, letter))).added == 18
    longest = time.monotonic() - begun
    both = [contents(tmp_path / "base"), contents(out)]
    for _ in range(either(2, 20)):
        shutil.rmtree(out)
        shutil.copytree(tmp_path / "base", out)
        process = begun_process(write, tmp_path, letter, False)
        process.join(rng.uniform(0, longest))
        process.kill()
        process.join()
        if json.loads((out / "image.json").read_bytes())["complete"]:
            [whole] = [files for files in both if files["image.json"] == (out / "image.json").read_bytes()]
            assert {name: (out / name).read_bytes() for name in whole} == whole
        process = begun_process(write, tmp_path, letter, False)
        process.join()
        assert process.exitcode == 0
        assert contents(out) == both[1]


@only_full  # tests/pipeline/run kills drivers of a cluster that lives on, too
@pytest.mark.ray
def test_killed_on_two_nodes_of_ray(tmp_path, expected):
    from tests.support.ray_nodes import nodes

    with nodes(({"num_cpus": 2}, {"num_cpus": 2})):
        kill_often(tmp_path, expected, 20, True)


@pytest.mark.usefixtures("local_ray")
def test_ray_equals_the_loop_to_the_byte(tmp_path, expected):
    from pipeline.run.on_ray import RayExecutor

    for letter in FACTORIES:
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        result = write_index(decided(tmp_path, export_of(tmp_path, letter)), RayExecutor())
        assert contents(tmp_path / "out") == expected[letter]
        assert result.parts == (5 if letter == "c" else 0)


@pytest.mark.usefixtures("local_ray")
def test_an_index_grows_on_ray_as_on_the_loop(tmp_path, small_parts):
    from pipeline.run.on_ray import RayExecutor

    ordinary(tmp_path / "pool", SHARDS[:4])
    for letter in "bc":
        write_index(decided(tmp_path, export_of(tmp_path, letter, letter)))
        shutil.copytree(tmp_path / letter, tmp_path / f"{letter}-ray")
    ordinary(tmp_path / "pool", SHARDS)
    for letter in "bc":
        write_index(decided(tmp_path, export_of(tmp_path, letter, letter)))
        result = write_index(decided(tmp_path, export_of(tmp_path, letter, f"{letter}-ray")), RayExecutor())
        assert result.added == 18
        assert contents(tmp_path / f"{letter}-ray") == contents(tmp_path / letter)

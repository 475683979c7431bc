"""What `winnow export` says of an index when its pool grew."""

import json

import pytest

from tests.support.command import winnow
from tests.support.growing_pool import write_shard
from tests.support.paths import PLUGINS


@pytest.fixture
def recipe(tmp_path):
    """A Flat index, and one that is trained; 8 samples are kept."""
    write_shard(tmp_path / "pool", 1, 12)
    index = {"embedding": "vector.embedding", "factory": "Flat"}
    value = {
        "pool": {"shards": f"{tmp_path}/pool", "store": f"{tmp_path}/store"},
        "plugins": [str(PLUGINS)],
        "compute": {"caption": {"use": "caption.Caption"}, "vector": {"use": "vectors.Vector"}},
        "keep": {"caption.characters": {"min": 3}},
        "export": {
            "indexes": {
                "a": {**index, "path": f"{tmp_path}/a"},
                "b": {**index, "path": f"{tmp_path}/b", "factory": "IVF2,Flat"},
            }
        },
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(value))
    return path


@pytest.mark.parametrize("verbose", [False, True])
def test_one_line_for_each_index(tmp_path, recipe, verbose):
    assert "indexes" not in winnow("run", recipe, "--local").stderr
    write_shard(tmp_path / "pool", 5, 12)
    assert winnow("compute", recipe, "--local").returncode == 0
    done = winnow("export", recipe, "--local", *(["--verbose"] if verbose else []))
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/a\n{tmp_path}/b\n")
    assert [line for line in done.stderr.splitlines() if line.startswith("export.indexes")] == [
        f"export.indexes.a: {tmp_path}/a adds 1 shard, 8 rows to 8",
        f"export.indexes.b: {tmp_path}/b is built anew: IVF2,Flat was trained for 8 rows; `grow: true` would keep "
        "that, and add 8 rows to its 8",
    ]
    assert done.stderr.count("adds 1 shard") == 1
    again = winnow("export", recipe, "--local", "--json")
    assert [(r["written"], r["added"]) for r in json.loads(again.stdout).values()] == [(False, None)] * 2
    assert "export.indexes" not in again.stderr

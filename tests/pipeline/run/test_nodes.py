"""Clusters of 1, 2 and 4 nodes, some with pretended GPUs, write the bytes of the plain loop, exports too."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from jobs import steps
from jobs.toy.sample_pool import make_pool
from pipeline.plan.session import Session
from pipeline.recipe.load import load
from tests.support.killable_run import outputs, write_recipe
from tests.support.ray_nodes import Shape, nodes
from tests.support.sizes import only_full

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore")]  # warnings of Ray

CLUSTERS: dict[str, Shape] = {
    "1 node": [{"num_cpus": 2, "num_gpus": 1}],
    "2 nodes": [{"num_cpus": 1}, {"num_cpus": 1, "num_gpus": 2}],
    "4 nodes": [{"num_cpus": 0}, {"num_cpus": 1}, {"num_cpus": 1}, {"num_cpus": 1, "num_gpus": 1}],
}


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nodes")
    make_pool(folder, shards=4, per_shard=40, seed=6, image_size=32)
    return folder


def run_in(folder: Path, pool: Path, local: bool) -> dict[str, bytes]:
    """Compute, decide and export into a folder; returns its files. On a cluster a GPU stage reads the
    pictures."""
    folder.mkdir()
    path = write_recipe(folder, pool)
    recipe = yaml.safe_load(path.read_text())
    recipe["compute"]["slow"]["seconds"] = 0
    recipe["run"] = (
        {} if local else {"embedding": {"gpus": 1}}
    )  # it runs on CPU anyway: the test is about placement
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    steps.run_all(Session.open(load(str(path))), local, quiet=True)
    return outputs(folder)


@pytest.fixture(scope="module")
def expected(pool: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, bytes]]:
    """The files of the plain loop."""
    return run_in(tmp_path_factory.mktemp("plain") / "run", pool, local=True)


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param(shape, id=name, marks=[] if name == "2 nodes" else only_full)
        for name, shape in CLUSTERS.items()
    ],
)
def test_same_bytes(shape: Shape, pool: Path, expected: dict[str, bytes], tmp_path: Path) -> None:
    with nodes(shape):
        made = run_in(tmp_path / "run", pool, local=False)
    assert made.keys() == expected.keys()
    assert [name for name in made if made[name] != expected[name]] == []
    kinds = {name.split("/")[0] for name in made}
    assert kinds == {"store", "shards", "index", "subset.npy", "subset.npy.winnow.json"}
    assert {"samples", "columns", "stats", "decisions"} <= {
        name.split("/")[1] for name in made if name.startswith("store/")
    }

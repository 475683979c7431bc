"""Faults on a cluster of three nodes: in the end every byte is that of an undisturbed run.

At most one resubmission is allowed. These are the quickest faults; benchmarks/bench_faults.py tries every
kind in both phases.
"""

import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from jobs.toy.sample_pool import make_pool
from tests.support.cluster_faults import Bed, cluster, try_fault, undisturbed
from tests.support.sizes import only_full

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore")]  # warnings of Ray


POOLS = {  # three workers: batches flow from readers to them, or they take whole shards
    "batches": {"shards": 12, "per_shard": 50},
    "whole shards": {"shards": 24, "per_shard": 25},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def expected(folder: Path) -> Callable[[str], tuple[Path, dict[str, bytes]]]:
    """A pool by its name, and what the plain loop writes of it."""

    @cache
    def made(name: str) -> tuple[Path, dict[str, bytes]]:
        pool = folder / name.replace(" ", "") / "pool"
        make_pool(pool, **POOLS[name], seed=3, image_size=32)
        return pool, undisturbed(pool.parent / "plain", pool)

    return made


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    with cluster("any") as started:
        yield started


@pytest.mark.parametrize(
    ("fault", "phase", "name"),
    [
        pytest.param("collector killed", "compute", "batches", marks=only_full),  # test_on_ray_failures, too
        pytest.param("driver killed", "compute", "batches", marks=only_full),  # test_resume kills the driver
        pytest.param("worker killed", "compute", "whole shards", marks=only_full),
        pytest.param("node killed", "compute", "batches", marks=only_full),
        ("worker killed", "export", "whole shards"),
        ("node killed", "compute", "whole shards"),
    ],
)
def test_same_bytes(
    fault: str,
    phase: str,
    name: str,
    expected: Callable[[str], tuple[Path, dict[str, bytes]]],
    nodes: Cluster,
    tmp_path: Path,
) -> None:
    pool, files = expected(name)
    run = pool.parent / tmp_path.name  # beside `plain`: a store knows where its pool is from there
    if phase == "export":  # the plain loop's store, so that nothing is left to compute
        shutil.copytree(pool.parent / "plain" / "store", run / "store")
    done = try_fault(fault, phase, 0, Bed(pool, run, nodes), files)
    assert done.struck, "the command had ended before the fault came"
    assert done.equal, done.note
    assert done.codes[-1] == 0
    assert len(done.codes) <= 2

"""Faults on a cluster of three nodes: in the end every byte is that of an undisturbed run.

At most one resubmission is allowed. These are the quickest faults; benchmarks/bench_faults.py tries every
kind in both phases.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from jobs.toy.sample_pool import make_pool
from tests.support.cluster_faults import Bed, cluster, try_fault, undisturbed
from tests.support.sizes import only_full

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore")]  # warnings of Ray


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults") / "pool"
    make_pool(folder, shards=12, per_shard=50, seed=3, image_size=32)
    return folder


@pytest.fixture(scope="module")
def expected(pool: Path) -> dict[str, bytes]:
    return undisturbed(pool.parent / "plain", pool)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    with cluster("any") as started:
        yield started


@pytest.mark.parametrize(
    ("fault", "phase"),
    [
        pytest.param("collector killed", "compute", marks=only_full),  # test_on_ray_failures kills one too
        pytest.param("driver killed", "compute", marks=only_full),  # test_resume kills the driver too
        ("worker killed", "export"),
        ("node killed", "compute"),
    ],
)
def test_same_bytes(
    fault: str, phase: str, pool: Path, expected: dict[str, bytes], nodes: Cluster, tmp_path: Path
) -> None:
    folder = pool.parent / tmp_path.name  # beside `plain`: a store knows where its pool is from there
    if phase == "export":  # the plain loop's store, so that nothing is left to compute
        shutil.copytree(pool.parent / "plain" / "store", folder / "store")
    done = try_fault(fault, phase, 0, Bed(pool, folder, nodes), expected)
    assert done.struck, "the command had ended before the fault came"
    assert done.equal, done.note
    assert done.codes[-1] == 0
    assert len(done.codes) <= 2

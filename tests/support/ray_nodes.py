"""Ray on this machine, for tests: in this process, or as a cluster of several nodes. Each node of a cluster
has its own raylet, object store and workers, as on so many machines; CPUs and GPUs are as many as it says it
has."""

import gc
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import ray
from ray.cluster_utils import Cluster

from pipeline.run.on_ray import RayExecutor

Shape = Sequence[Mapping[str, Any]]  # a node each, the head first: num_cpus, num_gpus, ...
BUSY = {  # of a machine that does other things as well
    "RAY_worker_niceness": "0",  # 15 unless told: starved by whatever else runs
    "RAY_worker_register_timeout_seconds": "300",  # else Ray starts ever more where the first ones are slow
}
STARTS = 5  # attempts
STORE_BYTES = 100 << 20  # of a node's object store: enough for a pool of small pictures


def start_local() -> None:
    """Start Ray in this process, unless it runs already."""
    with mock.patch.dict(os.environ, BUSY):
        RayExecutor(cpus=4, gpus=1)


def shut_down() -> None:
    """End Ray in this process. Ray numbers the actors of each session alike, so a handle that is collected in
    the next session would end an actor of that one: collect them all first."""
    gc.collect()
    ray.shutdown()


def add(cluster: Cluster, node: Mapping[str, Any]) -> None:
    """Add a node; Ray waits 30 seconds for it, which a busy machine may exceed."""
    for attempt in range(STARTS):
        try:
            cluster.add_node(**node)
            return
        except Exception as error:
            if "timed out during startup" not in str(error) or attempt + 1 == STARTS:
                raise


@contextmanager
def nodes(shape: Shape) -> Iterator[Cluster]:
    """A cluster that `RayExecutor`, here and in child processes, takes for the one of its job."""
    shut_down()  # the tests' own Ray: two on two cores starve each other
    cluster = Cluster()
    try:
        with mock.patch.dict(os.environ, BUSY):
            for node in shape:
                add(cluster, {"object_store_memory": STORE_BYTES, "include_dashboard": False, **node})
        with mock.patch.dict(os.environ, {"RAY_ADDRESS": cluster.address}):
            yield cluster
    finally:
        shut_down()
        cluster.shutdown()

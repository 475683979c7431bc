"""Worker pools that fit a cluster, or an error before anything starts; the tasks that read; paths on a
cluster."""

import pytest

from pipeline.errors import RecipeError
from pipeline.plan.cluster import (
    MOST_TASKS,
    Node,
    Placement,
    block_bytes,
    check_paths,
    place,
    read_tasks,
    shard_workers,
)
from pipeline.plan.passes import Stage
from pipeline.pool.shards import Shard
from pipeline.recipe.load import parse
from pipeline.recipe.sections import Resources


def test_place_fits_two_cpus() -> None:
    """A laptop: two CPU stages and the readers share two CPUs."""
    stages = [Stage(("a",), Resources()), Stage(("b",), Resources(batch_size=32))]
    placed = place(stages, [Node(2, 0)], 100)
    assert [p.workers for p in placed] == [1, 1]
    assert sum(p.workers * p.cpus for p in placed) == pytest.approx(1.5)


def test_place_gives_each_gpu_a_worker_and_it_the_cpus() -> None:
    placed = place([Stage(("clip",), Resources(gpus=1))], [Node(16, 4), Node(16, 4)], 100)[0]
    assert (placed.workers, placed.gpus, placed.cpus, placed.threads) == (8, 1, 3.0, 4)


def test_place_reserves_no_more_cpus_than_stand_beside_a_gpu() -> None:
    """256 CPUs elsewhere do not help a GPU machine of 8."""
    placed = place([Stage(("clip",), Resources(gpus=1))], [Node(256, 0), Node(8, 2)], 100)[0]
    assert (placed.workers, placed.cpus, placed.threads) == (2, 3.0, 4)


def test_place_puts_no_worker_where_no_machine_is_large_enough() -> None:
    """Sixteen CPUs in machines of two: one worker cannot have twelve."""
    nodes = [Node(0, 0), *[Node(2, 0)] * 8]
    assert place([Stage(("clip",), Resources(workers=1))], nodes, 100)[0].cpus == 1.5
    with pytest.raises(RecipeError, match=r"run.clip.cpus asks for 4, the largest machine .* has 2"):
        place([Stage(("clip",), Resources(cpus=4))], nodes, 100)


def test_place_leaves_room_for_the_gpu_stage_in_whatever_order() -> None:
    """Ray may start the CPU stage's workers first, and on the GPU machine too."""
    nodes = [Node(0, 0), Node(2, 0), Node(2, 0), Node(2, 1)]
    text, clip = place([Stage(("text",), Resources()), Stage(("clip",), Resources(gpus=1))], nodes, 100)
    assert (text.workers, text.cpus) == (3, 0.75)
    assert clip.cpus <= 2 - text.workers * text.cpus or clip.cpus == 0


def test_place_counts_gpus_by_machine() -> None:
    """With 0.4 of a GPU each, a GPU holds two workers; a worker with two GPUs needs a machine that has
    two."""
    nodes = [Node(8, 1), Node(8, 1)]
    assert place([Stage(("clip",), Resources(gpus=0.4))], nodes, 100)[0].workers == 4
    with pytest.raises(RecipeError, match=r"run.clip.gpus asks for 2, the largest machine has 1"):
        place([Stage(("clip",), Resources(gpus=2))], nodes, 100)


def test_small_shards_share_a_task() -> None:
    def shards(count: int, size: int | None) -> list[Shard]:
        return [Shard(f"{number}", f"{number}.tar", size) for number in range(count)]

    assert read_tasks(shards(3, 100), 4) == 3
    assert read_tasks(shards(10_000, 20_000), 4) == 32
    assert read_tasks(shards(1000, 64 << 20), 4) == 1000
    assert read_tasks(shards(1000, 16 << 20), 4) == 250
    assert read_tasks(shards(1000, None), 4) == 1000
    assert read_tasks(shards(100_000, 300 << 20), 400) == MOST_TASKS


def test_a_gpu_takes_several_batches_at_a_time_of_a_large_pool() -> None:
    gpu, cpu = Placement(2, 1, 1, 4), Placement(2, 1, 0, 1)
    shards = [Shard(f"{number}", f"{number}.tar", 64 << 20) for number in range(100)]
    assert block_bytes(shards, [gpu]) == 16 << 20
    assert block_bytes(shards[:2], [gpu]) == 4 << 20
    assert block_bytes(shards[:1], [Placement(400, 1, 1, 4)]) == 1 << 20
    assert block_bytes(shards, [cpu]) == block_bytes(shards, [gpu, cpu]) == 1 << 20


def test_workers_take_whole_shards_if_there_are_eight_for_each() -> None:
    two = [Placement(2, 0.75, 0, 1)]
    assert shard_workers(two, [Node(2, 0)], 16) == two[0]
    assert shard_workers(two, [Node(2, 0)], 15) is None
    assert shard_workers([*two, *two], [Node(4, 0)], 1000) is None  # stages of their own
    assert shard_workers([Placement(1, 0.75, 1, 2)], [Node(2, 1)], 1000) is None
    assert shard_workers([], [Node(2, 0), Node(1, 0)], 24) == Placement(3, 0.75, 0, 1)


def test_place_takes_machines_that_have_the_memory() -> None:
    nodes = [Node(8, 0, 16), Node(8, 0, 64), Node(8, 0, 100)]
    placed = place([Stage(("clip",), Resources(memory=30))], nodes, 100)[0]
    assert (placed.workers, placed.memory) == (5, 30)
    with pytest.raises(RecipeError, match=r"run.clip.memory asks for 200, the largest machine has 100 GiB"):
        place([Stage(("clip",), Resources(memory=200))], nodes, 100)
    with pytest.raises(RecipeError, match=r"run.clip: no machine has both 1 GPUs and 30 GiB"):
        place([Stage(("clip",), Resources(gpus=1, memory=30))], [*nodes, Node(4, 1, 16)], 100)


def test_place_starts_no_worker_without_a_batch() -> None:
    assert place([Stage(("clip",), Resources())], [Node(64, 0)], 3)[0].workers == 3


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        (Resources(gpus=1), "run.clip.gpus asks for 1, the cluster has 0"),
        (Resources(workers=8, cpus=1), "the pools need 8.25 CPUs"),
        (Resources(workers=2, cpus=1), "the pools need 2.25 CPUs"),
    ],
)
def test_place_refuses_what_would_hang(resources: Resources, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        place([Stage(("clip",), resources)], [Node(2, 0)], 100)


@pytest.mark.parametrize("key", ["pool.shards", "pool.store", "export.shards", "export.subset"])
def test_a_job_on_a_cluster_takes_no_relative_path(key: str) -> None:
    data: dict = {
        "pool": {"shards": "/pool", "store": "/store"},
        "export": {"shards": "/out", "subset": "/s.npy"},
    }
    check_paths(parse(data))
    section, field = key.split(".")
    data[section][field] = "here/too"
    with pytest.raises(RecipeError, match=f"{key} must be an absolute path .* got 'here/too'"):
        check_paths(parse(data))

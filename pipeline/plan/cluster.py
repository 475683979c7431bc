"""Worker pools that fit the cluster, and the settings that matter at scale, with reasons. Pure: no Ray.

A pool that reserves every CPU leaves none for reading and Ray Data then waits for ever without a word, so
operators get three quarters of the CPUs by default, in fractions, and a request that cannot be met is an
error before anything starts. What nodes are started with (memory for Ray's object store, a third; spilling to
disk beyond it is Ray's default) stands in ray_cluster.yaml and jobs/rayjob.yaml; what an operator reserves,
and how many workers it has, in a recipe's `run:`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from pipeline.errors import RecipeError
from pipeline.plan.passes import Stage
from pipeline.pool.shards import Shard
from pipeline.recipe.sections import Recipe, Resources

READ_CPUS = 0.25  # a read task waits for storage most of its time; so many run beside the pools as fit
STAGE_SHARE = 0.75  # of the CPUs go to operators by default, the rest to reading
TASK_CPUS = 0.5  # of a task that reduces or exports: half computing, half waiting for storage
CPUS_PER_COLLECTOR = 32  # a collector packs parquet: about 1 % of the work of scoring on CPU
MERGE_FAN_IN = 8  # partial tables of a Stat that a task merges
READ_BYTES = (
    64 << 20
)  # of shards that a task reads: Ray takes 10 to 20 ms a task, and reading this ten times as long
TASKS_PER_READER = 8  # at least, so that the last ones end together
MOST_TASKS = 20_000  # of a pass: the driver holds 10 KB for each, and hands them out one by one
BLOCK_BYTES = 1 << 20  # less than a batch of images, so that a block, what an actor is handed, is one batch
BATCH_BYTES = 1 << 20  # 64 samples of 16 KB: on the small side of web images
RETRIES = 8  # of a call whose worker dies: enough for spot machines, an end to what kills every worker
PATIENCE = 1800  # seconds without a batch done before a pass gives up: time for a new machine to come
GIB = 1 << 30
LEAST_CPUS = 1 / 64  # reservations below this are none


@dataclass(frozen=True)
class Placement:
    """What a stage's pool reserves."""

    workers: int
    cpus: float
    gpus: float
    threads: int
    memory: float = 0


class Node(NamedTuple):
    """What one machine of the cluster offers; memory in GiB, which a cluster on paper need not say."""

    cpus: float
    gpus: float
    memory: float = math.inf

    def holds(self, asked: Resources) -> float:
        """How many workers that ask for GPUs, or so much of one, and memory fit on the machine."""
        found = math.inf
        if asked.gpus:
            found = int(self.gpus) * int(1 / asked.gpus) if asked.gpus < 1 else int(self.gpus / asked.gpus)
        return min(found, self.memory // asked.memory) if asked.memory else found


def place(stages: Sequence[Stage], nodes: Sequence[Node], batches: int) -> list[Placement]:
    """A fixed pool per stage that fits beside one read task; by default no more workers than there are
    batches to hand out. Raises RecipeError where it cannot fit."""
    share = sum(node.cpus for node in nodes) / max(1, len(stages))
    placed = [_pool(stage, nodes, share, batches) for stage in stages]
    _check_totals(stages, placed, nodes)
    for index, stage in enumerate(stages):
        if stage.resources.cpus is None:
            others = sum(p.workers * p.cpus for p in placed) - placed[index].workers * placed[index].cpus
            placed[index] = _anywhere(placed[index], nodes, others)
    return placed


def readers_beside(placed: Sequence[Placement], nodes: Sequence[Node], shards: int) -> int:
    """Shards read at a time: as many as the CPUs that the pools leave hold. Ray stops them while what they
    have read waits in the object store."""
    left = sum(node.cpus for node in nodes) - sum(pool.workers * pool.cpus for pool in placed)
    return min(shards, max(1, int(left / READ_CPUS)))


def collectors_beside(nodes: Sequence[Node]) -> int:
    """Collectors for the results of all workers."""
    return max(1, int(sum(node.cpus for node in nodes) // CPUS_PER_COLLECTOR))


def read_tasks(shards: Sequence[Shard], readers: int) -> int:
    """Tasks that read so many shards, some of them or, of large ones, one each."""
    by_bytes = sum(READ_BYTES if shard.size is None else shard.size for shard in shards) // READ_BYTES
    return min(len(shards), MOST_TASKS, max(by_bytes, TASKS_PER_READER * readers))


def batches_of(shards: Sequence[Shard]) -> int:
    """About how many batches some shards hold, at BATCH_BYTES each."""
    return sum(max(1, (shard.size or 64 * BATCH_BYTES) // BATCH_BYTES) for shard in shards)


def _pool(stage: Stage, nodes: Sequence[Node], share: float, batches: int) -> Placement:
    """What a stage gets of the cluster, whose other stages have as much: `share` CPUs each. A worker lies on
    one machine. Raises RecipeError where none is large enough."""
    asked, key = stage.resources, f"run.{stage.names[0]}"
    able = _able(key, asked, nodes)
    largest = max(node.cpus for node in able)
    if (asked.cpus or 0) > largest:
        raise RecipeError(
            f"{key}.cpus asks for {asked.cpus:g}, the largest machine with what else it asks for has {largest:g}"
        )
    room = sum(node.holds(asked) for node in able)
    most = room if asked.gpus else min(room, int(share / (asked.cpus or 1)))
    workers = asked.workers or max(1, int(min(most, batches)))
    beside = [node.cpus / node.gpus * asked.gpus for node in able] if asked.gpus else [largest]
    each = min(share / workers, *beside)
    reserved = asked.cpus or STAGE_SHARE * each
    return Placement(workers, reserved, asked.gpus, max(1, int(asked.cpus or each)), asked.memory or 0)


def place_task(key: str, asked: Resources, nodes: Sequence[Node]) -> Placement:
    """What a single large task reserves, such as building the FAISS index: the CPUs and memory that the
    recipe asks for under `key` (`run.index`), by default most of the CPUs of the machine with the most
    memory. Raises RecipeError if no machine has them."""
    able = _able(key, asked, [node for node in nodes if node.cpus])  # not on a head that only schedules
    best = max(able, key=lambda node: (node.memory, node.cpus))
    cpus = asked.cpus or STAGE_SHARE * best.cpus
    if cpus > max(node.cpus for node in able):
        raise RecipeError(
            f"{key}.cpus asks for {cpus:g}, the largest machine with what else it asks for has "
            f"{max(node.cpus for node in able):g}"
        )
    return Placement(1, cpus, 0, max(1, int(cpus)), asked.memory or 0)


def _able(key: str, asked: Resources, nodes: Sequence[Node]) -> list[Node]:
    """The machines that have the GPUs and the memory of one worker. Raises RecipeError where there is
    none."""
    wanted = {"gpus": asked.gpus, "memory": asked.memory or 0}
    for name, need in wanted.items():
        most = max((getattr(node, name) for node in nodes), default=0)
        if need > most:
            where = "the cluster has" if len(nodes) == 1 or not most else "the largest machine has"
            on_cpu = f" (on CPU: --set {key}.gpus=0)" if name == "gpus" else " GiB"
            raise RecipeError(f"{key}.{name} asks for {need:g}, {where} {most:g}{on_cpu}")
    able = [node for node in nodes if node.gpus >= asked.gpus and node.memory >= (asked.memory or 0)]
    if not able:
        raise RecipeError(f"{key}: no machine has both {asked.gpus:g} GPUs and {asked.memory:g} GiB")
    return able


def _anywhere(pool: Placement, nodes: Sequence[Node], others: float) -> Placement:
    """The pool with so small a reservation that a worker finds room even if the other pools (`others` CPUs)
    were put first, and in the worst way. Ray packs in its own order, never moves a worker, and a stage
    without any waits for ever."""
    able, cpus = [node.cpus for node in nodes if node.gpus >= pool.gpus], pool.cpus
    while cpus and sum(max(0.0, free - cpus) for free in able) < others:
        cpus = cpus / 2 if cpus > LEAST_CPUS else 0.0
    return replace(pool, cpus=cpus)


def _check_totals(stages: Sequence[Stage], placed: Sequence[Placement], nodes: Sequence[Node]) -> None:
    cpus, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    need_cpus = sum(p.workers * p.cpus for p in placed) + READ_CPUS
    need_gpus = sum(p.workers * p.gpus for p in placed)
    if need_cpus > cpus or need_gpus > gpus:
        pools = ", ".join(
            f"run.{s.names[0]}: {p.workers} workers x {p.cpus:g} CPUs, {p.gpus:g} GPUs"
            for s, p in zip(stages, placed, strict=True)
        )
        raise RecipeError(
            f"run: the pools need {need_cpus:g} CPUs (with {READ_CPUS:g} for reading) and {need_gpus:g} GPUs, "
            f"the cluster has {cpus:g} and {gpus:g}; lower `workers` or `cpus` ({pools})"
        )


def check_paths(recipe: Recipe) -> None:
    """On a cluster a relative path is another folder on every machine. Raises RecipeError for one."""
    shards = recipe.pool.shards or ()
    paths = {
        "pool.shards": (shards,) if isinstance(shards, str) else shards,
        "pool.datacomp": (recipe.pool.datacomp,),
        "pool.store": (recipe.pool.store,),
        **{key: (path,) for key, (path, _) in recipe.export.destinations().items()},
    }
    for key, path in ((key, path) for key, some in paths.items() for path in some if path):
        if "://" not in path and not path.startswith(("/", "~")):
            raise RecipeError(
                f"{key} must be an absolute path on storage that all machines share, or a URL, "
                f"in a job on a cluster; got {path!r}"
            )

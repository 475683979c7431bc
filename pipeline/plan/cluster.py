"""Worker pools that fit the cluster, and the settings that matter at scale, with their reasons. Pure: no Ray.

    for stage, pool in zip(stages, place(stages, nodes, batches)): ...

If worker pools reserve every CPU, read tasks never start and Ray Data hangs silently. So operators get at
most 75 % of the CPUs by default, in fractions. A request that cannot be met is an error before anything
starts. A recipe's `run:` sets what each operator reserves and how many workers it has. The settings of the
machines themselves, such as the memory for Ray's object store, are in ray_cluster.yaml and jobs/rayjob.yaml.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from pipeline.errors import RecipeError
from pipeline.plan.passes import Stage
from pipeline.pool.shards import Shard
from pipeline.recipe.sections import Recipe, Resources

READ_CPUS = 0.25  # of a read task, which mostly waits for storage
STAGE_SHARE = 0.75  # of the CPUs go to operators by default, the rest to reading
TASK_CPUS = 0.5  # of a task that reduces or exports: half computing, half waiting for storage
CPUS_PER_COLLECTOR = 32  # a collector writes parquet: about 1 % of the work of scoring on CPU
MERGE_FAN_IN = 8  # partial tables of a Stat that one task merges
READ_BYTES = 64 << 20  # per read task: reading so many takes ten times as long as Ray's 10 to 20 ms per task
TASKS_PER_READER = 8  # at least, so that all readers end at about the same time
MOST_TASKS = 20_000  # per pass: the driver holds 10 KB for each task and hands them out one by one
BLOCK_BYTES = 1 << 20  # of Ray's blocks: less than a batch of images, so that an actor is handed one batch
MOST_BLOCK_BYTES = 16 << 20  # for GPUs: one or more batches of web images; with 32 MiB nothing is gained
BLOCKS_EACH = 16  # per worker with a GPU: the last block is a sixteenth of its work, at most
BATCH_BYTES = 1 << 20  # 64 samples of 16 KB: small for web images
SHARDS_EACH = 8  # per worker that takes whole shards: the last shard is an eighth of its work, at most
RETRIES = 8  # of a call whose worker dies: enough for spot machines, and an end if it kills every worker
PATIENCE = 1800  # seconds without a finished batch before a pass gives up: time for a new machine to start
GIB = 1 << 30
LEAST_CPUS = 1 / 64  # a smaller reservation becomes 0


@dataclass(frozen=True)
class Placement:
    """The worker pool of a stage, or one task: what each worker reserves, and the threads it may use."""

    workers: int
    cpus: float
    gpus: float
    threads: int
    memory: float = 0  # GiB


class Node(NamedTuple):
    """The resources of one machine. Memory in GiB; infinite for a planned cluster whose memory is not
    given."""

    cpus: float
    gpus: float
    memory: float = math.inf

    def holds(self, resources: Resources) -> float:
        """How many workers with these GPUs (or a fraction of one) and this memory fit on the machine; CPUs do
        not count. Infinite if it asks for neither."""
        gpus = resources.gpus
        by_gpus = math.inf
        if gpus:
            by_gpus = int(self.gpus) * int(1 / gpus) if gpus < 1 else int(self.gpus / gpus)
        return min(by_gpus, self.memory // resources.memory) if resources.memory else by_gpus


def place(stages: Sequence[Stage], nodes: Sequence[Node], batches: int) -> list[Placement]:
    """One fixed pool per stage; all of them fit beside one read task. By default a pool has no more workers
    than there are batches. Raises RecipeError if a request cannot be met."""
    share = sum(node.cpus for node in nodes) / max(1, len(stages))
    placed = [_pool(stage, nodes, share, batches) for stage in stages]
    _check_totals(stages, placed, nodes)
    for index, stage in enumerate(stages):
        if stage.resources.cpus is None:
            others = sum(p.workers * p.cpus for p in placed) - placed[index].workers * placed[index].cpus
            placed[index] = _anywhere(placed[index], nodes, others)
    return placed


def readers_beside(placed: Sequence[Placement], nodes: Sequence[Node], shards: int) -> int:
    """Shards that are read at the same time, READ_CPUS each, on the CPUs that the pools do not reserve. If
    batches pile up in the object store, Ray pauses the readers."""
    free = sum(node.cpus for node in nodes) - sum(pool.workers * pool.cpus for pool in placed)
    return min(shards, max(1, int(free / READ_CPUS)))


def shard_workers(placed: Sequence[Placement], nodes: Sequence[Node], shards: int) -> Placement | None:
    """The pool of workers that take whole shards and read them themselves; None if batches are to flow from
    readers to workers: for several stages, for a GPU, which several readers feed, and for few shards."""
    if len(placed) > 1 or any(pool.gpus for pool in placed):
        return None
    pool = placed[0] if placed else Placement(max(1, int(sum(n.cpus for n in nodes))), STAGE_SHARE, 0, 1)
    return pool if shards >= SHARDS_EACH * pool.workers else None


def collectors_beside(nodes: Sequence[Node]) -> int:
    """Collectors for the results of all workers."""
    return max(1, int(sum(node.cpus for node in nodes) // CPUS_PER_COLLECTOR))


def read_tasks(shards: Sequence[Shard], readers: int) -> int:
    """Number of tasks that read these shards: one per large shard, one for several small ones."""
    by_bytes = _bytes_of(shards) // READ_BYTES
    return min(len(shards), MOST_TASKS, max(by_bytes, TASKS_PER_READER * readers))


def _bytes_of(shards: Sequence[Shard]) -> int:
    """Of the files of shards; one of unknown size counts as READ_BYTES."""
    return sum(READ_BYTES if shard.size is None else shard.size for shard in shards)


def block_bytes(shards: Sequence[Shard], placed: Sequence[Placement]) -> int:
    """Of Ray's blocks in a pass whose batches flow from readers to workers. Ray's driver works some 10 ms for
    each, so workers with GPUs take several batches at a time. A worker that decodes on CPUs takes longer for
    a batch, and all are to have some."""
    if not all(pool.gpus for pool in placed):
        return BLOCK_BYTES
    workers = sum(pool.workers for pool in placed)
    return min(MOST_BLOCK_BYTES, max(BLOCK_BYTES, _bytes_of(shards) // (BLOCKS_EACH * workers)))


def batches_of(shards: Sequence[Shard]) -> int:
    """About how many batches these shards hold, at BATCH_BYTES each."""
    return sum(max(1, (shard.size or 64 * BATCH_BYTES) // BATCH_BYTES) for shard in shards)


def _pool(stage: Stage, nodes: Sequence[Node], share: float, batches: int) -> Placement:
    """The pool of one stage. Each stage has `share` CPUs of the cluster; a worker must fit on one machine.
    Raises RecipeError if no machine is large enough."""
    wanted = stage.resources
    key = f"run.{stage.names[0]}"
    suitable = _suitable(key, wanted, nodes)
    largest = max(node.cpus for node in suitable)
    if (wanted.cpus or 0) > largest:
        raise RecipeError(
            f"{key}.cpus asks for {wanted.cpus:g}, the largest machine that has its GPUs and memory has {largest:g}"
        )
    room = sum(node.holds(wanted) for node in suitable)
    most = room if wanted.gpus else min(room, int(share / (wanted.cpus or 1)))
    workers = wanted.workers or max(1, int(min(most, batches)))
    beside_gpus = [node.cpus / node.gpus * wanted.gpus for node in suitable] if wanted.gpus else [largest]
    each = min(share / workers, *beside_gpus)
    return Placement(
        workers=workers,
        cpus=wanted.cpus or STAGE_SHARE * each,
        gpus=wanted.gpus,
        threads=max(1, int(wanted.cpus or each)),
        memory=wanted.memory or 0,
    )


def place_task(key: str, wanted: Resources, nodes: Sequence[Node]) -> Placement:
    """The reservation of a single large task, such as building the FAISS index: the CPUs and memory that the
    recipe asks for under `key` (`run.index`), by default 75 % of the CPUs of the machine with the most
    memory. Raises RecipeError if no machine has them."""
    workers = [node for node in nodes if node.cpus]  # not a head that only schedules
    suitable = _suitable(key, wanted, workers)
    best = max(suitable, key=lambda node: (node.memory, node.cpus))
    largest = max(node.cpus for node in suitable)
    cpus = wanted.cpus or STAGE_SHARE * best.cpus
    if cpus > largest:
        raise RecipeError(
            f"{key}.cpus asks for {cpus:g}, the largest machine that has its GPUs and memory has {largest:g}"
        )
    return Placement(1, cpus, 0, max(1, int(cpus)), wanted.memory or 0)


def task_options(key: str, wanted: Resources, nodes: Sequence[Node]) -> dict[str, float]:
    """What each of many tasks reserves, in Ray's words: the CPUs and memory that the recipe asks for under
    `key`; nothing beyond the usual by default. Raises RecipeError if no machine has them."""
    if wanted.cpus or wanted.memory:
        place_task(key, wanted, nodes)
    options = {"num_cpus": wanted.cpus, "memory": wanted.memory and int(wanted.memory * GIB)}
    return {name: value for name, value in options.items() if value}


def _suitable(key: str, wanted: Resources, nodes: Sequence[Node]) -> list[Node]:
    """The machines with enough GPUs and memory for one worker. Raises RecipeError if there are none."""
    for name, need in (("gpus", wanted.gpus), ("memory", wanted.memory or 0)):
        most = max((getattr(node, name) for node in nodes), default=0)
        if need > most:
            where = "the cluster has" if len(nodes) == 1 or not most else "the largest machine has"
            on_cpu = f" (on CPU: --set {key}.gpus=0)" if name == "gpus" else " GiB"
            raise RecipeError(f"{key}.{name} asks for {need:g}, {where} {most:g}{on_cpu}")
    suitable = [node for node in nodes if node.gpus >= wanted.gpus and node.memory >= (wanted.memory or 0)]
    if not suitable:
        raise RecipeError(f"{key}: no machine has both {wanted.gpus:g} GPUs and {wanted.memory:g} GiB")
    return suitable


def _anywhere(pool: Placement, nodes: Sequence[Node], others: float) -> Placement:
    """The pool with a reservation so small that its workers find room even if the other pools (`others` CPUs
    in all) were placed before it, in the worst way. Ray places in its own order and never moves a worker, and
    a stage without a worker waits for ever."""
    suitable = [node.cpus for node in nodes if node.gpus >= pool.gpus]
    cpus = pool.cpus
    while cpus and sum(max(0.0, free - cpus) for free in suitable) < others:
        cpus = cpus / 2 if cpus > LEAST_CPUS else 0.0
    return replace(pool, cpus=cpus)


def _check_totals(stages: Sequence[Stage], placed: Sequence[Placement], nodes: Sequence[Node]) -> None:
    """Raises RecipeError if the pools together need more than the cluster has."""
    cpus = sum(node.cpus for node in nodes)
    gpus = sum(node.gpus for node in nodes)
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

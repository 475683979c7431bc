"""Worker pools that fit the cluster. Pure: no Ray.

A pool that reserves every CPU leaves none for reading and Ray Data then waits for ever without a word, so
operators get three quarters of the CPUs by default, in fractions, and a request that cannot be met is an
error before anything starts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.errors import RecipeError
from pipeline.plan import Stage
from pipeline.recipe import Recipe

READ_CPUS = 0.25  # a read task waits for storage most of its time
STAGE_SHARE = 0.75  # of the CPUs go to operators by default, the rest to reading


@dataclass(frozen=True)
class Placement:
    """What a stage's pool reserves."""

    workers: int
    cpus: float
    gpus: float
    threads: int


class Node(NamedTuple):
    """What one machine of the cluster offers."""

    cpus: float
    gpus: float


def place(stages: Sequence[Stage], nodes: Sequence[Node], batches: int) -> list[Placement]:
    """A fixed pool per stage that fits beside one read task; by default no more workers than there are
    batches to hand out. Raises RecipeError where it cannot fit."""
    cpus, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    placed = []
    for stage in stages:
        asked, share = stage.resources, cpus / max(1, len(stages))
        if asked.gpus > gpus:
            key = f"run.{stage.names[0]}.gpus"
            raise RecipeError(
                f"{key} asks for {asked.gpus:g}, the cluster has {gpus:g} (on CPU: --set {key}=0)"
            )
        most = int(gpus / asked.gpus) if asked.gpus else int(share / (asked.cpus or 1))
        workers = asked.workers or max(1, min(most, batches))
        each = min(share / workers, *(_beside_gpus(nodes, asked.gpus)))
        reserved = asked.cpus or STAGE_SHARE * each
        placed.append(Placement(workers, reserved, asked.gpus, max(1, int(asked.cpus or each))))
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
    return placed


def _beside_gpus(nodes: Sequence[Node], gpus: float) -> list[float]:
    """CPUs that a worker finds on the machine where its GPUs are."""
    return [node.cpus / node.gpus * gpus for node in nodes if gpus and node.gpus] or [float("inf")]


def check_paths(recipe: Recipe) -> None:
    """On a cluster a relative path is another folder on every machine. Raises RecipeError for one."""
    shards, index = recipe.pool.shards or (), recipe.export.index
    paths = {
        "pool.shards": (shards,) if isinstance(shards, str) else shards,
        "pool.datacomp": (recipe.pool.datacomp,),
        "pool.store": (recipe.pool.store,),
        "export.shards": (recipe.export.shards,),
        "export.subset": (recipe.export.subset,),
        "export.urls": (recipe.export.urls,),
        "export.index.path": (index.path if index else None,),
    }
    for key, path in ((key, path) for key, some in paths.items() for path in some if path):
        if "://" not in path and not path.startswith(("/", "~")):
            raise RecipeError(
                f"{key} must be an absolute path on storage that all machines share, or a URL, "
                f"in a job on a cluster; got {path!r}"
            )

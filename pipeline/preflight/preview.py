"""What `winnow plan` says: which passes are missing, on how many samples and bytes, roughly how long they take and
on how many workers, from speeds that earlier runs on this store or a sample of shards have shown; and what would
keep the job from running well.

A worker's speed is that of the plain loop on the machine where it was measured.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.plan.cluster import Node, Placement
from pipeline.plan.passes import Pass, ScorePass, plan
from pipeline.plan.session import Session
from pipeline.plan.stored import list_stored
from pipeline.preflight.checks import check_cluster, check_parts, check_shards, check_storage
from pipeline.preflight.measure import Measured, measure, total_bytes
from pipeline.preflight.upload import check_upload
from pipeline.run.log import speeds

Rates = Mapping[str, Mapping[str, float]]


def preview(
    session: Session,
    cluster: Sequence[Node] = (),
    count: int | None = None,
    hours: float | None = None,
) -> dict[str, Any]:
    """The missing passes and the estimate as plain data; what is not known yet is None. `cluster`: the machines
    that the job is meant for; `count`: shards to measure on; `hours`: see `estimate`. Raises RecipeError for what
    cannot run, else as `measure` does."""
    warnings = check_storage(session)
    stored = list_stored(session)
    todo = plan(session.recipe, session.shards, session.keys, stored)
    pools, index = check_cluster(session, todo, cluster) if cluster else ([], None)
    sample = measure(session, count, todo, stored) if count and todo else None
    rates: Rates = {**speeds(session.store), **(sample.rates if sample else {})}
    sizes = _Sizes(stored.rows, sample)
    passes = [_pass(step, sizes, rates, pools[number] if pools else ()) for number, step in enumerate(todo)]
    return {
        "shards": len(session.shards),
        "indexed": len(stored.rows),
        "samples": sum(stored.rows.values()) if stored.rows else None,
        "operators": {name: session.folder(name).split("/")[1] for name in session.recipe.compute},
        "passes": passes,
        "index": _pool(index) if index else None,
        "estimate": estimate(passes, hours),
        "measured": {"shards": sample.shards, "samples": sample.samples} if sample else None,
        "warnings": [
            *warnings,
            *check_shards(todo, pools),
            *check_parts(session, stored.rows),
            *(check_upload(".") if cluster else []),
            *(
                f"compute.{name}: {warning}"
                for name in session.recipe.compute
                for warning in session.recipe.operator(name).warnings()
            ),
        ],
    }


class _Sizes:
    """Samples and bytes of shards: known, or as many as in others on average."""

    def __init__(self, rows: Mapping[str, int], sample: Measured | None) -> None:
        self.rows, self.sample = rows, sample
        known, shards = sum(rows.values()), len(rows)
        if sample and not shards:
            known, shards = sample.samples, sample.shards
        self.mean = known / shards if shards else None

    def samples(self, todo: Pass) -> int | None:
        mean = self.mean
        return None if mean is None else round(sum(self.rows.get(s.name, mean) for s in todo.shards))

    def bytes(self, todo: Pass) -> int | None:
        if (found := total_bytes(todo.shards)) is not None or not self.sample or self.sample.bytes is None:
            return found
        return round(self.sample.bytes / self.sample.shards * len(todo.shards))


def _pass(todo: Pass, sizes: _Sizes, rates: Rates, pools: Sequence[Placement]) -> dict[str, Any]:
    """One missing pass."""
    names = list(todo.names) if isinstance(todo, ScorePass) else [todo.name]
    kind = "tables" if todo.shards[0].table else "tars"
    reads_pool = isinstance(todo, ScorePass) and todo.reads_pool
    samples = sizes.samples(todo)
    costs = {
        name: samples / rates[name]["rows_per_second"]
        for name in [*names, *(["read", "decode"] if reads_pool else [])]
        if samples and rates.get(name, {}).get("rows_per_second")
    }
    size = sizes.bytes(todo) if reads_pool else None
    stages = todo.stages if isinstance(todo, ScorePass) else ()
    return {
        "operators": names,
        "kind": "score" if isinstance(todo, ScorePass) else "stat",
        "reads": (f"{kind}, {size / 1e6:,.0f} MB" if size else kind) if reads_pool else "columns",
        "bytes": size,
        "shards": len(todo.shards),
        "samples": samples,
        "seconds": sum(costs.values()) if costs and all(name in costs for name in names) else None,
        "costs": costs,
        "pools": [
            {"operators": list(stage.names), **_pool(pool)}
            for stage, pool in zip(stages, pools, strict=False)
        ],
    }


def _pool(pool: Placement) -> dict[str, float]:
    """What a pool reserves, memory in GiB."""
    return {"workers": pool.workers, "cpus": pool.cpus, "gpus": pool.gpus, "memory": pool.memory}


def estimate(passes: Sequence[Mapping[str, Any]], hours: float | None = None) -> dict[str, Any]:
    """Seconds of one worker for all passes, None unless all are known, and by operator; the bottleneck is the one
    that takes the most. For `hours`: the workers it takes, all and by operator. A pass gets that part of the hours
    that it has of the seconds, and its operators, which run side by side, as many workers as keep up."""
    total = sum(sum(step["costs"].values()) for step in passes)
    known = bool(passes) and all(step["seconds"] is not None for step in passes)
    costs: dict[str, float] = {}
    workers: dict[str, float] = {}
    for step in passes:
        spent = sum(step["costs"].values())
        for name, seconds in step["costs"].items():
            costs[name] = costs.get(name, 0.0) + seconds
            if hours:
                need = seconds / (hours * 3600 * spent / total)
                workers[name] = max(workers.get(name, 0.0), need)
    ordered = sorted(costs, key=lambda name: -costs[name])
    return {
        "seconds": total if known else None,
        "hours": hours,
        "workers": math.ceil(total / 3600 / hours) if hours and known else None,
        "bottleneck": ordered[0] if known else None,
        "operators": {
            name: {
                "seconds": costs[name],
                "share": costs[name] / total,
                "workers": math.ceil(workers[name]) if hours else None,
            }
            for name in ordered
        },
    }

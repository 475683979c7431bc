"""Rates of the operators that are missing, measured on a first sample of shards before anything large starts.

The plain loop runs the missing passes over a few shards into a temporary store. Not into the real one: a Stat over
a few shards is another table, under another key, than that over the pool.
"""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import ShardError
from pipeline.plan.passes import Pass, ScorePass, Stored
from pipeline.plan.session import Session
from pipeline.plan.stored import sample_counts
from pipeline.pool.shards import Shard
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from pipeline.run.log import speeds
from pipeline.storage import layout
from pipeline.storage.ranges import local_path

ASKED = 1000  # shards whose size is looked up


@dataclass(frozen=True)
class Measured:
    """`rates`: operator -> as `ledger.speeds`, `read` and `decode` included; `bytes` of those shards, if known."""

    rates: dict[str, dict[str, float]]
    shards: int
    samples: int
    bytes: int | None


def measure(session: Session, count: int, missing: Sequence[Pass], stored: Stored) -> Measured:
    """Run the missing passes on the first `count` shards that lack something. Raises ShardError where none of them
    can be read, OperatorError as `compute` does."""
    names = {n for todo in missing for n in (todo.names if isinstance(todo, ScorePass) else (todo.name,))}
    lacking = next((todo.shards for todo in missing if isinstance(todo, ScorePass)), session.shards)[:count]
    with tempfile.TemporaryDirectory(prefix="winnow-measure") as folder:
        pool = session.recipe.pool.model_copy(update={"store": folder})
        sample = Session(session.recipe.model_copy(update={"pool": pool}), tuple(lacking))
        _copy(session, sample, stored)
        log = compute(sample, LocalExecutor(), names)
        rows = sample_counts(sample.without(log.pending))
        if not rows:
            raise ShardError(f"nothing to measure: {next(iter(log.pending.values()), 'no shard')}")
        rates = speeds(sample.store)
        samples = sum(rows.values())
        for name in names & rates.keys():
            if not rates[name]["rows"]:  # a Stat, whose log has seconds alone
                rates[name] |= {
                    "rows": samples,
                    "rows_per_second": samples / max(rates[name]["seconds"], 1e-9),
                }
        return Measured(rates, len(rows), samples, total_bytes([s for s in lacking if s.name in rows]))


def total_bytes(shards: Sequence[Shard]) -> int | None:
    """About the bytes of these shards, from at most ASKED of them where listing told of none; None where asking
    would cost a request each."""
    if all(shard.size is not None for shard in shards):
        return sum(shard.size or 0 for shard in shards)
    asked = shards[:: max(1, len(shards) // ASKED)]
    sizes = [size for shard in asked if (size := _local_size(shard)) is not None]
    return round(sum(sizes) / len(sizes) * len(shards)) if sizes else None


def _local_size(shard: Shard) -> int | None:
    path = local_path(shard.path)
    return os.path.getsize(path) if path is not None and os.path.exists(path) else None


def _copy(session: Session, sample: Session, stored: Stored) -> None:
    """What the store has of these shards under the same keys, so that it is not measured."""
    names = [n for n in session.recipe.compute if session.keys[n] == sample.keys[n]]
    for folder in (*session.sample_folders, *map(session.folder, names)):
        there = [shard.name for shard in sample.shards if shard.name in stored.parts.get(folder, ())]
        for shard, footer in session.store.footers(folder, there).items():
            part = session.store.read_parts(folder, [shard])
            sample.store.write(layout.part(folder, shard), part, footer.notes)

"""Speeds of the operators that are missing, measured on the first few shards before anything large starts.

The plain loop runs the missing passes over these shards into a temporary store. The real store would not do:
a Stat over a few shards is another table than the Stat over the pool, under another key.
"""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import ShardError
from pipeline.plan.doubts import doubts
from pipeline.plan.passes import Pass, ScorePass, Stored
from pipeline.plan.session import Session
from pipeline.pool.shards import Shard
from pipeline.run.compute import Observe, compute, unobserved
from pipeline.run.executor import LocalExecutor
from pipeline.run.log import Speed, speeds
from pipeline.storage import layout
from pipeline.storage.ranges import local_path

SIZES_LOOKED_UP = 1000  # about so many shards; the others are taken to be as large on average


@dataclass(frozen=True)
class MeasuredOn:
    """How much was read to measure speeds."""

    shards: int
    samples: int


@dataclass(frozen=True)
class Measured:
    """`speeds`: by operator, with `read` and `decode`; `bytes` of the shards they were measured on, if
    known; `doubts`: what operators say about their rows."""

    speeds: dict[str, Speed]
    on: MeasuredOn
    bytes: int | None
    doubts: list[str]


def measure(
    session: Session, count: int, missing: Sequence[Pass], stored: Stored, observe: Observe = unobserved
) -> Measured:
    """Run the missing passes on the first `count` shards that lack something. `observe`: see `compute`.
    Raises ShardError if none of them can be read, OperatorError as `compute` does."""
    names = {
        n
        for planned in missing
        for n in (planned.names if isinstance(planned, ScorePass) else (planned.name,))
    }
    lacking = next((planned.shards for planned in missing if isinstance(planned, ScorePass)), session.shards)[
        :count
    ]
    with tempfile.TemporaryDirectory(prefix="winnow-measure") as folder:
        pool = session.recipe.pool.model_copy(update={"store": folder, "name": None})
        sample = Session(session.recipe.model_copy(update={"pool": pool}), tuple(lacking), session.root)
        _copy(session, sample, stored)
        alone = LocalExecutor(in_flight=1)  # so that no operator's time holds another's
        log = compute(sample.refreshed(), alone, names, observe)
        rows = {shard.name: shard.rows for shard in sample.refreshed().shards if shard.content}
        if not rows:
            raise ShardError(f"nothing to measure: {next(iter(log.pending.values()), 'no shard')}")
        read = [shard for shard in lacking if shard.name in rows]
        said = doubts(sample.refreshed())
        return Measured(
            speeds(sample.store), MeasuredOn(len(rows), sum(rows.values())), total_bytes(read), said
        )


def total_bytes(shards: Sequence[Shard]) -> int | None:
    """Bytes of these shards. If the listing did not tell all sizes, an estimate from about SIZES_LOOKED_UP
    local files; None if that would cost one request per shard."""
    if all(shard.size is not None for shard in shards):
        return sum(shard.size or 0 for shard in shards)
    looked_up = shards[:: max(1, len(shards) // SIZES_LOOKED_UP)]
    sizes = [size for shard in looked_up if (size := _local_size(shard)) is not None]
    return round(sum(sizes) / len(sizes) * len(shards)) if sizes else None


def _local_size(shard: Shard) -> int | None:
    """Bytes of a shard, None if it is not a local file."""
    path = local_path(shard.path)
    return os.path.getsize(path) if path is not None and os.path.exists(path) else None


def _copy(session: Session, sample: Session, stored: Stored) -> None:
    """Copy to the temporary store those parts of these shards that have the same key there, so that they are
    not measured."""
    names = [n for n in session.recipe.compute if session.keys[n] == sample.keys[n]]
    for folder in (*session.sample_folders, *map(session.folder, names)):
        parts = stored.parts.get(folder, ())
        done = [shard.name for shard in sample.shards if shard.name in parts]
        for shard, footer in session.store.footers(folder, done).items():
            part = session.store.read_parts(folder, [shard])
            sample.store.write(layout.part(folder, shard), part, footer.notes)

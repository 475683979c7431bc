"""Which rows of a pool an export writes, and how often each.

Every export reads the decision through this module.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from pipeline.errors import RecipeError
from pipeline.plan.session import Session
from pipeline.storage import layout


def kept_counts(session: Session) -> dict[str, int]:
    """Shard -> kept samples, in pool order. Raises RecipeError where nothing is decided yet."""
    folder = session.decisions
    if not session.store.root.exists(layout.rules(folder)):
        raise RecipeError(f"nothing to export: no {folder} in the store; run `winnow keep` first")
    table = session.store.read(layout.decided_shards(folder), ["shard", "kept"])
    counts = dict(table.iter_rows())
    return {shard.name: counts[shard.name] for shard in session.shards}


class Chosen:
    """Which rows of a shard are written, as often as `export.repeats` says. Travels to workers."""

    def __init__(self, session: Session) -> None:
        self.decisions, self.repeats = session.decisions, session.recipe.export.repeats
        self.columns, self.store = session.columns, session.store

    def rows(self, shard: str) -> np.ndarray:
        """Row numbers, ascending, each as often as it is written; a null or negative number is none."""
        kept = self.store.kept(self.decisions, shard).arg_true().to_numpy()
        if self.repeats is None:
            return kept
        times = self.columns.read(shard, [self.repeats])[self.repeats].cast(pl.Int64).fill_null(0)
        return np.repeat(kept, times.clip(0).to_numpy()[kept])


def written_counts(session: Session) -> dict[str, int]:
    """Shard -> samples that shards and the subset get of it. Raises RecipeError where nothing is decided."""
    kept, chosen = kept_counts(session), Chosen(session)
    if chosen.repeats is None:
        return kept
    return {shard: len(chosen.rows(shard)) if count else 0 for shard, count in kept.items()}


def written_uids(session: Session, shards: Sequence[str]) -> Iterator[pl.Series]:
    """The uids of the samples that are written of these shards, in their order; several shards at a time."""
    chosen = Chosen(session)
    for group in session.columns.groups(shards):
        rows, start = list[np.ndarray](), 0
        for shard in group:
            rows.append(start + chosen.rows(shard))
            start += len(chosen.store.kept(chosen.decisions, shard))
        yield session.columns.read_many(group, ["uid"])["uid"].gather(np.concatenate(rows))

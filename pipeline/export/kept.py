"""The rows of a pool that an export writes. Every export reads the decision through this module.

Kept rows are those that the decision keeps. Written rows are the kept rows, each as often as `export.repeats`
says; `export.shards` and `export.subset` hold the written rows, all other exports the kept ones.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from pipeline.errors import RecipeError, ShardError
from pipeline.plan.session import Session
from pipeline.progress import watched
from pipeline.storage import layout


def kept_counts(session: Session) -> dict[str, int]:
    """Shard -> kept rows, in pool order. Raises RecipeError if there is no decision yet, and ShardError for a
    decision over no shards: it would replace an earlier export by nothing."""
    if not session.shards:
        raise ShardError("nothing to export: no shard of the pool could be read")
    decision = session.decisions
    if not session.store.root.exists(layout.rules(decision)):
        raise RecipeError(f"nothing to export: no {decision} in the store; run `winnow keep` first")
    table = session.store.read(layout.decided_shards(decision), ["shard", "kept"])
    counts = dict(table.iter_rows())
    return {shard.name: counts[shard.name] for shard in session.shards}


def read_captioned(columns: Sequence[str], caption: str) -> list[str]:
    """The columns to read for these ones, if `text` is taken from the column `caption`: see `captioned`."""
    return list(dict.fromkeys(caption if name == "text" else name for name in columns))


def captioned(frame: pl.DataFrame, columns: Sequence[str], caption: str) -> pl.DataFrame:
    """These columns, of a frame with those that `read_captioned` names; the caption is their `text`."""
    return frame if caption == "text" else frame.with_columns(text=pl.col(caption)).select(columns)


class WrittenRows:
    """The written rows of each shard. Travels to workers."""

    def __init__(self, session: Session) -> None:
        self.decision = session.decisions
        self.repeats = session.recipe.export.repeats
        self.columns = session.columns
        self.store = session.store

    def numbers(self, shard: str) -> np.ndarray:
        """Row numbers, ascending, each as often as it is written. A null or negative repeat counts as 0."""
        kept = self.store.kept(self.decision, shard).arg_true().to_numpy()
        if self.repeats is None:
            return kept
        times = self.columns.read(shard, [self.repeats])[self.repeats].cast(pl.Int64).fill_null(0)
        return np.repeat(kept, times.clip(0).to_numpy()[kept])


def written_counts(session: Session) -> dict[str, int]:
    """Shard -> written rows, in pool order. Raises RecipeError if there is no decision yet."""
    kept, written = kept_counts(session), WrittenRows(session)
    if written.repeats is None:
        return kept
    return {shard: len(written.numbers(shard)) if count else 0 for shard, count in kept.items()}


def written_uids(session: Session, shards: Sequence[str]) -> Iterator[pl.Series]:
    """The uids of these shards' written rows, in order; one Series for each group of small shards."""
    written = WrittenRows(session)
    groups = list(session.columns.groups(shards))
    for group in watched("collecting uids", groups, len(groups)):
        start = 0
        numbers = list[np.ndarray]()
        for shard in group:
            numbers.append(start + written.numbers(shard))
            start += len(written.store.kept(written.decision, shard))
        yield session.columns.read_many(group, ["uid"])["uid"].gather(np.concatenate(numbers))

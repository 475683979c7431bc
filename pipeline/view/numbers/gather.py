"""Reading the pool once for several questions about it.

    extent = Extents(rules)
    overlap = Overlap(rules)
    gather(session, [extent, overlap], seed=0)
    overlap.combinations()

A gatherer names the columns it reads, looks at some rows at a time in any thread, and adds up what it saw in
the order of the pool. So memory does not grow with the pool, and the same pool gives the same numbers.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Protocol

import polars as pl

from pipeline.ordered_map import threaded_map
from pipeline.plan.session import Session
from pipeline.progress import watched
from pipeline.uids import draw
from pipeline.view.rows import fate_of, read, verdict_columns

DRAW = "draw"  # a column that a gatherer may name: (seed, uid) as a number in [0, 1)
BATCH = 1 << 17  # rows of a large shard that are looked at together


class Gatherer(Protocol):
    """One question about all rows of a pool."""

    @property
    def columns(self) -> Sequence[str]:
        """The columns that it reads beside those of `rows.frames`; DRAW is one too."""

    def look(self, frame: pl.DataFrame) -> Any:
        """A small summary of some rows. Called in several threads at once."""

    def add(self, seen: Any) -> None:
        """Take in a summary; summaries come in the order of the pool."""


def gather(session: Session, gatherers: Sequence[Gatherer], seed: int = 0) -> None:
    """Show every row of the pool to each gatherer. `seed`: of the draws. The decision must be stored. Raises
    FileNotFoundError if a column is not."""
    columns = dict.fromkeys(name for gatherer in gatherers for name in gatherer.columns)
    read_too = list(dict.fromkeys("uid" if name == DRAW else name for name in columns))
    look = partial(_look, session, read_too, gatherers, seed if DRAW in columns else None)
    groups = list(session.columns.groups([shard.name for shard in session.shards]))
    for batches in watched("reading columns", threaded_map(look, groups), len(groups)):
        for summaries in batches:
            for gatherer, seen in zip(gatherers, summaries, strict=True):
                gatherer.add(seen)


def _look(
    session: Session,
    columns: Sequence[str],
    gatherers: Sequence[Gatherer],
    seed: int | None,
    shards: Sequence[str],
) -> list[list[Any]]:
    """The summaries of some shards, batch by batch."""
    summaries = []
    for frame in _batches(session, columns, shards):
        if seed is not None:
            frame = frame.with_columns(pl.Series(DRAW, draw(seed, frame["uid"])))
        summaries.append([gatherer.look(frame) for gatherer in gatherers])
    return summaries


def _batches(session: Session, columns: Sequence[str], shards: Sequence[str]) -> Iterator[pl.DataFrame]:
    """The rows of some shards; a large shard in several frames, since captions and URLs take memory."""
    if len(shards) > 1 or not shards:
        yield read(session, columns, shards)
        return
    rules = session.recipe.keep
    verdicts = session.store.verdicts(session.decisions, shards[0])
    judged = verdicts.select(*verdict_columns(rules), fate_of(rules))
    start = 0
    for own in session.columns.batches(shards[0], list(dict.fromkeys(["shard", "row", *columns])), BATCH):
        yield own.hstack(judged.slice(start, len(own)))
        start += len(own)

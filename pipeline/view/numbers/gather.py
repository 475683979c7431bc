"""Reading the pool once for several questions about it.

    extent = Extents(rules)
    overlap = Overlap(rules)
    gather(session, [extent, overlap], seed=0)
    overlap.combinations()

A gatherer names the columns it reads, looks at some rows at a time in any thread, and adds up what it saw in
the order of the pool. So memory does not grow with the pool, and the same pool gives the same numbers.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

import polars as pl

from pipeline.ordered_map import threaded_map
from pipeline.plan.session import Session
from pipeline.progress import Tick, begun
from pipeline.uids import draw
from pipeline.view.rows import batches, count

DRAW = "draw"  # a column that a gatherer may name: (seed, uid) as a number in [0, 1)


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
    seed_of_draws = seed if DRAW in columns else None
    look = partial(_look, session, read_too, gatherers, seed_of_draws, begun("reading rows", count(session)))
    groups = session.columns.groups([shard.name for shard in session.shards])
    for of_group in threaded_map(look, groups):
        for summaries in of_group:
            for gatherer, seen in zip(gatherers, summaries, strict=True):
                gatherer.add(seen)


def _look(
    session: Session,
    columns: Sequence[str],
    gatherers: Sequence[Gatherer],
    seed: int | None,
    done: Tick,
    shards: Sequence[str],
) -> list[list[Any]]:
    """The summaries of some shards, batch by batch; `done` is called with the rows of each."""
    summaries = []
    for frame in batches(session, columns, shards):
        if seed is not None:
            frame = frame.with_columns(pl.Series(DRAW, draw(seed, frame["uid"])))
        summaries.append([gatherer.look(frame) for gatherer in gatherers])
        done(len(frame))
    return summaries

"""Reading the pool once for several questions about it.

    extent = Extents(rules)
    overlap = Overlap(rules)
    gather(session, [extent, overlap])
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
from pipeline.view.rows import read


class Gatherer(Protocol):
    """One question about all rows of a pool."""

    @property
    def columns(self) -> Sequence[str]:
        """The columns that it reads beside those of `rows.frames`."""

    def look(self, frame: pl.DataFrame) -> Any:
        """A small summary of some rows. Called in several threads at once."""

    def add(self, seen: Any) -> None:
        """Take in a summary; summaries come in the order of the pool."""


def gather(session: Session, gatherers: Sequence[Gatherer]) -> None:
    """Show every row of the pool to each gatherer. The decision must be stored. Raises FileNotFoundError if
    a column is not."""
    columns = list(dict.fromkeys(name for gatherer in gatherers for name in gatherer.columns))
    names = [shard.name for shard in session.shards]
    look = partial(_look, session, columns, gatherers)
    for summaries in threaded_map(look, session.columns.groups(names)):
        for gatherer, seen in zip(gatherers, summaries, strict=True):
            gatherer.add(seen)


def _look(
    session: Session, columns: Sequence[str], gatherers: Sequence[Gatherer], shards: Sequence[str]
) -> list[Any]:
    """The summaries of some shards."""
    frame = read(session, columns, shards)
    return [gatherer.look(frame) for gatherer in gatherers]

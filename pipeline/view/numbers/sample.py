"""A sample of a pool's rows that depends on their uids and a seed alone."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from pipeline.view.numbers.gather import DRAW


class SeededSample:
    """The `count` rows with the smallest draws; of equal draws, those that come first in the pool. A
    gatherer (see gather.py). `keep_as`: what is held of each row, by default every column of the frames."""

    def __init__(self, columns: Sequence[str], count: int, keep_as: Sequence[pl.Expr] = ()) -> None:
        self.columns = [DRAW, *columns]
        self._keep_as = list(keep_as) or [pl.exclude(DRAW)]
        self.count = count
        self._highest = 1.0  # no row with a higher draw can be in the sample any more
        self._parts: list[pl.DataFrame] = []
        self._rows = 0

    def look(self, frame: pl.DataFrame) -> pl.DataFrame:
        """See Gatherer. The rows that may be in the sample."""
        draws = frame[DRAW].to_numpy()
        low = np.flatnonzero(draws <= self._highest)
        if len(low) > self.count:
            low = np.sort(low[np.argsort(draws[low], kind="stable")[: self.count]])
        return _by_itself(frame[low].select(*self._keep_as, DRAW))

    def add(self, seen: pl.DataFrame) -> None:
        """See Gatherer."""
        self._parts.append(seen)
        self._rows += len(seen)
        if self._rows > 2 * self.count:
            self._cut()

    def rows(self) -> pl.DataFrame:
        """The sample, smallest draws first: the columns of the frames, and `draw`."""
        self._cut()
        return self._parts[0] if self._parts else pl.DataFrame()

    def _cut(self) -> None:
        """Keep the smallest draws of what came so far."""
        if not self._parts:
            return
        rows = pl.concat(self._parts).sort(DRAW, maintain_order=True).head(self.count)
        self._parts = [rows]
        self._rows = len(rows)
        if self._rows == self.count:
            self._highest = float(rows[DRAW][-1])


def _by_itself(rows: pl.DataFrame) -> pl.DataFrame:
    """The same rows without the rest of the frame that they come from: polars' texts are views, and one of
    them would hold all texts of the frame in memory."""
    texts = [name for name, dtype in rows.schema.items() if dtype == pl.String]
    old = pl.CompatLevel.oldest()
    return rows.with_columns(pl.Series(name, rows[name].to_arrow(compat_level=old)) for name in texts)

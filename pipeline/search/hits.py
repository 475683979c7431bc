"""What a search found."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl


class Hits(NamedTuple):
    """The nearest samples of n vectors.

    ids, scores   (n, k), best first; ids are -1 if fewer than k rows were found
    rows          one row per hit, by query and rank: query, rank, score, id, and the metadata's columns
    """

    ids: np.ndarray
    scores: np.ndarray
    rows: pl.DataFrame

    def at_least(self, score: float) -> "Hits":
        """The hits of that score or more."""
        ids = np.where(self.scores >= score, self.ids, -1)
        return Hits(ids, self.scores, self.rows.filter(pl.col("score") >= score))


def nearest(parts: list[tuple[np.ndarray, np.ndarray]], k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best of several searches of the same n vectors, (n, k) scores and ids; of equal scores the lowest
    id comes first. `parts`: (n, any) scores and ids each; an id of -1 is none."""
    scores = np.concatenate([part[0] for part in parts], 1)
    ids = np.concatenate([part[1] for part in parts], 1)
    scores = np.where(ids < 0, -np.inf, scores)
    order = np.lexsort((ids, -scores), axis=1)[:, :k]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(ids, order, 1)


def table(scores: np.ndarray, ids: np.ndarray, samples: pl.DataFrame) -> pl.DataFrame:
    """The rows of Hits. `samples`: `id`, and the metadata's columns, of every id that was found."""
    query, rank = (grid.ravel() for grid in np.indices(ids.shape))
    hits = pl.DataFrame(
        {"query": query, "rank": rank, "score": scores.ravel(), "id": ids.ravel().astype(np.int64)}
    )
    return hits.join(samples, on="id", how="inner", maintain_order="left")


class Found(NamedTuple):
    """Hits, and what was asked for: `names[query]`, in the words of whoever asked."""

    names: Sequence[str]
    hits: Hits

"""A reference's table: densities among the points of a draw, and the scores of rows against it.

The table is that of `operators.outliers.Reference`. A draw's points are the images of its samples in the
order of uids, then their texts.
"""

from collections.abc import Mapping, Sequence
from weakref import WeakSet

import numpy as np
import polars as pl

from operators.algorithms.embeddings.neighbours import Points
from operators.algorithms.embeddings.outliers import SCORES, lid, scores
from pipeline.operator import Device

ROWS = 2048  # searched at a time


def points_of(samples: pl.DataFrame) -> pl.DataFrame:
    """Samples (`uid`, `text`, `vector`, perhaps `text_vector`) -> their points: `uid`, `modality`, `text`,
    `vector`. A sample without a text vector has one point."""
    images = samples.select("uid", pl.lit("image").alias("modality"), "text", "vector")
    if "text_vector" not in samples.columns:
        return images
    texts = samples.select("uid", pl.lit("text").alias("modality"), "text", vector="text_vector")
    return pl.concat([images, texts.filter(pl.col("vector").is_not_null())])


def of_unit_length(vectors: pl.Series) -> bool:
    """Whether there are vectors, and all have length 1 up to the rounding of float16."""
    lengths = np.linalg.norm(vectors.to_numpy(), axis=1) if len(vectors) else np.zeros(1)
    return bool(np.abs(lengths - 1).max() < 1e-2)


def densities(draws: Sequence[pl.DataFrame], k: int) -> pl.DataFrame:
    """The points of each draw -> one table with `draw`, `k_distance` and `lid` by each point's k nearest of
    other samples, and `k`, which is reduced to what every point has. With k 0 the densities are null."""
    k = min(k, *map(_others, draws))
    tables = [
        points.select(pl.lit(number, pl.UInt32).alias("draw"), pl.all(), *_density(points, k))
        for number, points in enumerate(draws)
    ]
    return pl.concat(tables).with_columns(k=pl.lit(k, pl.UInt32))


def _others(points: pl.DataFrame) -> int:
    """How many points of other samples every point of a draw has at least."""
    most = max(points.group_by("uid").len()["len"], default=0)
    return len(points) - most


def _density(points: pl.DataFrame, k: int) -> tuple[pl.Series, pl.Series]:
    """`k_distance` and `lid` of a draw's points."""
    if not k:
        none = pl.Series([None] * len(points), dtype=pl.Float64)
        return none.alias("k_distance"), none.alias("lid")
    samples = points["uid"].rank("dense").to_numpy().astype(np.int64)
    vectors = points["vector"].to_numpy()
    distances, _ = Points(vectors, samples, Device()).nearest(vectors, samples, k)
    return pl.Series("k_distance", distances[:, -1]), pl.Series("lid", lid(distances))


def nearest_points(table: pl.DataFrame, vector: np.ndarray, uid: str) -> pl.DataFrame:
    """The points of all draws, each once, without those of sample `uid`, by their distance from (d,)
    `vector`: `uid`, `modality`, `distance`, `caption`. Computed without FAISS, which one row does not need.
    """
    points = table.filter(pl.col("uid") != uid).unique(["uid", "modality"], keep="first")
    squared = np.square(points["vector"].to_numpy() - vector, dtype=np.float64).sum(1)
    near = points.select("uid", "modality", distance=pl.Series(np.sqrt(squared)), caption="text")
    return near.sort("distance", "uid", "modality")


class Search:
    """The scores of rows against all draws of a table. It remembers the last batch: if several operators ask
    about the same rows one after the other, the first searches for all."""

    def __init__(self, table: pl.DataFrame, device: Device) -> None:
        self.table = table
        self.device = device
        self.k = table["k"][0] if len(table) else 0
        self.samples = pl.DataFrame({"uid": table["uid"].unique().sort()}).with_row_index("sample")
        draws = table.partition_by("draw", maintain_order=True) if self.k else []
        self.draws = [(self._points(d), d["k_distance"].to_numpy(), d["lid"].to_numpy()) for d in draws]
        self._last: tuple[np.ndarray, pl.Series, Mapping[str, np.ndarray]] | None = None

    def _points(self, draw: pl.DataFrame) -> Points:
        """The points of a draw, ready to be searched."""
        return Points(draw["vector"].to_numpy(), self._numbers(draw["uid"]), self.device)

    def _numbers(self, uids: pl.Series) -> np.ndarray:
        """(n,) each uid's number, -1 for one that is in no draw."""
        joined = pl.DataFrame({"uid": uids}).join(self.samples, on="uid", how="left", maintain_order="left")
        numbers: np.ndarray = joined["sample"].cast(pl.Int64).fill_null(-1).to_numpy()
        return numbers

    def scores(self, vectors: np.ndarray, uids: pl.Series) -> Mapping[str, np.ndarray]:
        """(n, d) float32 and (n,) their uids -> the four scores, (n,) each, the mean over the draws; a row
        never meets its own points. There must be a draw."""
        if self._last is not None:
            last_vectors, last_uids, scored = self._last
            if last_uids.equals(uids) and np.array_equal(last_vectors, vectors):
                return scored
        own = self._numbers(uids)
        blocks = [slice(start, start + ROWS) for start in range(0, max(1, len(vectors)), ROWS)]
        parts = [self._block(vectors[block], own[block]) for block in blocks]
        scored = {name: np.concatenate([part[name] for part in parts]) for name in SCORES}
        self._last = vectors, uids, scored
        return scored

    def _block(self, vectors: np.ndarray, own: np.ndarray) -> dict[str, np.ndarray]:
        """The same for at most ROWS rows."""
        total = dict.fromkeys(SCORES, np.zeros(len(vectors)))
        for points, k_distance, lids in self.draws:
            distances, ids = points.nearest(vectors, own, self.k)
            for name, values in scores(distances, k_distance[ids], lids[ids]).items():
                total[name] = total[name] + values
        return {name: values / len(self.draws) for name, values in total.items()}


_LIVE: WeakSet[Search] = WeakSet()


def search_of(table: pl.DataFrame, device: Device) -> Search:
    """The search for a table: one for all operators of a worker that need it, as long as one of them
    lives."""
    for search in _LIVE:
        if search.device == device and search.table.equals(table):
            return search
    _LIVE.add(search := Search(table, device))
    return search

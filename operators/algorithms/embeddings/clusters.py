"""Spherical k-means of a sample of a pool, and how often to take the samples of clusters of given sizes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from operators.algorithms.balance import tail_parts
from pipeline.uids import draw


def least_draws(rows: pl.DataFrame, seed: int, size: int) -> pl.DataFrame:
    """(n, uid, shard, row and more) -> (at most `size`,) those with the least draws from (seed, uid), in the
    order of uids. Of several rows with one uid, the first of the pool is taken."""
    order = rows.select("uid", "shard", "row").with_row_index("at").sort("uid", "shard", "row")
    order = order.unique("uid", keep="first", maintain_order=True)
    taken = np.sort(np.argsort(draw(seed, order["uid"]), kind="stable")[:size])
    return rows[order["at"].gather(taken)]


def k_means(vectors: np.ndarray, k: int, steps: int, seed: int, gpu: bool) -> tuple[np.ndarray, np.ndarray]:
    """(n, d) float32 of unit length -> (k, d) centroids of unit length, or as many as there are vectors, and
    (k,) how many vectors are nearest to each. By FAISS, which begins at k of the vectors. On a CPU the result
    does not depend on the number of threads."""
    import faiss

    k = min(k, len(vectors))
    if not k:
        return vectors, np.zeros(0, np.int64)
    on_gpu = gpu and faiss.get_num_gpus() > 0
    clustering: Any = faiss.Kmeans(
        vectors.shape[1],
        k,
        niter=steps,
        seed=seed,
        spherical=True,
        gpu=on_gpu,
        min_points_per_centroid=1,  # a warning on stderr otherwise
        max_points_per_centroid=len(vectors),  # FAISS would draw a sample of the sample
    )
    clustering.train(vectors)
    centroids = np.ascontiguousarray(clustering.centroids, np.float32)
    nearest = clustering.index.search(vectors, 1)[1][:, 0]
    return centroids, np.bincount(nearest, minlength=k)


def factor(counts: np.ndarray, alpha: float, cap: float, target: float) -> float:
    """C such that clusters of `counts` samples, each taken min(C count^(alpha - 1), cap) times, have `target`
    samples together: solved exactly, since the sum is piecewise linear in C. inf if `cap` forbids so many."""
    sizes = np.sort(counts[counts > 0]).astype(np.float64)  # the smallest reach the cap first
    if cap * sizes.sum() <= target:
        return float("inf")
    capped = np.concatenate([[0.0], np.cumsum(sizes)[:-1]]) * cap  # of the clusters before each
    rest = np.cumsum((sizes**alpha)[::-1])[::-1]  # of each and those after it
    found = (target - capped) / rest
    within = np.flatnonzero(found * sizes ** (alpha - 1) <= cap)
    return float(found[within[0] if len(within) else -1])  # rounding can lift even the last over the cap


def copies(counts: np.ndarray, alpha: float, cap: float, target: float) -> np.ndarray:
    """(k,) how often to take each sample of clusters of `counts` samples, see `factor`; 0 for a cluster
    without samples."""
    sizes = np.maximum(counts, 1).astype(np.float64)
    taken = np.minimum(factor(counts, alpha, cap, target) * sizes ** (alpha - 1), cap)
    return np.where(counts > 0, taken, 0.0)


def sizes_compared(
    before: pl.DataFrame, after: pl.DataFrame, names: Sequence[str]
) -> dict[str, pl.DataFrame]:
    """Tables of sizes before and after a decision:

    parts     the clusters in three parts, see `tail_parts`
    clusters  all clusters, the largest first, with their names if there are any
    """
    kept = after.select("cluster", after="count")
    table = before.rename({"count": "before"}).join(kept, on="cluster", how="left")
    table = table.with_columns(pl.col("after").fill_null(0)).sort(
        "before", "cluster", descending=[True, False]
    )
    table = table.with_columns(kept=pl.col("after") / pl.col("before"))
    if names:
        named = [names[number] if 0 <= number < len(names) else None for number in table["cluster"]]
        table = table.insert_column(1, pl.Series("name", named, dtype=pl.String))
    return {"parts": tail_parts(table["before"].to_numpy(), table["after"].to_numpy()), "clusters": table}

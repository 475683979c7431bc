"""Backdoor outliers: METHODS' golden values, dense float64, duplicates, planted outliers, the trap, explain."""

import numpy as np
import polars as pl

from operators import outliers
from operators.algorithms.outliers import SCORES, published
from operators.outliers import Reference
from pipeline.operator import Device
from tests.conftest import samples

LINE = np.array([[0.0], [1], [2], [3], [10]])
CLASSES = (outliers.KDistance, outliers.Slof, outliers.Lid, outliers.Dao)


def frame(vectors: np.ndarray, **columns: object) -> pl.DataFrame:
    """Rows with these embeddings."""
    embedding = pl.Series(vectors) if len(vectors) else pl.Series([], dtype=pl.Array(pl.Float32, 2))
    return samples(len(vectors)).with_columns(pl.Series("e.v", embedding), **columns)


def table(rows: pl.DataFrame, **fields: object) -> pl.DataFrame:
    """The reference of rows, not normalised."""
    stat = Reference(**{"embedding": "e.v", "normalise": False, **fields})
    return stat.finish(stat.merge(stat.partial(rows)))


def scored(
    rows: pl.DataFrame, reference: pl.DataFrame, cls: type = outliers.Slof, **fields: object
) -> pl.DataFrame:
    made = cls(embedding="e.v", reference="r", **fields).model_copy()
    made.setup({"r": reference}, Device())
    return made.score(rows)


def all_four(rows: pl.DataFrame, reference: pl.DataFrame) -> dict[str, np.ndarray]:
    found = [scored(rows, reference, cls)["score"].to_numpy() for cls in CLASSES]
    return dict(zip(SCORES, found, strict=True))


def dense(queries: np.ndarray, points: np.ndarray, k: int, *, same: bool) -> dict[str, np.ndarray]:
    """The definitions of METHODS section 6, word for word, all pairs in float64."""

    def nearest(x: np.ndarray, own: bool) -> tuple[np.ndarray, np.ndarray]:
        distances = np.sqrt(np.stack([((points.astype(float) - row) ** 2).sum(1) for row in x.astype(float)]))
        if own:
            np.fill_diagonal(distances, np.inf)
        ids = np.argsort(distances, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(distances, ids, 1), ids

    def lids(r: np.ndarray) -> np.ndarray:
        return -1 / np.mean(np.log(r / r[:, -1:] + 1e-4), axis=1)

    r, ids = nearest(queries, same)
    theirs, _ = nearest(points, True)
    ratios = r[:, -1:] / theirs[:, -1][ids]
    dao = np.mean(lids(theirs)[ids] * np.log(ratios), axis=1)
    return dict(zip(SCORES, (r[:, -1], ratios.mean(1), lids(r), dao), strict=True))


# --- golden values -----------------------------------------------------------------------------------


def test_golden_values_as_defined():
    """METHODS section 6: points 0, 1, 2, 3, 10, k = 2."""
    rows = frame(LINE)
    found = all_four(rows, table(rows, k=2))
    np.testing.assert_allclose(found["k_distance"], [2, 1, 1, 2, 8])
    np.testing.assert_allclose(found["slof"], [2, 0.75, 0.75, 2, 6])


def test_golden_values_as_published():
    found = published(LINE, 2)
    np.testing.assert_allclose(found["k_distance"], [3, 2, 2, 3, 9])
    np.testing.assert_allclose(found["slof"], [2.25, 1.5, 2, 3, 6.75])
    np.testing.assert_allclose(found["dao"], [0.160224, 0.075258, 0.150517, 0.238563, 0.39044], atol=1e-6)


def test_four_scores_equal_dense_float64_on_5000_points():
    points = np.random.default_rng(0).normal(size=(5000, 64)).astype(np.float32)
    found = all_four(frame(points), table(frame(points), size=5000))
    for name, expected in dense(points, points, 16, same=True).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-5)

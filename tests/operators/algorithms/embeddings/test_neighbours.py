"""The search for nearest neighbours: exact whatever the batch, ties by id, own points excluded."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.algorithms.embeddings.neighbours import Points
from pipeline.operator import Device


def brute(queries: np.ndarray, points: Points, own: np.ndarray, k: int) -> np.ndarray:
    """Ids by (distance, id), distances as sums of squared differences in float64."""
    squared = np.square(points.vectors[None].astype(float) - queries[:, None]).sum(2)
    squared[points.samples[None] == own[:, None]] = np.inf
    return np.argsort(squared, axis=1, kind="stable")[:, :k]


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.integers(1, 12), st.integers(1, 4))
def test_neighbours_are_exact_and_ties_go_by_id(seed, m, k, values):
    """Few distinct values in few dimensions: most distances are tied, many are 0."""
    rng = np.random.default_rng(seed)
    vectors = rng.integers(0, values, (m, 2)).astype(np.float32) * np.float32(0.3)
    points = Points(vectors, np.arange(m) // 2, Device())
    own = rng.integers(-1, (m + 1) // 2, 40)
    k = min(k, m - 2) or 1
    if m - 2 >= k:
        queries = rng.integers(0, values, (40, 2)).astype(np.float32) * np.float32(0.3)
        distances, ids = points.nearest(queries, own, k)
        np.testing.assert_array_equal(ids, brute(queries, points, own, k))
        again = [points.nearest(queries[row : row + 1], own[row : row + 1], k) for row in range(40)]
        np.testing.assert_array_equal(np.concatenate([d for d, _ in again]), distances)
        np.testing.assert_array_equal(np.concatenate([i for _, i in again]), ids)


def test_points_that_a_matrix_product_cannot_tell_apart():
    """Far from the origin and 1e-4 apart: |x|^2 + |y|^2 - 2xy in float32 is noise. Batches are split, too."""
    rng = np.random.default_rng(2)
    vectors = (100 + 1e-3 * rng.normal(size=(500, 64))).astype(np.float32)
    points = Points(vectors, np.arange(500), Device())
    distances, ids = points.nearest(vectors, np.arange(500), 10)
    expected = brute(vectors, points, np.arange(500), 10)
    exact = np.linalg.norm(vectors[:, None].astype(float) - vectors[expected], axis=2)
    np.testing.assert_allclose(distances, exact, rtol=1e-6)
    for row in range(0, 500, 50):
        some = points.nearest(vectors[row : row + 3], np.arange(row, row + 3), 10)
        np.testing.assert_array_equal(some[1], ids[row : row + 3])


@pytest.mark.gpu
def test_a_gpu_finds_the_same_neighbours():
    faiss = pytest.importorskip("faiss")
    if not faiss.get_num_gpus():
        pytest.skip("no CUDA device")
    vectors = np.random.default_rng(0).normal(size=(3000, 64)).astype(np.float32)
    for on_gpu, on_cpu in zip(
        *(
            Points(vectors, np.arange(3000), Device(name)).nearest(vectors, np.arange(3000), 16)
            for name in ("cuda", "cpu")
        ),
        strict=True,
    ):
        np.testing.assert_array_equal(on_gpu, on_cpu)

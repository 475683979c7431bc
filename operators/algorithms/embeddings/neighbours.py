"""The nearest neighbours of vectors among some points: exact, whatever the batch, the threads or the BLAS.

FAISS compares all pairs by one matrix product in float32, whose last bits depend on the shape of the batch.
So a few spare candidates are taken. Their distances are computed again as sums of squared differences, which
rounds nothing that matters (equal vectors are at distance 0), and are sorted by distance, then by id. If
rounding could still have hidden a nearer point, the distances to all points are computed in this way.
"""

from typing import Any

import numpy as np

from pipeline.operator import Device
from pipeline.threads import faiss_threads

SPARE = 8  # candidates over k: room for a query's own points and for near ties
BLOCK = 64  # queries whose distances to all points are held at a time
UNIT = 2.0**-24  # relative error of one float32 operation


class Points:
    """(m, d) points to be searched. `samples` (m,) gives each point's sample as a number from 0: a query
    never finds the points of its own sample."""

    def __init__(self, vectors: np.ndarray, samples: np.ndarray, device: Device) -> None:
        import faiss

        self.vectors = np.ascontiguousarray(vectors, np.float32)
        self.samples = np.asarray(samples, np.int64)
        self.threads = device.threads
        self.longest = float(np.sqrt(np.square(self.vectors, dtype=np.float64).sum(1).max(initial=0)))
        self.index: Any = faiss.IndexFlatL2(self.vectors.shape[1])
        if device.name == "cuda" and faiss.get_num_gpus():
            self.index = faiss.index_cpu_to_all_gpus(self.index)
        self.index.add(self.vectors)

    def nearest(self, queries: np.ndarray, own: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """(n, d) float32 queries, and (n,) the samples `own` that they belong to (-1 if not among the points)
        -> (n, k) float64 distances, ascending, and (n, k) ids. There must be k points of other samples."""
        queries = np.ascontiguousarray(queries, np.float32)
        wanted = min(k + SPARE, len(self.vectors))
        with faiss_threads(self.threads):
            near, ids = self.index.search(queries, wanted)
            keys = self._sorted(queries, ids, own, k)
            if wanted < len(self.vectors):
                doubtful = np.flatnonzero(~(near[:, -1] - self._error(queries) > _squared(keys)[:, -1]))
                everything = np.arange(len(self.vectors))
                for start in range(0, len(doubtful), BLOCK):
                    rows = doubtful[start : start + BLOCK]
                    ids = np.broadcast_to(everything, (len(rows), len(everything)))
                    keys[rows] = self._sorted(queries[rows], ids, own[rows], k)
        return np.sqrt(_squared(keys).astype(np.float64)), (keys & 0xFFFFFFFF).astype(np.int64)

    def _sorted(self, queries: np.ndarray, ids: np.ndarray, own: np.ndarray, k: int) -> np.ndarray:
        """(n, k) uint64: the k least of (squared distance, id), both packed in one number. The bits of
        float32 numbers that are not negative sort like the numbers."""
        import faiss

        ids = np.ascontiguousarray(ids, np.int64)
        squared = np.empty(ids.shape, np.float32)
        pointers = map(faiss.swig_ptr, (squared, queries, self.vectors, ids))
        compare: Any = vars(faiss)["fvec_L2sqr_by_idx"]  # which faiss's type stubs lack
        compare(*pointers, self.vectors.shape[1], *ids.shape)
        squared[self.samples[ids] == own[:, None]] = np.inf
        keys = squared.view(np.uint32).astype(np.uint64) << np.uint64(32) | ids.astype(np.uint64)
        if ids.shape[1] > k + SPARE:
            keys = np.partition(keys, k - 1)[:, :k]
        return np.sort(keys)[:, :k]

    def _error(self, queries: np.ndarray) -> np.ndarray:
        """(n,) how far a squared distance by matrix product can be off: |x|^2 + |y|^2 - 2xy with sums of d
        float32 products in any order (Higham 2002, section 3.1), doubled for the comparison's other side."""
        lengths = np.sqrt(np.einsum("ij,ij->i", queries, queries).astype(np.float64)) + self.longest
        error: np.ndarray = 2 * (queries.shape[1] + 8) * UNIT * np.square(lengths)
        return error


def _squared(keys: np.ndarray) -> np.ndarray:
    """The squared distances in such numbers, float32."""
    return (keys >> np.uint64(32)).astype(np.uint32).view(np.float32)

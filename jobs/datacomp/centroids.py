"""Centroids of a pool's embeddings, which DataComp's image_based filter compares images with.

    winnow datacomp centroids jobs/recipes/datacomp/caption_filter.yaml centroids.npy --clusters 100000

All embeddings that are clustered are held in memory, as faiss wants them: 4 bytes a number, 3 KB a sample of L/14.

Source: DataComp's `baselines/image_based_clustering.py`: faiss k-means, 20 rounds, seed 0, L2, no sub-sampling of its
own. Differs: it draws its samples (`--sample`, 0.3 for large and 0.03 for xlarge) without a seed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from jobs.steps import decide_complete
from pipeline.errors import RecipeError
from pipeline.export.kept import kept_counts
from pipeline.plan.session import Session
from pipeline.recipe.check import column_types
from pipeline.storage.folder import publishing_at

ROUNDS, MOST_POINTS = 20, 10_000_000  # of k-means; points per centroid, above which faiss would sub-sample
BATCH = 8192


@dataclass(frozen=True)
class Clustering:
    """What to cluster, into how many; `sample`: a share of each shard, drawn with replacement."""

    embedding: str = "datacomp.l14_image_embedding"
    clusters: int = 100_000
    sample: float | None = None
    seed: int = 0

    def rows(self, kept: int) -> int:
        """How many rows are taken of so many."""
        return kept if self.sample is None else int(kept * self.sample)


def write_centroids(session: Session, path: str, asked: Clustering) -> dict[str, Any]:
    """Write (clusters, d) float32; returns how many rows were clustered. Raises RecipeError."""
    vectors = _gathered(session, asked)
    found = kmeans(vectors, asked.clusters, asked.seed)
    with publishing_at(path) as aside, open(aside, "wb") as file:
        np.save(file, found)
    return {"path": path, "rows": len(vectors), "clusters": len(found)}


def _gathered(session: Session, asked: Clustering) -> np.ndarray:
    """(n, d) float32: the embeddings that the recipe keeps, in pool order."""
    if asked.embedding not in column_types(session.recipe):
        raise RecipeError(f"--embedding: {asked.embedding} is not a column of this recipe")
    done = decide_complete(session).session
    counts = {shard: asked.rows(kept) for shard, kept in kept_counts(done).items()}
    total = sum(counts.values())
    if total < asked.clusters:
        raise RecipeError(f"--clusters: {asked.clusters:,} of {total:,} embeddings; name fewer, or keep more")
    vectors, start = None, 0
    for number, shard in enumerate(counts):
        for part in _of_shard(done, shard, number, asked):
            if vectors is None:
                vectors = np.empty((total, part.shape[1]), np.float32)
            vectors[start : start + len(part)] = part
            start += len(part)
    assert vectors is not None  # there are as many as clusters, so one at least
    return vectors


def _of_shard(session: Session, shard: str, number: int, asked: Clustering) -> Iterator[np.ndarray]:
    """The kept rows, each as often as it is drawn."""
    keep = session.store.kept(session.decisions, shard).to_numpy()
    times = keep.astype(np.int64)
    if asked.sample is not None and keep.any():
        drawn = np.random.default_rng([asked.seed, number]).integers(
            0, keep.sum(), asked.rows(int(keep.sum()))
        )
        times[keep] = np.bincount(drawn, minlength=int(keep.sum()))
    start = 0
    for frame in session.columns.batches(shard, [asked.embedding], BATCH):
        vectors = frame[asked.embedding]
        taken = np.repeat(np.arange(len(frame)), times[start : start + len(frame)])
        start += len(frame)
        if vectors.gather(taken).null_count():
            raise RecipeError(f"--embedding: {asked.embedding} has no value in some kept rows of {shard}")
        if len(taken):
            yield vectors.gather(taken).to_numpy()


def kmeans(vectors: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """(n, d) float32 -> (clusters, d) float32."""
    import faiss

    training = faiss.Clustering(vectors.shape[1], clusters)
    training.niter, training.seed, training.max_points_per_centroid = ROUNDS, seed, MOST_POINTS
    index: faiss.Index = faiss.IndexFlatL2(vectors.shape[1])
    if hasattr(faiss, "get_num_gpus") and faiss.get_num_gpus():
        index = faiss.index_cpu_to_all_gpus(index)
    training.train(vectors, index)
    found: np.ndarray = faiss.vector_float_to_array(training.centroids).reshape(clusters, -1)
    return found

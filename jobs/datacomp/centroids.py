"""Centroids of a pool's embeddings, with which DataComp's image_based filter compares images.

    winnow datacomp centroids jobs/recipes/datacomp/caption_filter.yaml centroids.npy --clusters 100000

All embeddings that are clustered are in memory as float32, as faiss needs them: 3 KB per sample for ViT-L/14.

Source: DataComp's `baselines/image_based_clustering.py`: faiss k-means with L2, 20 rounds, seed 0, without
    faiss's own sub-sampling.
Differs: DataComp draws samples (its share is 0.3 for large, 0.03 for xlarge) without a seed. It takes files
    in the order in which the directory lists them, here they are sorted: k-means begins at other samples.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from jobs.steps import decide_complete
from pipeline.errors import RecipeError
from pipeline.export.kept import kept_counts
from pipeline.export.places.file import check_file, writing_file
from pipeline.plan.session import Session
from pipeline.recipe.check import column_types

KEY = "datacomp centroids"  # the command, for messages
ROUNDS = 20  # of k-means
MOST_POINTS = 10_000_000  # per centroid, above which faiss sub-samples: more than any pool has
BATCH = 8192  # rows of a shard that are read at once


@dataclass(frozen=True)
class Clustering:
    """Which column to cluster, and into how many clusters.

    sample      share of each shard's kept rows to draw, with replacement; None takes every kept row once
    """

    embedding: str = "datacomp.l14_image_embedding"
    clusters: int = 100_000
    sample: float | None = None
    seed: int = 0

    def rows(self, kept: int) -> int:
        """How many rows are taken of a shard with this many kept rows."""
        return kept if self.sample is None else int(kept * self.sample)


def write_centroids(session: Session, path: str, clustering: Clustering) -> dict[str, Any]:
    """Write the centroids, (clusters, d) float32, as .npy; returns how many rows were clustered.

    Raises RecipeError.
    """
    check_file(path, KEY)
    vectors = _kept_embeddings(session, clustering)
    centroids = kmeans(vectors, clustering.clusters, clustering.seed)
    with writing_file(path, KEY, {"export": "centroids"}) as aside, open(aside, "wb") as file:
        np.save(file, centroids)
    return {"path": path, "rows": len(vectors), "clusters": len(centroids)}


def _kept_embeddings(session: Session, clustering: Clustering) -> np.ndarray:
    """(n, d) float32: the embeddings of the rows that the recipe keeps, in pool order."""
    if clustering.embedding not in column_types(session.recipe):
        raise RecipeError(f"--embedding: {clustering.embedding} is not a column of this recipe")
    done = decide_complete(session).session
    counts = {shard: clustering.rows(kept) for shard, kept in kept_counts(done).items()}
    total = sum(counts.values())
    if total < clustering.clusters:
        raise RecipeError(
            f"--clusters must be at most {total:,}, the number of embeddings; got {clustering.clusters:,}"
        )
    vectors = None
    start = 0
    for number, shard in enumerate(counts):
        for part in _shard_embeddings(done, shard, number, clustering):
            if vectors is None:
                vectors = np.empty((total, part.shape[1]), np.float32)
            vectors[start : start + len(part)] = part
            start += len(part)
    assert vectors is not None  # total >= clusters >= 1
    return vectors


def _shard_embeddings(
    session: Session, shard: str, number: int, clustering: Clustering
) -> Iterator[np.ndarray]:
    """The embeddings of a shard's kept rows, each as often as it is drawn."""
    keep = session.store.kept(session.decisions, shard).to_numpy()
    times = keep.astype(np.int64)
    if clustering.sample is not None and keep.any():
        kept = int(keep.sum())
        rng = np.random.default_rng([clustering.seed, number])
        drawn = rng.integers(0, kept, clustering.rows(kept))
        times[keep] = np.bincount(drawn, minlength=kept)
    start = 0
    for frame in session.columns.batches(shard, [clustering.embedding], BATCH):
        vectors = frame[clustering.embedding]
        taken = np.repeat(np.arange(len(frame)), times[start : start + len(frame)])
        start += len(frame)
        if vectors.gather(taken).null_count():
            raise RecipeError(
                f"--embedding: {clustering.embedding} has no value in some kept rows of {shard}"
            )
        if len(taken):
            yield vectors.gather(taken).to_numpy()


def kmeans(vectors: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """The k-means centres, (clusters, d) float32, of (n, d) float32; on GPUs if there are any."""
    import faiss

    training = faiss.Clustering(vectors.shape[1], clusters)
    training.niter = ROUNDS
    training.seed = seed
    training.max_points_per_centroid = MOST_POINTS
    index: faiss.Index = faiss.IndexFlatL2(vectors.shape[1])
    if hasattr(faiss, "get_num_gpus") and faiss.get_num_gpus():
        index = faiss.index_cpu_to_all_gpus(index)
    training.train(vectors, index)
    centroids: np.ndarray = faiss.vector_float_to_array(training.centroids).reshape(clusters, -1)
    return centroids

"""The embeddings of the kept samples, batch by batch, as a FAISS index takes them.

for vectors, samples in KeptVectors(session): ...      # (n, d) float32 of unit norm, and their samples
"""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from pipeline.errors import RecipeError
from pipeline.export.kept import kept_counts
from pipeline.plan.session import Session
from pipeline.recipe.sections import Index

BATCH = 4_096  # rows added at a time, at least: enough to keep BLAS busy, 8 MiB at 512 dimensions


def index_section(session: Session) -> Index:
    """`export.index`. Raises RecipeError if the recipe has none."""
    if session.recipe.export.index is None:
        raise RecipeError("export.index is missing: {embedding: clip.image_embedding, path: ...}")
    return session.recipe.export.index


class KeptVectors:
    """Batches of (unit vectors (n, d) float32, their samples) of the kept rows that have an embedding. Once
    the loop has ended, `rows` counts these rows, and `missing` the kept rows without an embedding."""

    def __init__(self, session: Session, names: Sequence[str] = ()) -> None:
        self.embedding = index_section(session).embedding
        self.names = list(names or ("uid", "shard", "row", "key", "text", "url"))
        self.columns = session.columns
        self.decision = session.decisions
        self.kept = kept_counts(session)
        self.rows = self.missing = 0

    def empty(self) -> pl.DataFrame:
        """A frame without rows that has every column."""
        return next(self._kept_frames(next(iter(self.kept)))).clear()

    @property
    def dimension(self) -> int:
        """The width of the embedding."""
        dtype = self.empty()[self.embedding].dtype
        assert isinstance(dtype, pl.Array)  # the recipe's check sees to it
        return dtype.size

    def __iter__(self) -> Iterator[tuple[np.ndarray, pl.DataFrame]]:
        self.rows = self.missing = waiting = 0
        batch: list[tuple[np.ndarray, pl.DataFrame]] = []
        for shard in (name for name, count in self.kept.items() if count):
            for frame in self._kept_frames(shard):
                batch.append(self._valid(frame))
                self.rows += len(batch[-1][0])
                waiting += len(batch[-1][0])
                if waiting >= BATCH:
                    yield _joined(batch)
                    batch, waiting = [], 0
        if batch:
            yield _joined(batch)

    def _kept_frames(self, shard: str) -> Iterator[pl.DataFrame]:
        """The kept rows of a shard, in frames of at most BATCH rows; at least one frame."""
        keep, start = self.columns.store.kept(self.decision, shard), 0
        for frame in self.columns.batches(shard, [*self.names, self.embedding], BATCH):
            yield frame.filter(keep.slice(start, len(frame)))
            start += len(frame)

    def _valid(self, frame: pl.DataFrame) -> tuple[np.ndarray, pl.DataFrame]:
        """Unit vectors and samples of the rows that have an embedding; counts the others."""
        present = frame.filter(pl.col(self.embedding).is_not_null())
        vectors = present[self.embedding].to_numpy().astype(np.float32)
        norms = np.linalg.norm(vectors, axis=1)
        valid = np.isfinite(norms) & (norms > 0)
        self.missing += len(frame) - int(valid.sum())
        return vectors[valid] / norms[valid, None], present.drop(self.embedding).filter(valid)


def _joined(batch: list[tuple[np.ndarray, pl.DataFrame]]) -> tuple[np.ndarray, pl.DataFrame]:
    vectors, frames = zip(*batch, strict=True)
    return np.concatenate(vectors), pl.concat(frames)

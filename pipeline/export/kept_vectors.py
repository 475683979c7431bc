"""The embeddings of the kept samples, batch by batch, as a FAISS index takes them.

for vectors, samples in KeptVectors.of(session, "clip.image_embedding"):    # (n, d) float32 of unit norm
    ...
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from pipeline.export.kept import captioned, kept_counts, read_captioned
from pipeline.plan.session import Session
from pipeline.pool.columns import Columns

BATCH = 4_096  # rows added at a time, at least: enough to keep BLAS busy, 8 MiB at 512 dimensions
DESCRIBED = ("uid", "shard", "row", "key", "text", "url")  # of a sample, by default


@dataclass
class KeptVectors:
    """Batches of (unit vectors (n, d) float32, their samples) of the kept rows that have an embedding. Once
    the loop has ended, `rows` counts these rows, and `missing` the kept rows without an embedding;
    `by_shard` holds both for each shard. Travels to workers.

    shards   those that have kept rows
    first    the shard to look up columns in; any
    names    the columns of the samples
    caption  the column that is their `text`
    """

    columns: Columns
    decision: str
    embedding: str
    shards: Sequence[str]
    first: str
    names: Sequence[str] = DESCRIBED
    caption: str = "text"
    rows: int = field(default=0, init=False)
    missing: int = field(default=0, init=False)
    by_shard: list[tuple[int, int]] = field(default_factory=list, init=False)

    @classmethod
    def of(cls, session: Session, embedding: str) -> "KeptVectors":
        """Those of a decision. Raises RecipeError without one."""
        kept = kept_counts(session)
        shards = [shard for shard, count in kept.items() if count]
        found = cls(session.columns, session.decisions, embedding, shards, next(iter(kept)))
        return replace(found, caption=session.recipe.export.caption_column)

    def over(self, shards: Sequence[str]) -> "KeptVectors":
        """The same of other shards."""
        return replace(self, shards=shards)

    def with_names(self, *names: str) -> "KeptVectors":
        """The same with other columns of the samples."""
        return replace(self, names=names)

    def empty(self) -> pl.DataFrame:
        """A frame without rows that has every column."""
        return next(self._kept_frames(self.first)).clear()

    @property
    def dimension(self) -> int:
        """The width of the embedding."""
        dtype = self.empty()[self.embedding].dtype
        assert isinstance(dtype, pl.Array)  # the recipe's check sees to it
        return dtype.size

    def __iter__(self) -> Iterator[tuple[np.ndarray, pl.DataFrame]]:
        self.rows = self.missing = waiting = 0
        self.by_shard = []
        batch: list[tuple[np.ndarray, pl.DataFrame]] = []
        for shard in self.shards:
            rows, missing = self.rows, self.missing
            for frame in self._kept_frames(shard):
                batch.append(self._valid(frame))
                self.rows += len(batch[-1][0])
                waiting += len(batch[-1][0])
                if waiting >= BATCH:
                    yield _joined(batch)
                    batch, waiting = [], 0
            self.by_shard.append((self.rows - rows, self.missing - missing))
        if batch:
            yield _joined(batch)

    def _kept_frames(self, shard: str) -> Iterator[pl.DataFrame]:
        """The kept rows of a shard, in frames of at most BATCH rows; at least one frame."""
        keep, start = self.columns.store.kept(self.decision, shard), 0
        names = [*self.names, self.embedding]
        for frame in self.columns.batches(shard, read_captioned(names, self.caption), BATCH):
            yield captioned(frame, names, self.caption).filter(keep.slice(start, len(frame)))
            start += len(frame)

    def _valid(self, frame: pl.DataFrame) -> tuple[np.ndarray, pl.DataFrame]:
        """Unit vectors and samples of the rows that have an embedding; counts the others."""
        present = frame.filter(pl.col(self.embedding).is_not_null())
        vectors = present[self.embedding].to_numpy().astype(np.float32)
        norms = np.linalg.norm(vectors, axis=1)
        valid = np.isfinite(norms) & (norms > 0)
        self.missing += len(frame) - int(valid.sum())
        frame = present.drop(self.embedding)
        if not valid.all():
            vectors, norms, frame = vectors[valid], norms[valid], frame.filter(valid)
        vectors /= norms[:, None]
        return vectors, frame


def _joined(batch: list[tuple[np.ndarray, pl.DataFrame]]) -> tuple[np.ndarray, pl.DataFrame]:
    vectors, frames = zip(*batch, strict=True)
    return np.concatenate(vectors), pl.concat(frames)

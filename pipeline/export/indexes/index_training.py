"""The first task of an index: choose the factory, train on a sample, draw the queries that measure recall.
Or, for an index that grows, take all of that from what it is."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from pipeline.export.indexes import faiss_build
from pipeline.export.indexes.faiss_file import emptied
from pipeline.export.indexes.index_files import QUERIES, RECALL, TRAINED, packed
from pipeline.export.indexes.index_tasks import IndexWork, Piece
from pipeline.export.indexes.recall import QUERIES as MOST_QUERIES
from pipeline.export.indexes.recall import read_recall
from pipeline.export.places.contents import content_of, local_content
from pipeline.export.places.transfer import local_copy
from pipeline.plan.cluster import GIB
from pipeline.plan.growth.growth import EXACT
from pipeline.plan.index_choice import SPARE, choose, shape_of
from pipeline.storage.folder import Folder
from pipeline.uids import draw

SEED, QUERY_SEED = 0, 1  # of the draws of training vectors and of queries
AUTO = "auto"


class Trained(NamedTuple):
    """The factory string that was used, which `auto` leaves open; and the files that were written."""

    factory: str
    contents: dict[str, str]


def train(work: IndexWork) -> Trained:
    """Choose the factory, train, draw the queries. `auto` goes by the rows that have an embedding; these are
    counted only if there are too many kept rows for an exact index."""
    dimension, memory, kept = work.vectors.dimension, work.section.memory * GIB, sum(work.counts.values())
    auto = work.section.factory == AUTO
    factory = choose(kept, dimension, memory) if auto else work.section.factory
    index = faiss_build.create(factory, dimension, work.key)
    queries = packed(vectors=np.empty((0, dimension), np.float32))
    if factory != EXACT:
        wanted = 0 if index.is_trained else shape_of(factory, dimension).training_rows
        vectors, queries, rows = _drawn(work, wanted, dimension)
        if auto and factory != (factory := choose(rows, dimension, memory)):
            index = faiss_build.create(factory, dimension, work.key)
        faiss_build.train(index, vectors, factory, work.key)
    return _published(work, factory, index, queries)


@dataclass(frozen=True)
class TrainedBefore:
    """Takes the training of an index that grows, of which `piece` is a file, and its queries."""

    work: IndexWork
    piece: Piece

    def take(self, factory: str) -> Trained:
        """In the place of `train`; `factory`: of the index."""
        folder = Folder(self.piece.path)
        with local_copy(folder, self.piece.index) as path:
            index = emptied(path, shape_of(factory, self.work.vectors.dimension), self.piece.rows)
            return _published(
                self.work,
                factory,
                index,
                packed(vectors=read_recall(folder.read(RECALL), self.work.vectors.dimension)["vectors"]),
            )


def _published(work: IndexWork, factory: str, index: Any, queries: bytes) -> Trained:
    """Write the index without rows, and the queries."""
    faiss_build.set_probes(index)
    with work.folder.publishing(TRAINED) as path:
        faiss_build.write(index, path)
        content = local_content(path)
    work.folder.publish(QUERIES, queries)
    return Trained(factory, {TRAINED: content, QUERIES: content_of(queries)})


def _drawn(work: IndexWork, wanted: int, dimension: int) -> tuple[np.ndarray, bytes, int]:
    """(about `wanted` vectors for training, the file of the queries, the number of vectors in the index). The
    queries are those with the lowest draws of another seed. If not every shard is read, the number is an
    estimate."""
    shards, kept = _shards_to_draw_from(work, max(wanted, 2 * MOST_QUERIES))
    rows = work.vectors.over(shards).with_names("uid", "shard", "row")
    share, near = (
        wanted / max(kept, 1),
        2 * MOST_QUERIES / max(kept, 1),
    )  # twice as many: a share is not a count
    drawn = [np.empty((0, dimension), np.float32)]
    asked, frames = [np.empty((0, dimension), np.float32)], list[pl.DataFrame]()
    for vectors, frame in rows:
        if share:
            drawn.append(vectors[draw(SEED, frame["uid"]) < share])
        lots = pl.Series("lot", draw(QUERY_SEED, frame["uid"]))
        frames.append(frame.select("shard", "row", lots).filter(lots < near))
        asked.append(vectors[(lots < near).to_numpy()])
    if not frames:
        return drawn[0], packed(vectors=asked[0]), 0
    places = pl.concat(frames)
    chosen = np.sort(np.argsort(places["lot"].to_numpy(), kind="stable")[:MOST_QUERIES])
    queries = packed(
        vectors=np.concatenate(asked)[chosen],
        shards=np.array(places["shard"].gather(chosen).to_list(), dtype=np.str_),
        rows=places["row"].gather(chosen).to_numpy(),
    )
    return np.concatenate(drawn), queries, round(rows.rows / kept * sum(work.counts.values()))


def _shards_to_draw_from(work: IndexWork, wanted: int) -> tuple[Sequence[str], int]:
    """(shards that hold SPARE times as many kept samples as are wanted, the number of those), drawn by the
    shards' names: so 5.8 TB of vectors are not read for 64 GB of them. All shards, if that saves less than
    half."""
    shards, kept = work.vectors.shards, sum(work.counts.values())
    if kept <= 2 * SPARE * wanted:
        return shards, kept
    names = pl.Series([hashlib.md5(name.encode(), usedforsecurity=False).hexdigest() for name in shards])
    order = np.argsort(draw(SEED, names), kind="stable")
    held = np.cumsum([work.counts[shards[place]] for place in order])
    count = int(np.searchsorted(held, SPARE * wanted)) + 1
    return [shards[place] for place in sorted(order[:count].tolist())], int(held[count - 1])

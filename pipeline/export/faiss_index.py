"""A FAISS index of the kept samples' embeddings, in clip-retrieval's folder layout.

    write_index(session)                       -> export.index.path
    search("out/index", vectors, k=10).rows    nearest samples, with their metadata

    image.index                   inner product of unit vectors: cosines
    metadata/metadata_0.parquet   row i is FAISS's id i: id uid shard row key caption url
    image.json                    what it is; written last: an index that has it is complete

Kept samples are added in pool order; those without an embedding (null, zero or not finite) are
left out and counted. Training takes samples by a draw on their uid. Memory: the training sample (40
vectors per list), a block of the index, and 4,096 rows or a shard's.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import orjson
import polars as pl
import pyarrow.parquet as pq

from pipeline.errors import RecipeError
from pipeline.export import faiss_build
from pipeline.export.faiss_file import growing
from pipeline.export.kept import kept_counts
from pipeline.plan.session import Session
from pipeline.schema import owner
from pipeline.storage import layout
from pipeline.storage.folder import Folder
from pipeline.storage.store import to_arrow
from pipeline.uids import draw

INDEX, METADATA, ABOUT = "image.index", "metadata/metadata_0.parquet", "image.json"
BATCH = 4_096  # rows added at a time, at least: enough to keep BLAS busy, 8 MiB at 512 dimensions
SEED = 0  # of the draw of training vectors


def write_index(session: Session) -> dict[str, Any]:
    """Build and publish `export.index`; one that is complete and the same already is left alone.
    Returns what `image.json` holds, with path and `written`. Raises RecipeError."""
    section = session.recipe.export.index
    if section is None:
        raise RecipeError("export.index is missing: {embedding: clip.image_embedding, path: ...}")
    kept, out = sum(kept_counts(session).values()), Folder(section.path)
    out.remove_leftovers()
    about = _identity(session)
    before = _about(out)
    if before and before.items() >= about.items():
        return {**before, "path": section.path, "written": False}
    if before:
        out.fs.rm_file(out.path(ABOUT))
    index, key = _trained(session, kept)
    rows = Rows(session)
    with out.publishing(INDEX) as path, out.publishing(METADATA) as table:
        _fill(index, path, rows, table)
    about |= {"key": key, "rows": rows.rows, "missing": rows.missing, "dimension": index.d}
    out.publish(ABOUT, orjson.dumps(about, option=orjson.OPT_INDENT_2))
    return {**about, "path": section.path, "written": True}


def _identity(session: Session) -> dict[str, Any]:
    """What the bytes depend on."""
    section = session.recipe.export.index
    assert section is not None
    name = owner(section.embedding)
    return {
        "decision": session.decisions,
        "embedding": section.embedding,
        "columns": session.folder(name) if name is not None else layout.SAMPLES,
        "factory": section.factory,
        "metric": "inner_product",
    }


def _about(folder: Folder) -> dict[str, Any] | None:
    """The `image.json` that is there. Raises RecipeError for one of another program."""
    if not folder.exists(ABOUT):
        return None
    try:
        found = dict(orjson.loads(folder.read(ABOUT)))
    except ValueError:
        found = {}
    if "decision" not in found:
        raise RecipeError(f"export.index.path: {folder.path(ABOUT)} is no index of Winnow's; move it")
    return found


def _trained(session: Session, kept: int) -> tuple[Any, str]:
    """An index ready to be filled, and its factory string. `auto` goes by the rows that have an
    embedding; these are counted only where the kept ones are too many for a plain index."""
    section = session.recipe.export.index
    assert section is not None
    asked, dimension = section.factory, Rows(session).dimension
    key = faiss_build.choose(kept, dimension) if asked == "auto" else asked
    index = faiss_build.create(key, dimension)
    if index.is_trained:
        return index, key
    vectors, count = _sample(session, faiss_build.wanted(index) / max(kept, 1), dimension)
    if asked == "auto" and key != (key := faiss_build.choose(count, dimension)):
        index = faiss_build.create(key, dimension)
    faiss_build.train(index, vectors, key)
    return index, key


def _sample(session: Session, share: float, dimension: int) -> tuple[np.ndarray, int]:
    """(vectors drawn by uid, how many there are to draw from)."""
    rows, parts = Rows(session, ["uid"]), [np.empty((0, dimension), np.float32)]
    for vectors, frame in rows:
        parts.append(vectors[draw(SEED, frame["uid"]) < share])
    return np.concatenate(parts), rows.rows


def _fill(index: Any, path: str, rows: "Rows", table: str) -> None:
    """Write all rows into the index, and their metadata into a parquet file, batch by batch."""
    start, schema = 0, to_arrow(_metadata(rows.empty(), 0)).schema
    faiss_build.set_probes(index)
    with growing(index, path) as add, pq.ParquetWriter(table, schema, compression="zstd") as file:
        for vectors, frame in rows:
            add(vectors)
            file.write_table(to_arrow(_metadata(frame, start)))
            start += len(frame)
            del vectors, frame  # before the next are read


def _metadata(frame: pl.DataFrame, start: int) -> pl.DataFrame:
    ids = pl.int_range(start, start + len(frame), dtype=pl.Int64, eager=True).alias("id")
    return pl.DataFrame([ids, *frame.select("uid", "shard", "row", "key", caption="text", url="url")])


# --- search ---------------------------------------------------------------------------------------


class Hits(NamedTuple):
    """ids, scores: (n, k), best first, -1 where there are fewer. rows: a frame of query, rank,
    score and the metadata columns, one row per hit, in that order."""

    ids: np.ndarray
    scores: np.ndarray
    rows: pl.DataFrame


def search(path: str, vectors: np.ndarray, k: int = 10) -> Hits:
    """The k nearest samples to each of (n, d) vectors of any length. `path`: an index's folder."""
    folder = Folder(path)
    if _about(folder) is None:
        raise RecipeError(f"{path} is no index: it has no {ABOUT}; run `winnow export` first")
    with _local(folder, INDEX) as local:
        scores, ids = faiss_build.query(local, vectors, k)
    query, rank = (grid.ravel() for grid in np.indices(ids.shape))
    hits = pl.DataFrame({"query": query, "rank": rank, "score": scores.ravel(), "id": ids.ravel()})
    with _local(folder, METADATA) as local:
        wanted = pl.col("id").is_in(np.unique(ids).tolist())
        metadata = pl.scan_parquet(local).filter(wanted).collect()
    rows = hits.join(metadata, on="id", how="inner", maintain_order="left")
    return Hits(ids, scores, rows)


@contextmanager
def _local(folder: Folder, relative: str) -> Iterator[str]:
    """A path on this machine with that file's bytes."""
    if folder.local:
        yield folder.path(relative)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder.fs.get_file(folder.path(relative), f"{temporary}/file")
        yield f"{temporary}/file"


# --- rows -----------------------------------------------------------------------------------------


class Rows:
    """Batches of (unit vectors (n, d) float32, their samples) of the kept rows that have an
    embedding. `rows` and `missing` count them and the others, once the loop has ended."""

    def __init__(self, session: Session, names: Sequence[str] = ()) -> None:
        assert session.recipe.export.index is not None
        self.embedding = session.recipe.export.index.embedding
        self.names = list(names or ("uid", "shard", "row", "key", "text", "url"))
        self.columns = session.columns
        self.folder, self.kept = session.decisions, kept_counts(session)
        self.rows = self.missing = 0

    def empty(self) -> pl.DataFrame:
        """No rows, every column."""
        return next(self._read(next(iter(self.kept)))).clear()

    @property
    def dimension(self) -> int:
        """The embedding's width."""
        dtype = self.empty()[self.embedding].dtype
        assert isinstance(dtype, pl.Array)  # the recipe's check sees to it
        return dtype.size

    def __iter__(self) -> Iterator[tuple[np.ndarray, pl.DataFrame]]:
        self.rows = self.missing = held = 0
        parts: list[tuple[np.ndarray, pl.DataFrame]] = []
        for shard in (name for name, count in self.kept.items() if count):
            for frame in self._read(shard):
                part = self._valid(frame)
                self.rows, held = self.rows + len(part[0]), held + len(part[0])
                parts.append(part)
                if held >= BATCH:
                    yield _joined(parts)
                    parts, held = [], 0
        if parts:
            yield _joined(parts)

    def _read(self, shard: str) -> Iterator[pl.DataFrame]:
        keep, start = self.columns.store.kept(self.folder, shard), 0
        for frame in self.columns.batches(shard, [*self.names, self.embedding], BATCH):
            yield frame.filter(keep.slice(start, len(frame)))
            start += len(frame)

    def _valid(self, frame: pl.DataFrame) -> tuple[np.ndarray, pl.DataFrame]:
        there = frame.filter(pl.col(self.embedding).is_not_null())
        vectors = there[self.embedding].to_numpy().astype(np.float32)
        norms = np.linalg.norm(vectors, axis=1)
        good = np.isfinite(norms) & (norms > 0)
        self.missing += len(frame) - int(good.sum())
        return vectors[good] / norms[good, None], there.drop(self.embedding).filter(good)


def _joined(parts: list[tuple[np.ndarray, pl.DataFrame]]) -> tuple[np.ndarray, pl.DataFrame]:
    vectors, frames = zip(*parts, strict=True)
    return np.concatenate(vectors), pl.concat(frames)

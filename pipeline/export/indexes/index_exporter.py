"""`export.index`: a FAISS index of the kept samples' embeddings, in clip-retrieval's folder layout.

    write_index(session)                       -> export.index.path
    search("out/index", vectors, k=10).rows    nearest samples, with their metadata

    image.index                   inner product of unit vectors: cosines
    metadata/metadata_0.parquet   row i is FAISS's id i: id uid shard row key caption url
    image.json                    describes the index; `complete` is true once all of it is there

Kept samples are added in pool order. Samples without an embedding (null, zero or not finite) are left out and
counted. Vectors for training are drawn by uid. Memory holds the training vectors (40 per list), one block of
the index, and 4,096 rows or one shard's, whichever is more.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from pipeline.errors import RecipeError
from pipeline.export.exporter import Watch
from pipeline.export.indexes import faiss_build
from pipeline.export.indexes.faiss_file import growing
from pipeline.export.kept import kept_counts
from pipeline.export.kept_vectors import KeptVectors, index_section
from pipeline.export.places.contents import HashedFile, local_content
from pipeline.export.places.folder import ExportFolder, matches
from pipeline.export.places.inputs import Inputs, operators_of
from pipeline.export.places.stage import COMPLETE, Stage
from pipeline.export.places.transfer import local_copy
from pipeline.plan.session import Session
from pipeline.progress import begun
from pipeline.recipe.check import INDEX_TASK
from pipeline.run.executor import Asked, Executor
from pipeline.schema import owner
from pipeline.storage import layout
from pipeline.storage.folder import Folder
from pipeline.storage.store import to_arrow
from pipeline.uids import draw

KEY = "export.index.path"
INDEX_FILE, METADATA_FILE, ABOUT_FILE = "image.index", "metadata/metadata_0.parquet", "image.json"
SEED = 0  # of the draw of training vectors


@dataclass(frozen=True)
class IndexResult:
    """The content of `image.json`, the folder, and whether this run wrote it.

    decision, embedding   the decision's folder; the recipe's `export.index.embedding`
    columns               the folder of the store that holds the embeddings
    factory, key          the recipe's factory; the factory string that was used, which `auto` leaves open
    rows, missing         kept samples in the index; kept samples without an embedding
    """

    decision: str
    embedding: str
    columns: str
    factory: str
    metric: str
    key: str
    rows: int
    missing: int
    dimension: int
    path: str
    written: bool


class IndexExporter:
    """See exporter.Exporter."""

    name = "index"

    def check(self, session: Session) -> None:
        """See exporter.Exporter."""
        _place(session).check()

    def write(self, session: Session, executor: Executor, watch: Watch) -> IndexResult:
        """See exporter.Exporter. The index is built on a machine that has the CPUs and memory of
        `run.index`; one that is there already is found here."""
        begun("building the index")
        asked = Asked(f"run.{INDEX_TASK}", session.recipe.resources(INDEX_TASK))
        return written_index(session) or executor.one(write_index, session, asked)


def write_index(session: Session) -> IndexResult:
    """Build and publish `export.index`. An index of the same decision and embeddings is left alone; another
    one stays until the new one is whole. Raises RecipeError."""
    kept = sum(kept_counts(session).values())
    inputs = _inputs(session)
    with _writing(session, inputs) as stage:
        written = not stage.complete
        if written:
            stage.finish(partial(inputs.verify, KEY), _build(session, stage, kept))
        return _result(session, stage, written)


def written_index(session: Session) -> IndexResult | None:
    """The index that is there, if it is of the same decision and embeddings. Raises RecipeError."""
    inputs, place = _inputs(session), _place(session)
    there = place.read(place.out)
    if there is None or not (there.get(COMPLETE) and matches(there, _identity(session, inputs))):
        return None  # nothing is begun here
    with _writing(session, inputs) as stage:
        return _result(session, stage, False) if stage.complete else None


def _inputs(session: Session) -> Inputs:
    """What the index is made from."""
    return Inputs(session, operators_of(session, [index_section(session).embedding]))


def _writing(session: Session, inputs: Inputs) -> AbstractContextManager[Stage]:
    """Hold the place of the index: where to build it."""
    return _place(session).writing(_identity(session, inputs), f"{KEY} of {session.recipe.name}")


def _result(session: Session, stage: Stage, written: bool) -> IndexResult:
    """What the manifest of a complete index says."""
    about = {name: stage.manifest[name] for name in _ABOUT_KEYS}
    return IndexResult(**about, path=_place(session).path, written=written)


def _build(session: Session, stage: Stage, kept: int) -> dict[str, Any]:
    """Write the index and its metadata; returns what the manifest says of them. `kept`: how many samples are
    kept, with or without an embedding."""
    index, key = _trained(session, kept)
    rows = KeptVectors(session)
    out = stage.folder
    with (
        out.publishing(INDEX_FILE) as index_path,
        out.publishing(METADATA_FILE) as metadata_path,
        HashedFile(metadata_path) as metadata,
    ):
        _fill(index, index_path, rows, metadata)
        metadata.close()
        written = local_content(index_path)  # FAISS writes its head last, so it cannot be hashed before
    stage.note({INDEX_FILE: written, METADATA_FILE: metadata.content()})
    return {"key": key, "rows": rows.rows, "missing": rows.missing, "dimension": index.d}


_ABOUT_KEYS = {field.name for field in fields(IndexResult)} - {"path", "written"}


def _place(session: Session) -> ExportFolder:
    """The folder of the index. Raises RecipeError if the recipe has none."""
    return ExportFolder(index_section(session).path, KEY, ABOUT_FILE, _names)


def _names(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """The files that an `image.json` of Winnow's names."""
    if "decision" not in manifest or "embedding" not in manifest:
        raise ValueError
    return INDEX_FILE, METADATA_FILE


def _identity(session: Session, inputs: Inputs) -> dict[str, Any]:
    """Everything that the bytes depend on."""
    section = index_section(session)
    operator = owner(section.embedding)
    return {
        "export": "index",
        **inputs.manifest,
        "embedding": section.embedding,
        "columns": session.folder(operator) if operator is not None else layout.SAMPLES,
        "factory": section.factory,
        "metric": "inner_product",
    }


def _trained(session: Session, kept: int) -> tuple[Any, str]:
    """An index ready to be filled, and its factory string. `auto` depends on the number of rows that have an
    embedding; these are counted only if there are too many kept rows for a plain index."""
    factory = index_section(session).factory
    dimension = KeptVectors(session).dimension
    key = faiss_build.choose(kept, dimension) if factory == "auto" else factory
    index = faiss_build.create(key, dimension)
    if index.is_trained:
        return index, key
    vectors, count = _sample(session, faiss_build.training_rows(index) / max(kept, 1), dimension)
    if factory == "auto" and key != (key := faiss_build.choose(count, dimension)):
        index = faiss_build.create(key, dimension)
    faiss_build.train(index, vectors, key)
    return index, key


def _sample(session: Session, share: float, dimension: int) -> tuple[np.ndarray, int]:
    """(vectors drawn by uid, the number of vectors they were drawn from)."""
    rows = KeptVectors(session, ["uid"])
    drawn = [np.empty((0, dimension), np.float32)]
    for vectors, frame in rows:
        drawn.append(vectors[draw(SEED, frame["uid"]) < share])
    return np.concatenate(drawn), rows.rows


def _fill(index: Any, index_path: str, rows: KeptVectors, metadata: HashedFile) -> None:
    """Write all rows into the index, and their metadata into a parquet file, batch by batch."""
    start, schema = 0, to_arrow(_metadata(rows.empty(), 0)).schema
    faiss_build.set_probes(index)
    with (
        growing(index, index_path) as add_vectors,
        pq.ParquetWriter(metadata, schema, compression="zstd") as file,
    ):
        for vectors, frame in rows:
            add_vectors(vectors)
            file.write_table(to_arrow(_metadata(frame, start)))
            start += len(frame)
            del vectors, frame  # before the next are read


def _metadata(frame: pl.DataFrame, start: int) -> pl.DataFrame:
    """The metadata of samples whose first has id `start`."""
    ids = pl.int_range(start, start + len(frame), dtype=pl.Int64, eager=True).alias("id")
    return pl.DataFrame([ids, *frame.select("uid", "shard", "row", "key", caption="text", url="url")])


# --- search ---------------------------------------------------------------------------------------


class Hits(NamedTuple):
    """The nearest samples of n vectors.

    ids, scores   (n, k), best first; ids are -1 if the index has fewer than k rows
    rows          one row per hit, by query and rank: query, rank, score, and the metadata's columns
    """

    ids: np.ndarray
    scores: np.ndarray
    rows: pl.DataFrame


def search(path: str, vectors: np.ndarray, k: int = 10) -> Hits:
    """The k nearest samples to each of (n, d) vectors of any length. `path`: an index's folder."""
    folder = Folder(path)
    about = ExportFolder(path, KEY, ABOUT_FILE, _names).read(folder)
    if about is None:
        raise RecipeError(f"{path} is not an index: it has no {ABOUT_FILE}; run `winnow export` first")
    if not about.get(COMPLETE, True):  # earlier versions wrote it last, without this key
        raise RecipeError(f"{path} is not complete; run `winnow export` again")
    with local_copy(folder, INDEX_FILE) as local:
        scores, ids = faiss_build.query(local, vectors, k)
    query, rank = (grid.ravel() for grid in np.indices(ids.shape))
    hits = pl.DataFrame({"query": query, "rank": rank, "score": scores.ravel(), "id": ids.ravel()})
    with local_copy(folder, METADATA_FILE) as local:
        is_hit = pl.col("id").is_in(np.unique(ids).tolist())
        metadata = pl.scan_parquet(local).filter(is_hit).collect()
    rows = hits.join(metadata, on="id", how="inner", maintain_order="left")
    return Hits(ids, scores, rows)


# --- rows -----------------------------------------------------------------------------------------

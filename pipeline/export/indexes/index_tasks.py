"""The tasks that build an index: fill its parts, search them. `index_training` has the first of all tasks and
`index_joining` the last one. Each runs on any machine that reaches the index's folder and the store, and
leaves files (index_files.py) and their contents.

Memory of a task, at most: `train` holds its vectors twice (40 per list; half of the recipe's `memory` for
`auto`); `fill` the head of the index, twice faiss_file.BLOCK and one batch, or one shard's columns, whichever
is more; `search` the head and a part; `join` the head. For the eight parts of a million vectors of 512 that
is 1.07 GB, libraries included (measured). An index that cannot be cut (HNSW, fast-scan codes) is one part,
which is held whole.
"""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from pipeline.export.exporter import TaskReport
from pipeline.export.indexes import faiss_build
from pipeline.export.indexes.faiss_file import growing, join
from pipeline.export.indexes.index_files import QUERIES, TRAINED, packed, part_files, unpacked
from pipeline.export.indexes.metadata_file import MetadataWriter, samples_of, schema_of
from pipeline.export.indexes.recall import NONE, Answer, K, Nearest
from pipeline.export.kept_vectors import KeptVectors
from pipeline.export.places.contents import HashedFile, content_of, local_content
from pipeline.export.places.transfer import local_copy
from pipeline.recipe.sections import Index
from pipeline.storage.folder import Folder


@dataclass(frozen=True)
class Piece:
    """Files with consecutive rows of an index: one that was filled, or one of the index that grows.

    path              the folder
    index, metadata   the files in it
    rows              in them
    """

    path: str
    index: str
    metadata: str
    rows: int

    def read(self, mapped: bool = False) -> Any:
        """The index. `mapped`: its rows stay in the file, and it cannot be changed."""
        import faiss

        with local_copy(Folder(self.path), self.index) as local:
            return faiss.read_index(local, faiss.IO_FLAG_MMAP_IFC if mapped else 0)


@dataclass(frozen=True)
class Part:
    """A part of an index: its number, and the shards that hold its rows; `base`: rows that come before
    them."""

    number: int
    shards: tuple[str, ...]
    base: Piece | None = None


@dataclass(frozen=True)
class IndexWork:
    """What the tasks of one index share.

    path     the folder to build it in
    key      of the recipe, for messages: `export.index`
    section  the index, as the recipe has it
    vectors  its vectors
    counts   kept samples by shard, with or without an embedding
    """

    path: str
    key: str
    section: Index
    vectors: KeptVectors
    counts: Mapping[str, int]

    def light(self) -> "IndexWork":
        """The same for tasks that are told which shards are theirs: a pool may have a million."""
        return replace(self, vectors=self.vectors.over(()), counts={})

    @property
    def folder(self) -> Folder:
        """The folder at `path`."""
        return Folder(self.path)

    def trained(self) -> Any:
        """The index without rows."""
        return Piece(self.path, TRAINED, "", 0).read()


# --- filling --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Filler:
    """Fills the parts of an index."""

    work: IndexWork

    def fill(self, part: Part) -> TaskReport:
        """Write a part, its samples, and the rows of its shards that are nearest to the queries."""
        work, folder = self.work, self.work.folder
        index_name, metadata_name, notes_name = part_files(part.number)
        rows = work.vectors.over(part.shards)
        near = _NearQueries(unpacked(folder, QUERIES))
        with (
            folder.publishing(index_name) as index_path,
            folder.publishing(metadata_name) as metadata_path,
            HashedFile(metadata_path) as metadata,
        ):
            if part.base is None:
                _fill(work.trained(), index_path, rows, metadata, near)
                # FAISS writes its head last, so the file cannot be hashed before
                content = local_content(index_path)
            else:
                content = _fill_behind(part.base, work, index_path, rows, metadata, near)
            metadata.close()
        counted = np.array(rows.by_shard, np.int64).reshape(-1, 2)
        notes = packed(rows=counted[:, 0], missing=counted[:, 1], **near.arrays())
        folder.publish(notes_name, notes)
        contents = {index_name: content, metadata_name: metadata.content(), notes_name: content_of(notes)}
        return TaskReport(index_name, rows.rows, int(content.split(" ")[0]), contents=contents)


class _NearQueries:
    """The rows that are nearest to the queries, and those that are a query themselves."""

    def __init__(self, queries: dict[str, np.ndarray]) -> None:
        self.nearest = Nearest(queries["vectors"])
        self.own = np.full(len(queries["vectors"]), NONE, np.int64)
        self.places = pl.DataFrame(
            {"shard": queries.get("shards", []), "row": queries.get("rows", [])},
            schema={"shard": pl.String, "row": pl.UInt32},
        ).with_row_index("query")

    def add(self, vectors: np.ndarray, frame: pl.DataFrame) -> None:
        """Compare the queries with (n, d) vectors of these samples."""
        numbered = frame.select("shard", "row").with_row_index("id", offset=self.nearest.added)
        found = self.places.join(numbered, on=["shard", "row"], how="inner")
        self.own[found["query"].to_numpy()] = found["id"].to_numpy()
        self.nearest.add(vectors)

    def arrays(self) -> dict[str, np.ndarray]:
        """For the notes of a part."""
        return {"scores": self.nearest.scores, "ids": self.nearest.ids, "own": self.own}


def _fill(
    index: Any,
    path: str,
    rows: KeptVectors,
    metadata: HashedFile,
    near: _NearQueries,
    before: str | None = None,
) -> None:
    """Write all rows into the index, and their samples, batch by batch, into the table, behind those of the
    file `before`."""
    with growing(index, path) as add_vectors, MetadataWriter(metadata, schema_of(rows.empty())) as table:
        if before is not None:
            table.add_file(before)
        for vectors, frame in rows:
            add_vectors(vectors)
            near.add(vectors, frame)
            table.add(samples_of(frame))
            del vectors, frame  # before the next are read


def _fill_behind(
    base: Piece, work: IndexWork, path: str, rows: KeptVectors, metadata: HashedFile, near: _NearQueries
) -> str:
    """The same behind the rows of files that are there; returns the content of the index."""
    added, folder = f"{path}.added", Folder(base.path)
    try:
        with local_copy(folder, base.metadata) as before:
            _fill(work.trained(), added, rows, metadata, near, before)
        with local_copy(folder, base.index) as held, HashedFile(path) as file:
            join(work.trained(), {held: base.rows, added: rows.rows}, file.write)
        return file.content()
    finally:
        with suppress(FileNotFoundError):
            os.unlink(added)


# --- searching ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Searcher:
    """Searches the pieces of an index for its queries, with several numbers of probes."""

    work: IndexWork
    pieces: Sequence[Piece]
    probes: Sequence[int]

    def search(self, number: int) -> tuple[int, list[np.ndarray], list[Answer]]:
        """(the piece, (q, K + 1) scores for each number of probes, the ids of the same)."""
        piece = self.pieces[number]
        index = piece.read(mapped=piece.path != self.work.path)
        behind, lists = faiss_build.inner(index), faiss_build.probed_lists(index)
        queries = unpacked(self.work.folder, QUERIES)["vectors"]
        queries = np.ascontiguousarray(faiss_build.transformed(faiss_build.transforms(index), queries))
        scores, answers = list[np.ndarray](), list[Answer]()
        for probes in self.probes:
            if lists is not None:
                faiss_build.visit(lists, probes)
            began = time.perf_counter()
            found, ids = behind.search(queries, K + 1)
            scores.append(found)
            answers.append(Answer(ids, time.perf_counter() - began))
        return number, scores, answers

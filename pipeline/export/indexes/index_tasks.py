"""The tasks that build an index: train it, fill its parts, search them, join them. Each runs on any machine
that reaches the index's folder and the store, and leaves files (index_files.py) and their contents.

Memory of a task, at most: `train` holds its vectors twice (40 per list; half of the recipe's `memory` for
`auto`); `fill` the head of the index, twice faiss_file.BLOCK and one batch, or one shard's columns, whichever
is more; `search` the head and a part; `join` the head. For the eight parts of a million vectors of 512 that
is 1.07 GB, libraries included (measured). An index that cannot be cut (HNSW, fast-scan codes) is one part,
which is held whole.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.export.exporter import TaskReport
from pipeline.export.indexes import faiss_build, index_files
from pipeline.export.indexes.faiss_file import growing, join
from pipeline.export.indexes.index_files import QUERIES, TRAINED, packed, part_files, unpacked
from pipeline.export.indexes.recall import NONE, Answer, K, Nearest
from pipeline.export.kept_vectors import KeptVectors
from pipeline.export.places.contents import HashedFile, content_of, local_content
from pipeline.export.places.transfer import local_copy
from pipeline.recipe.sections import Index
from pipeline.storage.folder import Folder
from pipeline.storage.store import to_arrow


@dataclass(frozen=True)
class Part:
    """A part of an index: its number, and the shards that hold its rows."""

    number: int
    shards: tuple[str, ...]


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
        return self.read(TRAINED)

    def read(self, name: str) -> Any:
        """An index of the folder."""
        import faiss

        with local_copy(self.folder, name) as local:
            return faiss.read_index(local)


# --- filling --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Filler:
    """Fills the parts of an index."""

    work: IndexWork

    def fill(self, part: Part) -> TaskReport:
        """Write a part, its samples, and the rows of it that are nearest to the queries."""
        work, folder = self.work, self.work.folder
        index_name, metadata_name, notes_name = part_files(part.number)
        rows = work.vectors.over(part.shards)
        near = _NearQueries(unpacked(folder, QUERIES))
        with (
            folder.publishing(index_name) as index_path,
            folder.publishing(metadata_name) as metadata_path,
            HashedFile(metadata_path) as metadata,
        ):
            _fill(work.trained(), index_path, rows, metadata, near)
            metadata.close()
            content = local_content(index_path)  # FAISS writes its head last, so it cannot be hashed before
        notes = packed(rows=np.array(rows.rows), missing=np.array(rows.missing), **near.arrays())
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


def _fill(index: Any, path: str, rows: KeptVectors, metadata: HashedFile, near: _NearQueries) -> None:
    """Write all rows into the index, and their metadata into a parquet file, batch by batch."""
    start, schema = 0, to_arrow(_metadata(rows.empty(), 0)).schema
    with growing(index, path) as add_vectors, pq.ParquetWriter(metadata, schema, compression="zstd") as file:
        for vectors, frame in rows:
            add_vectors(vectors)
            near.add(vectors, frame)
            file.write_table(to_arrow(_metadata(frame, start)))
            start += len(frame)
            del vectors, frame  # before the next are read


def _metadata(frame: pl.DataFrame, start: int) -> pl.DataFrame:
    """The metadata of samples whose first has id `start`."""
    ids = pl.int_range(start, start + len(frame), dtype=pl.Int64, eager=True).alias("id")
    return pl.DataFrame([ids, *frame.select("uid", "shard", "row", "key", caption="text", url="url")])


# --- searching ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Searcher:
    """Searches the parts of an index for its queries, with several numbers of probes."""

    work: IndexWork
    probes: Sequence[int]

    def search(self, number: int) -> tuple[int, list[np.ndarray], list[Answer]]:
        """(the part, (q, K + 1) scores for each number of probes, the ids of the same)."""
        index = self.work.read(index_files.part_index(number))
        behind, lists = faiss_build.inner(index), faiss_build.probed_lists(index)
        queries = unpacked(self.work.folder, QUERIES)["vectors"]
        queries = np.ascontiguousarray(faiss_build.transformed(faiss_build.transforms(index), queries))
        scores, answers = list[np.ndarray](), list[Answer]()
        for probes in self.probes:
            if lists is not None:
                lists.nprobe = probes
            began = time.perf_counter()
            found, ids = behind.search(queries, K + 1)
            scores.append(found)
            answers.append(Answer(ids, time.perf_counter() - began))
        return number, scores, answers


@dataclass(frozen=True)
class ListFinder:
    """Finds the lists that rows are in, of an index with inverted lists."""

    work: IndexWork

    def lists(self, asked: tuple[int, np.ndarray]) -> tuple[int, np.ndarray]:
        """(the part, the list of each of its rows that are asked for by (part, ids)). The ids alone are read:
        the file is mapped."""
        import faiss

        number, ids = asked
        with local_copy(self.work.folder, index_files.part_index(number)) as local:
            index = faiss.read_index(local, faiss.IO_FLAG_MMAP)
        ivf = faiss_build.probed_lists(index)
        list_of = np.full(index.ntotal, NONE, np.int64)
        for place in range(ivf.nlist):
            if size := ivf.invlists.list_size(place):
                list_of[faiss.rev_swig_ptr(ivf.invlists.get_ids(place), size)] = place
        return number, list_of[ids]

    def ranks(self, lists: np.ndarray) -> np.ndarray:
        """(q, n): how many lists are nearer to each query than the n `lists` of its row; NONE stays."""
        index = self.work.trained()
        ivf = faiss_build.probed_lists(index)
        queries = unpacked(self.work.folder, QUERIES)["vectors"]
        queries = faiss_build.transformed(faiss_build.transforms(index), queries)
        centroids = ivf.quantizer.reconstruct_n(0, ivf.nlist)
        ranks = np.full(lists.shape, NONE, np.int64)
        for query, row in enumerate(lists):
            scores = centroids @ queries[query]
            for place in np.unique(row[row != NONE]).tolist():
                ranks[query, row == place] = (scores > scores[place]).sum()
        return ranks


# --- joining --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Joiner:
    """Joins the parts into one index. `rows`: of each part; `probes`: lists that a query visits."""

    work: IndexWork
    rows: Sequence[int]
    probes: int | None

    def join(self, name: str) -> dict[str, str]:
        """Write the index to the file `name`, and its metadata; returns their contents."""
        with ExitStack() as stack:
            folder = self.work.folder
            index_path = stack.enter_context(folder.publishing(name))
            metadata_path = stack.enter_context(folder.publishing(index_files.METADATA_FILE))
            with ExitStack() as copies:
                index = self._index(copies, index_path)
            with HashedFile(metadata_path) as metadata:
                self._join_metadata(metadata)
            return {name: index, index_files.METADATA_FILE: metadata.content()}

    def _index(self, copies: ExitStack, path: str) -> str:
        """Write the index; returns its content. One that cannot be cut is one part."""
        work = self.work
        index = work.trained()
        if not faiss_build.is_growable(index):
            index = work.read(index_files.part_index(0))
            faiss_build.set_probes(index, self.probes)
            faiss_build.write(index, path)
            return local_content(path)
        faiss_build.set_probes(index, self.probes)
        parts = {
            copies.enter_context(local_copy(work.folder, index_files.part_index(number))): rows
            for number, rows in enumerate(self.rows)
        }
        with HashedFile(path) as file:
            join(index, parts, file.write)
        return file.content()

    def _join_metadata(self, file: HashedFile) -> None:
        """The rows of all parts, in order, with ids that count through them."""
        writer: pq.ParquetWriter | None = None
        first = 0
        for number, rows in enumerate(self.rows):
            with local_copy(self.work.folder, index_files.part_metadata(number)) as local:
                part = pq.ParquetFile(local)
                writer = writer or pq.ParquetWriter(file, part.schema_arrow, compression="zstd")
                for group in range(part.num_row_groups):
                    writer.write_table(_renumbered(part.read_row_group(group), first))
            first += rows
        assert writer is not None  # there is a part
        writer.close()


def _renumbered(table: pa.Table, first: int) -> pa.Table:
    """The same rows with ids that are higher by `first`."""
    if not first:
        return table
    return table.set_column(0, table.schema.field(0), pc.add(table["id"], first))

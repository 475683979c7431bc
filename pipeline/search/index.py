"""An index that `winnow export` wrote, opened for searching.

    index = SearchIndex.open("out/index")
    index.search(vectors, k=10).rows            # the nearest samples to each of (n, d) vectors
    index.vectors_of(index.find("7d1e14"))      # the vectors of samples that are in it

The files of an index are read only if they are as its manifest says (`trust`: anyway). Those of other storage
are fetched once per machine. An index in parts is searched part by part, and never held as a whole.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from pipeline.assets import local_file
from pipeline.errors import RecipeError
from pipeline.export.places.contents import inspect, local_content, size_of
from pipeline.progress import begun, watched
from pipeline.search.faiss_reading import lists_of, read_index, set_probes
from pipeline.search.hits import Hits, nearest, table
from pipeline.search.manifest import AGAIN, About, Part, read_about
from pipeline.search.metadata import COLUMNS, TYPES, check_rows, rows_at, starting
from pipeline.storage.folder import Folder

TRUST = "or, if you know who made it, add --trust"
LEAST = 4  # digits of the beginning of a uid
CANDIDATES = 5  # uids that an ambiguous beginning names


@dataclass(frozen=True)
class SearchIndex:
    """An opened index.

    path    its folder
    about   what its manifest says
    files   file of the index -> its path on this machine
    trusted whether it is believed although nothing proves it
    """

    path: str
    about: About
    files: Mapping[str, str]
    trusted: bool = False

    @classmethod
    def open(cls, path: str, trust: bool = False, manifest: str | None = None) -> "SearchIndex":
        """Read the manifest, and check the files against it. `manifest`: its name; by default the one that is
        there. Raises RecipeError, and what storage raises."""
        about, states = read_about(path, manifest)
        files = _local_files(path, about)
        if not trust:
            _verify(path, about, states, files)
        for part in about.parts:
            check_rows(files[part.metadata], f"{path}/{part.metadata}", part.rows)
        return cls(path, about, files, trust)

    def search(self, vectors: np.ndarray, k: int = 10, probes: int | None = None) -> Hits:
        """The k nearest samples to each of (n, d) vectors of any length. `probes`: lists that each query
        visits; by default what the index was given. Raises RecipeError."""
        vectors = self._unit(vectors)
        none = np.empty((len(vectors), 0)), np.empty((len(vectors), 0), np.int64)
        found, start = [none], 0
        for part in watched("searching", self.about.parts, len(self.about.parts)):
            if part.rows:
                scores, ids = self._search_part(part, vectors, min(k, part.rows), probes)
                found = [nearest([*found, (scores, np.where(ids < 0, -1, ids + start))], k)]
            start += part.rows
        missing = np.full((len(vectors), k - found[0][0].shape[1]), -1)
        scores, ids = nearest([*found, (missing.astype(np.float64), missing)], k)
        scores = np.where(ids < 0, scores, np.clip(scores, -1, 1))  # rounding gives 1.0000001
        samples = self.samples(np.unique(ids[ids >= 0]).tolist())
        return Hits(ids, scores, table(scores, ids, samples))

    def samples(self, ids: Sequence[int]) -> pl.DataFrame:
        """`id`, and the metadata's columns, of some rows, ascending and each once. Raises RecipeError."""
        frames = [pl.DataFrame(schema={"id": pl.Int64, **TYPES})]
        for part, start, own in self._by_part(ids):
            rows = rows_at(self.files[part.metadata], f"{self.path}/{part.metadata}", own)
            numbers = pl.Series("id", [start + row for row in own], pl.Int64)
            frames.append(rows.select(numbers, *COLUMNS))
        return pl.concat(frames)

    def find(self, uid: str) -> list[int]:
        """The ids of the sample with this uid, or the beginning of it. Raises RecipeError if there is none,
        or if it begins the uids of several."""
        digits, found, start = uid.strip().replace("-", "").lower(), list[tuple[int, str]](), 0
        if len(digits) < LEAST:
            raise RecipeError(f"--like: {uid!r} must have at least {LEAST} digits of a uid")
        for part in watched("looking samples up", self.about.parts, len(self.about.parts)):
            own = starting(self.files[part.metadata], f"{self.path}/{part.metadata}", digits)
            found += [(start + row, name) for row, name in own]
            start += part.rows
        names = sorted({name for _, name in found})
        if not names:
            raise RecipeError(
                f"--like: no sample of {self.path} has the uid {digits}; an index holds the samples that were kept"
            )
        if len(names) > 1:
            more = f" and {len(names) - CANDIDATES:,} more" if len(names) > CANDIDATES else ""
            listed = ", ".join(names[:CANDIDATES])
            raise RecipeError(
                f"--like: {digits} begins {len(names):,} uids: {listed}{more}; give more digits"
            )
        return [row for row, _ in found]

    def vectors_of(self, ids: Sequence[int]) -> np.ndarray:
        """(len(ids), d) float32: the vectors of some rows, ascending, as the index holds them: of codes, as
        near as the codes tell. Raises RecipeError."""
        found = [np.empty((0, self.about.dimension), np.float32)]
        for part, _, own in self._by_part(ids):
            index = self._read(part)
            try:
                if (lists := lists_of(index)) is not None:
                    lists.make_direct_map()
                found += [index.reconstruct(row)[None] for row in own]
            except RuntimeError as error:
                reason = str(error).rpartition("Error: ")[2]
                raise RecipeError(f"--like: {self.path} cannot give a vector back ({reason})") from None
        return np.concatenate(found)

    def _search_part(
        self, part: Part, vectors: np.ndarray, k: int, probes: int | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """(n, k) scores and ids of one file. Raises RecipeError."""
        index, shown = self._read(part), f"{self.path}/{part.index}"
        if probes is not None:
            set_probes(index, probes, shown)
        elif (stored := self.about.probes) is not None and lists_of(index) is not None:
            set_probes(index, stored, shown)
        scores, ids = index.search(vectors, k)
        if (ids >= part.rows).any() or (ids < -1).any():
            raise RecipeError(f"{shown} names the row {ids.max():,}, and has {part.rows:,}; {AGAIN}")
        return scores, ids

    def _read(self, part: Part) -> Any:
        """FAISS's index of one file."""
        shown = f"{self.path}/{part.index}"
        return read_index(self.files[part.index], shown, self.about.dimension, part.rows)

    def _by_part(self, ids: Sequence[int]) -> list[tuple[Part, int, list[int]]]:
        """The parts that hold some rows, which are ascending; the id of each part's first row; and which of
        its rows they are."""
        sizes = [part.rows for part in self.about.parts]
        starts = np.cumsum([0, *sizes])
        cuts = np.searchsorted(ids, starts)
        return [
            (part, int(start), [row - int(start) for row in ids[a:b]])
            for part, start, a, b in zip(self.about.parts, starts, cuts, cuts[1:], strict=False)
            if a < b
        ]

    def _unit(self, vectors: np.ndarray) -> np.ndarray:
        """(n, d) float32 of unit norm. Raises RecipeError for another width."""
        vectors = np.ascontiguousarray(vectors, np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != self.about.dimension:
            raise RecipeError(
                f"the queries are {vectors.shape}, and {self.path} holds {self.about.embedding} of "
                f"{self.about.dimension} numbers: they must come from the model that made it"
            )
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit: np.ndarray = vectors / np.maximum(lengths, 1e-30)
        return unit


def search(path: str, vectors: np.ndarray, k: int = 10) -> Hits:
    """The k nearest samples to each of (n, d) vectors of any length. `path`: an index's folder."""
    return SearchIndex.open(path).search(vectors, k)


def _local_files(path: str, about: About) -> dict[str, str]:
    """File -> its path on this machine. Raises RecipeError for one that is missing."""
    folder, found = Folder(path), dict[str, str]()
    if not folder.local:
        begun("fetching the index")
    for name in about.files:
        try:
            found[name] = local_file(folder.path(name) if folder.local else f"{path.rstrip('/')}/{name}")
        except FileNotFoundError:
            raise RecipeError(f"{folder.path(name)} is missing; {AGAIN}") from None
    return found


def _verify(path: str, about: About, states: Mapping[str, str], files: Mapping[str, str]) -> None:
    """Raises RecipeError unless the files are as the manifest says. Files of this machine whose states are
    known are not read."""
    folder = Folder(path)
    if folder.local:
        wrong = inspect(folder, about.files, about.contents, states).wrong
    else:
        wrong = dict[str, str]()
        for name, file in watched("verifying the index", files.items(), len(files)):
            if name not in about.contents:
                wrong[name] = "has no digest in the manifest"
            elif size_of(about.contents[name]) != str(size := os.path.getsize(file)):
                wrong[name] = f"has {size} bytes and had {size_of(about.contents[name])}"
            elif local_content(file) != about.contents[name]:
                wrong[name] = "does not hold the bytes that were written"
    for name, reason in wrong.items():
        raise RecipeError(f"{folder.path(name)} {reason}; {AGAIN}, {TRUST}")

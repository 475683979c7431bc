"""`export.index`, `export.indexes`: FAISS indexes of kept samples' embeddings, as clip-retrieval has them.

    write_index(session)          -> export.index.path; `pipeline.search.index.search` searches it

    image.index                   inner product of unit vectors: cosines. text.index of an index of captions
    metadata/metadata_0.parquet   row i is FAISS's id i: id uid shard row key caption url
    sources.parquet, recall.npz   what growing needs (index_files.py)
    image.json                    the manifest: which decision this is, which operator made the embeddings,
                                  where the pool is, the recall that was measured; `complete` is true once all
                                  is there

clip-retrieval opens the folder with an `indices_paths.json` of `{"mine": "out/index"}`. Kept samples are
added in pool order. Samples without an embedding (null, zero or not finite) are left out and counted. Vectors
for training are drawn by uid. If the pool grew, the rows of new shards are added to the index where that
gives what the recipe says (plan/growth/growth.py); the log tells, and why not. index_files.py names the
files, index_build.py is the order of the work, and index_tasks.py says how much memory it takes.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import Any

import polars as pl

from pipeline.errors import RecipeError
from pipeline.export.exporter import Report, TaskReport, Watch
from pipeline.export.indexes import index_files
from pipeline.export.indexes.index_build import Build, Built
from pipeline.export.indexes.index_files import BUILDING, GROWS, PARTS
from pipeline.export.indexes.index_growing import Growing, growing_of
from pipeline.export.indexes.index_tasks import IndexWork
from pipeline.export.kept import kept_counts
from pipeline.export.kept_vectors import KeptVectors
from pipeline.export.places.contents import Noted
from pipeline.export.places.folder import ExportFolder
from pipeline.export.places.inputs import Inputs, operators_of
from pipeline.export.places.stage import COMPLETE, STAYS, Stage
from pipeline.plan.growth.growth import index_identity
from pipeline.plan.growth.sources import sources_now
from pipeline.plan.keys import parameters
from pipeline.plan.session import Session
from pipeline.recipe.check import INDEX_TASK
from pipeline.run.executor import Executor, LocalExecutor
from pipeline.schema import owner

KEY = "export.index.path"
KINDS = ("image", "text")  # of an index
LOG = logging.getLogger("winnow.export.indexes")  # the command line always shows it


@dataclass(frozen=True)
class IndexResult:
    """The content of `image.json`, the folder, and whether this run wrote it.

    decision, embedding   the decision's folder; the recipe's `embedding`
    columns               the folder of the store that holds the embeddings
    factory, key          the recipe's factory; the factory string that was used, which `auto` leaves open
    rows, missing         kept samples in the index; kept samples without an embedding
    parts                 the files that it is left in; 0 if it is one
    measured              recall against exact search, and the lists to visit for it: queries, k, recall@1,
                          recall@10, probes
    queries_per_second    of the task that measured it, if this run wrote it
    added       rows that this run added to an earlier index; None if it was built anew, or left as it was
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
    measured: Mapping[str, Any]
    parts: int
    path: str
    written: bool
    queries_per_second: float | None = None
    added: int | None = None


@dataclass(frozen=True)
class IndexExporter:
    """See exporter.Exporter. `name`: below `export`, `index` or `indexes.captions`."""

    name: str = "index"

    def check(self, session: Session) -> None:
        """See exporter.Exporter."""
        _Export(session, self.name).check()

    def write(self, session: Session, executor: Executor, watch: Watch) -> IndexResult:
        """See exporter.Exporter. Training, each part, and the joining are tasks of the executor."""
        return write_index(session, executor, watch, self.name)


@contextmanager
def unwatched(work: str, tasks: int, kind: str) -> Iterator[Report]:
    """Shows nothing."""

    def report(done: TaskReport) -> None:
        pass

    yield report


def write_index(
    session: Session, executor: Executor | None = None, watch: Watch = unwatched, name: str = "index"
) -> IndexResult:
    """Build and publish an index. One of the same decision and embeddings is left alone; another one stays
    until the new one is whole. Raises RecipeError."""
    export = _Export(session, name)
    with export.writing() as stage:
        if stage.complete:
            return export.result(stage, None)
        built = export.build(stage, executor or LocalExecutor(), watch)
        stage.finish(partial(export.inputs.verify, f"{export.key}.path"), built.about)
        return export.result(stage, built)


class _Export:
    """One index of a recipe, by its key below `export`. Raises RecipeError if the recipe has none."""

    def __init__(self, session: Session, name: str) -> None:
        section = session.recipe.export.every_index().get(name)
        self.key = f"export.{name}"
        if section is None:
            raise RecipeError(f"{self.key} is missing: {{embedding: clip.image_embedding, path: ...}}")
        self.session = session
        self.section = section
        self.growing: Growing | None = None
        self.operator = owner(section.embedding)
        self.place = place_of(section.path, section.stem, f"{self.key}.path")

    def check(self) -> None:
        """Raises RecipeError if something else lies in the folder, such as an index of the other kind: both
        would write the table of samples."""
        out = self.place.out
        for kind in KINDS:
            if kind != self.section.stem and out.exists(f"{kind}.json"):
                raise RecipeError(
                    f"{self.place.key}: {self.section.path} holds an index of another kind ({kind}, and this "
                    f"is {self.section.stem}); name another folder, or empty this one"
                )
        self.place.check()

    @cached_property
    def inputs(self) -> Inputs:
        """What the index is made from, as it is when this is asked for first."""
        return Inputs(
            self.session,
            operators_of(self.session, [self.section.embedding, self.session.recipe.export.caption]),
        )

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that the bytes depend on."""
        return {**self.inputs.manifest, **index_identity(self.session, self.section)}

    @cached_property
    def sources(self) -> pl.DataFrame:
        """What the rows of the index depend on, by shard."""
        return sources_now(self.session, self.section.embedding)

    def writing(self) -> AbstractContextManager[Stage]:
        """Hold the place of the index: where to build it."""
        kept_counts(self.session)  # before anything is begun
        self.check()
        return self.place.writing(
            self.identity, f"{self.key}.path of {self.session.recipe.name}", {BUILDING: 0}, self._over
        )

    def _over(self, noted: Noted) -> dict[str, Any]:
        """Find out whether an earlier index grows, and say so; returns what the manifest says of that."""
        nothing: dict[str, Any] = {GROWS: None, STAYS: []}
        if noted.manifest is None or not noted.manifest.get(COMPLETE):
            return nothing
        names = list(self.place.names(noted.manifest))
        identity = index_identity(self.session, self.section)
        found = growing_of(self.place.path, noted, names, identity, self.section, lambda: self.sources)
        if isinstance(found, str):
            LOG.info("%s: %s is built anew: %s", self.key, self.place.path, found)
            return nothing
        LOG.info("%s: %s %s", self.key, self.place.path, found.growth.told())
        self.growing = found
        return {GROWS: found.base, STAYS: found.stays}

    def build(self, stage: Stage, executor: Executor, watch: Watch) -> Built:
        """Build the index; returns what the manifest says of it."""
        counts = kept_counts(self.session)
        vectors = KeptVectors.of(self.session, self.section.embedding)
        work = IndexWork(stage.path, self.key, self.section, vectors, counts)
        resources = self.session.recipe.resources(INDEX_TASK)
        built = Build(work, stage, executor, resources, self.sources, self.growing).run(watch)
        return Built({**built.about, **self._described()}, built.queries_per_second)

    def _described(self) -> dict[str, Any]:
        """What a search needs to know beside: what made the embeddings, and where the pool is."""
        recipe, operator = self.session.recipe, None
        if self.operator in recipe.compute:
            entry = recipe.compute[self.operator]
            operator = {"name": self.operator, "use": entry.use, **parameters(entry.operator)}
        pool = recipe.pool.model_dump(mode="json", exclude_defaults=True)
        places = {"store": _placed(recipe.pool.store, self.section.path)}
        if recipe.pool.datacomp:
            places["datacomp"] = _placed(recipe.pool.datacomp, self.section.path)
        shards = [_placed(path, self.section.path) for path in recipe.pool.paths if recipe.pool.shards]
        return {"operator": operator or {}, "pool": {**pool, **places, "shards": shards}}

    def result(self, stage: Stage, built: Built | None) -> IndexResult:
        """What the manifest of a complete index says."""
        about = {name: stage.manifest[name] for name in _ABOUT_KEYS}
        return IndexResult(
            **about,
            parts=len(stage.manifest.get(PARTS, ())),
            path=self.place.path,
            written=built is not None,
            queries_per_second=built.queries_per_second if built else None,
            added=self._added(stage) if built else None,
        )

    def _added(self, stage: Stage) -> int | None:
        """The rows that were added to an earlier index."""
        return stage.manifest["rows"] - self.growing.growth.live.rows if self.growing else None


_ABOUT_KEYS = {field.name for field in fields(IndexResult)} - {
    "path",
    "written",
    "parts",
    "queries_per_second",
    "added",
}


def place_of(path: str, stem: str = "image", key: str = KEY) -> ExportFolder:
    """The folder of an index. `stem`: its kind, `image` or `text`; `key`: of the recipe, for messages."""
    return ExportFolder(path, key, f"{stem}.json", partial(_names, stem=stem))


def _names(manifest: Mapping[str, Any], stem: str) -> tuple[str, ...]:
    """The files that a manifest of Winnow's names."""
    if "decision" not in manifest or "embedding" not in manifest:
        raise ValueError
    others = {f"{kind}.index" for kind in KINDS} - {f"{stem}.index"}
    if not others.isdisjoint(manifest.get("contents", ())):
        raise ValueError
    finished = index_files.finished_files(manifest, stem)
    return tuple(dict.fromkeys([*finished, *index_files.building_files(manifest)]))


def _placed(path: str, index: str) -> str:
    """A path of the recipe as it is seen from the index's folder, so that a folder that moves as a whole is
    found again; a URL, and a path for an index on object storage, as it is."""
    if "://" in path or "://" in index:
        return path
    here, there = (os.path.abspath(os.path.expanduser(p)) for p in (index, path))
    return os.path.relpath(there, here)


def pool_of(manifest: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The section `pool` of the recipe that an index was made with, for the index at a path now."""
    pool = dict(manifest["pool"])

    def found(place: str) -> str:
        return place if "://" in place or "://" in path else os.path.normpath(os.path.join(path, place))

    pool["shards"] = [found(place) for place in pool["shards"]]
    pool |= {name: found(pool[name]) for name in ("store", "datacomp") if name in pool}
    return {name: value for name, value in pool.items() if value}

"""Building an index in the folder of its stage: train, fill the parts, measure, join.

    built = Build(work, stage, executor, resources, sources, growing).run(watch)

Every step leaves files that the next run finds, so a build that was killed goes on where it was. The parts
are ranges of shards that follow from the recipe and the decision alone: whatever the number of tasks, the
bytes are those of one task after the other. An index that grows takes training, queries and rows from what it
was (`growing`), and fills parts with the rows of new shards only.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from pipeline.export.exporter import Watch
from pipeline.export.indexes import index_files
from pipeline.export.indexes.index_files import (
    BUILDING,
    GROWS,
    GROWTH,
    PARTS,
    QUERIES,
    RECALL,
    TRAINED,
)
from pipeline.export.indexes.index_growing import Growing
from pipeline.export.indexes.index_joining import Joiner
from pipeline.export.indexes.index_lists import ListFinder
from pipeline.export.indexes.index_tasks import Filler, IndexWork, Part, Piece, Searcher
from pipeline.export.indexes.index_training import Trained, TrainedBefore, train
from pipeline.export.indexes.recall import HELD, NONE, Answer, Exact, Found, K, best, fewest_probes
from pipeline.export.places.stage import STAYS, Stage
from pipeline.export.places.transfer import remove_empty
from pipeline.plan.cluster import GIB
from pipeline.plan.growth.growth import EXACT
from pipeline.plan.growth.sources import SOURCES, STORED, sources_file
from pipeline.plan.index_choice import Shape, cut, part_rows, shape_of
from pipeline.progress import begun
from pipeline.recipe.check import INDEX_TASK
from pipeline.recipe.sections import Resources
from pipeline.run.executor import Asked, Executor

LOG = logging.getLogger("winnow.export")
_ENDED = {BUILDING: None, GROWS: None}  # keys of a manifest that a finished index has not


@dataclass(frozen=True)
class Built:
    """What the manifest says of a finished index, and how many queries it answered per second, if it was
    measured now."""

    about: dict[str, Any]
    queries_per_second: float | None = None


class Build:
    """Builds one index. `resources`: of a large task, as the recipe has them; `sources`: what `sources_now`
    says; `growing`: the index that it is made from, if it grows."""

    def __init__(
        self,
        work: IndexWork,
        stage: Stage,
        executor: Executor,
        resources: Resources,
        sources: pl.DataFrame,
        growing: Growing | None = None,
    ) -> None:
        self.work = work.light()
        self.sources = sources
        self.growing = growing
        self.whole = work
        self.stage = stage
        self.executor = executor
        self.asked = Asked(f"run.{INDEX_TASK}", resources)
        self.index_file = f"{work.section.stem}.index"

    def run(self, watch: Watch) -> Built:
        """Build what is missing. Raises what the tasks raise; what is done then stays for the next run."""
        if self._is_built():
            self._clear()
            return Built(_ENDED)
        shape, parts = self._train()
        notes = self._fill(parts, watch)
        pieces = self._pieces(parts, notes)
        exact = self._exact(notes)
        found = self._measured(shape, pieces, exact)
        rows = sum(piece.rows for piece in pieces)
        left = self._join_or_leave(shape, pieces, found)
        missing = self._publish_growth(parts, notes, exact)
        about = {
            "rows": rows,
            "missing": missing,
            "measured": _described(found, len(exact.own)),
            GROWTH: {"sources": SOURCES, "recall": RECALL, "trained_rows": self._trained_rows(rows)},
            PARTS: left,
        }
        self.stage.announce({name: value for name, value in about.items() if value is not None})
        self._clear()
        seconds = found.seconds if found else 0.0
        return Built({**about, **_ENDED}, round(len(exact.own) / seconds, 1) if seconds else None)

    def _is_built(self) -> bool:
        """Whether an earlier run has written the finished index and said what it is."""
        manifest = self.stage.manifest
        finished = index_files.finished_files(manifest, self.work.section.stem)
        stays = manifest.get(STAYS, ())
        return "measured" in manifest and self.stage.files.issuperset(set(finished).difference(stays))

    def _clear(self) -> None:
        """Remove the files that the finished index does not need."""
        manifest, folder = self.stage.manifest, self.stage.folder
        finished = index_files.finished_files(manifest, self.work.section.stem)
        surplus = [name for name in index_files.building_files(manifest) if name not in finished]
        self.stage.forget(surplus)
        folder.remove(surplus)
        remove_empty(folder, "parts")

    # --- the steps --------------------------------------------------------------------------------

    def _train(self) -> tuple[Shape, list[Part]]:
        """Train the index, or take it from the one that grows; returns its shape and the parts to fill."""
        if not self.stage.files.issuperset((TRAINED, QUERIES)) or "key" not in self.stage.manifest:
            trained = self._take_training() if self.growing else self._train_anew()
            self.stage.announce({"key": trained.factory, "dimension": self.work.vectors.dimension})
            self.stage.note(trained.contents)
            self.stage.save()
        shape = shape_of(self.stage.manifest["key"], self.stage.manifest["dimension"])
        if self.growing:
            parts = self.growing.parts
        else:
            runs = cut(list(self.whole.counts), self.whole.counts, part_rows(shape))
            parts = [Part(number, run) for number, run in enumerate(runs)]
        self.stage.announce({BUILDING: max((part.number + 1 for part in parts), default=0)})
        return shape, parts

    def _train_anew(self) -> Trained:
        begun("training the index")
        return self.executor.one(train, self.whole, self.asked)

    def _take_training(self) -> Trained:
        assert self.growing is not None
        before = TrainedBefore(self.work, self.growing.pieces[0])
        return self.executor.one(before.take, self.growing.growth.live.key, self.asked)

    def _fill(self, parts: Sequence[Part], watch: Watch) -> list[dict[str, np.ndarray]]:
        """Fill the parts that are not there, each a task; returns their notes. One alone is a large task."""
        there = {part.number: notes for part in parts if (notes := self._notes(part)) is not None}
        missing = [part for part in parts if part.number not in there]
        fill = Filler(self.work).fill
        with watch("filling the index", len(parts), "parts") as report:
            if len(parts) == 1:
                results = iter([self.executor.one(fill, part, self.asked) for part in missing])
            else:
                results = self.executor.each(fill, missing, self._each())
            for done in results:
                self.stage.note(done.contents)
                self.stage.save()
                report(done)
        folder = self.work.folder
        return [
            there.get(part.number) or index_files.unpacked(folder, index_files.part_notes(part.number))
            for part in parts
        ]

    def _notes(self, part: Part) -> dict[str, np.ndarray] | None:
        """The notes of a part that an earlier run has filled; None if it is not there, or of an earlier
        version."""
        if not self.stage.files.issuperset(index_files.part_files(part.number)):
            return None
        notes = index_files.unpacked(self.work.folder, index_files.part_notes(part.number))
        return notes if notes["missing"].shape == (len(part.shards),) else None

    def _each(self) -> Asked:
        """What each of several tasks reserves: what the recipe asks for, else the usual."""
        return self.asked if self.asked.resources != Resources() else Asked()

    def _pieces(self, parts: Sequence[Part], notes: Sequence[Mapping[str, np.ndarray]]) -> list[Piece]:
        """All files with rows of the index, in order."""
        pieces = self.growing.before if self.growing else []
        for part, note in zip(parts, notes, strict=True):
            rows = int(note["rows"].sum()) + (part.base.rows if part.base else 0)
            names = index_files.part_index(part.number), index_files.part_metadata(part.number)
            pieces.append(Piece(self.work.path, *names, rows))
        return pieces

    def _exact(self, notes: Sequence[Mapping[str, np.ndarray]]) -> Exact:
        """The exact nearest of all rows: of the index that grows, and of the rows in each part."""
        held = [self.growing.recall()] if self.growing else []
        rows = [self.growing.growth.live.rows] if self.growing else []
        firsts = np.cumsum([0, *rows, *(int(note["rows"].sum()) for note in notes)])
        return _exact([*held, *notes], firsts)

    def _measured(self, shape: Shape, pieces: Sequence[Piece], exact: Exact) -> Found | None:
        """How exact the index is, and how many lists that takes; None if it is exact, or empty."""
        if not len(exact.own):
            return None
        tick = begun("measuring recall")
        firsts = np.cumsum([0, *(piece.rows for piece in pieces)])

        def search(probes: Sequence[int]) -> list[Answer]:
            searcher = Searcher(self.work, pieces, probes)
            answered = dict[int, tuple[list[np.ndarray], list[Answer]]]()
            for number, scores, answers in self.executor.each(
                searcher.search, range(len(pieces)), self._each()
            ):
                answered[number] = scores, answers
                tick(1)
            return [_merged(answered, firsts, place) for place in range(len(probes))]

        least, wanted = 1, self.work.section.recall
        if shape.lists:
            least = ListFinder(self.work, pieces).least_probes(exact, wanted, self.executor, self._each())
        found = fewest_probes(search, exact, shape.lists, wanted, least)
        LOG.info("%s: recall@10 %s with %d probes", self.work.key, found.recall_10, found.probes)
        return found

    def _join_or_leave(
        self, shape: Shape, pieces: Sequence[Piece], found: Found | None
    ) -> list[dict[str, Any]] | None:
        """Join the pieces into one file if that fits; else returns what the manifest says of them."""
        rows = sum(piece.rows for piece in pieces)
        fits = len(pieces) == 1 or shape.bytes(rows) <= self.work.section.memory * GIB
        if not (self.growing.is_joined if self.growing else fits):
            return [{"index": p.index, "metadata": p.metadata, "rows": p.rows} for p in pieces]
        begun("joining the index")
        probes = found.probes if found and shape.lists else None
        joiner = Joiner(self.work, pieces, probes)
        self.stage.note(self.executor.one(joiner.join, self.index_file, self.asked))
        self.stage.save()
        return None

    def _publish_growth(
        self, parts: Sequence[Part], notes: Sequence[Mapping[str, np.ndarray]], exact: Exact
    ) -> int:
        """Write what growing needs; returns the number of kept samples without an embedding."""
        counted = pl.DataFrame(
            {
                "shard": [shard for part in parts for shard in part.shards],
                "rows": np.concatenate([*(note["rows"] for note in notes), np.empty(0, np.int64)]),
                "missing": np.concatenate([*(note["missing"] for note in notes), np.empty(0, np.int64)]),
            },
            schema={name: STORED[name] for name in ("shard", "rows", "missing")},
        )
        before = [self.growing.growth.before] if self.growing else []
        sources = pl.concat(
            [*before, self.sources.join(counted, on="shard", maintain_order="left").select(list(STORED))]
        )
        queries = index_files.unpacked(self.work.folder, QUERIES)["vectors"]
        scores, ids = np.ascontiguousarray(exact.scores), np.ascontiguousarray(exact.ids)
        recall = index_files.packed(vectors=queries, scores=scores, ids=ids, own=exact.own)
        self.stage.publish(SOURCES, sources_file(sources))
        self.stage.publish(RECALL, recall)
        return int(sources["missing"].sum())

    def _trained_rows(self, rows: int) -> int | None:
        """The rows that the index had when it was trained; None if it needs no training."""
        if self.growing:
            return self.growing.growth.live.growth.trained_rows
        return None if self.stage.manifest["key"] == EXACT else rows


def _exact(notes: Sequence[Mapping[str, Any]], firsts: np.ndarray) -> Exact:
    """The exact nearest of all notes; `firsts`: the rows before each."""
    ids, own = (
        [
            np.where(note[name] == NONE, NONE, note[name] + first)
            for note, first in zip(notes, firsts[:-1], strict=True)
        ]
        for name in ("ids", "own")
    )
    scores = np.hstack([note["scores"] for note in notes])
    return Exact(*best(scores, np.hstack(ids), HELD), np.max(own, axis=0))


def _merged(
    answered: Mapping[int, tuple[list[np.ndarray], list[Answer]]], firsts: np.ndarray, place: int
) -> Answer:
    """The answer of all parts to the queries, for the number of probes at a place of the list."""
    found = [(firsts[n], scores[place], answers[place]) for n, (scores, answers) in sorted(answered.items())]
    ids = [np.where(answer.ids == NONE, NONE, answer.ids + first) for first, _, answer in found]
    _, nearest = best(np.hstack([scores for _, scores, _ in found]), np.hstack(ids), K + 1)
    return Answer(nearest, sum(answer.seconds for _, _, answer in found))


def _described(found: Found | None, queries: int) -> dict[str, Any]:
    """What the manifest says of recall."""
    if found is None:
        return {"queries": 0, "k": K, "recall@1": 1.0, "recall@10": 1.0, "probes": None}
    recall = {"recall@1": found.recall_1, "recall@10": found.recall_10}
    return {"queries": queries, "k": K, **recall, "probes": found.probes or None}

"""Building an index in the folder of its stage: train, fill the parts, measure, join.

    built = Build(work, stage, executor, resources).run(watch)

Every step leaves files that the next run finds, so a build that was killed goes on where it was. The parts
are ranges of shards that follow from the recipe and the decision alone: whatever the number of tasks, the
bytes are those of one task after the other.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.export.exporter import Watch
from pipeline.export.indexes import index_files
from pipeline.export.indexes.index_files import BUILDING, PARTS, QUERIES, TRAINED
from pipeline.export.indexes.index_tasks import Filler, IndexWork, Joiner, ListFinder, Part, Searcher
from pipeline.export.indexes.index_training import train
from pipeline.export.indexes.recall import NONE, Answer, Exact, Found, K, best, fewest_probes
from pipeline.export.places.stage import Stage
from pipeline.export.places.transfer import remove_empty
from pipeline.plan.cluster import GIB
from pipeline.plan.index_choice import Shape, cut, part_rows, shape_of
from pipeline.progress import begun
from pipeline.recipe.check import INDEX_TASK
from pipeline.recipe.sections import Resources
from pipeline.run.executor import Asked, Executor

LOG = logging.getLogger("winnow.export")


@dataclass(frozen=True)
class Built:
    """What the manifest says of a finished index, and how many queries it answered per second, if it was
    measured now."""

    about: dict[str, Any]
    queries_per_second: float | None = None


class Build:
    """Builds one index. `resources`: of a large task, as the recipe has them."""

    def __init__(self, work: IndexWork, stage: Stage, executor: Executor, resources: Resources) -> None:
        self.work = work.light()
        self.whole = work
        self.stage = stage
        self.executor = executor
        self.asked = Asked(f"run.{INDEX_TASK}", resources)
        self.index_file = f"{work.section.stem}.index"

    def run(self, watch: Watch) -> Built:
        """Build what is missing. Raises what the tasks raise; what is done then stays for the next run."""
        if self._is_built():
            self._clear()
            return Built({BUILDING: None})
        shape, parts = self._train()
        self._fill(parts, watch)
        notes = [
            index_files.unpacked(self.work.folder, index_files.part_notes(part.number)) for part in parts
        ]
        rows = [int(note["rows"]) for note in notes]
        found = self._measured(shape, notes, rows)
        about = {
            "rows": sum(rows),
            "missing": sum(int(note["missing"]) for note in notes),
            "measured": _described(found, len(notes[0]["own"])),
            PARTS: self._join_or_leave(shape, rows, found),
        }
        self.stage.announce({name: value for name, value in about.items() if value is not None})
        self._clear()
        seconds = found.seconds if found else 0.0
        return Built({**about, BUILDING: None}, round(len(notes[0]["own"]) / seconds, 1) if seconds else None)

    def _is_built(self) -> bool:
        """Whether an earlier run has written the finished index and said what it is."""
        manifest = self.stage.manifest
        finished = index_files.finished_files(manifest, self.work.section.stem)
        return "measured" in manifest and self.stage.files.issuperset(finished)

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
        """Train the index; returns its shape and its parts."""
        if not self.stage.files.issuperset((TRAINED, QUERIES)) or "key" not in self.stage.manifest:
            begun("training the index")
            trained = self.executor.one(train, self.whole, self.asked)
            self.stage.announce({"key": trained.factory, "dimension": self.work.vectors.dimension})
            self.stage.note(trained.contents)
            self.stage.save()
        shape = shape_of(self.stage.manifest["key"], self.stage.manifest["dimension"])
        shards = cut(list(self.whole.counts), self.whole.counts, part_rows(shape))
        self.stage.announce({BUILDING: len(shards)})
        return shape, [Part(number, run) for number, run in enumerate(shards)]

    def _fill(self, parts: Sequence[Part], watch: Watch) -> None:
        """Fill the parts that are not there, each a task. One alone is a large task."""
        missing = [p for p in parts if not self.stage.files.issuperset(index_files.part_files(p.number))]
        fill = Filler(self.work).fill
        with watch(len(parts)) as report:
            if len(parts) == 1:
                results = iter([self.executor.one(fill, part, self.asked) for part in missing])
            else:
                results = self.executor.each(fill, missing, self._each())
            for done in results:
                self.stage.note(done.contents)
                self.stage.save()
                report(done)

    def _each(self) -> Asked:
        """What each of several tasks reserves: what the recipe asks for, else the usual."""
        return self.asked if self.asked.resources != Resources() else Asked()

    def _measured(
        self, shape: Shape, notes: Sequence[Mapping[str, Any]], rows: Sequence[int]
    ) -> Found | None:
        """How exact the index is, and how many lists that takes; None if it is exact, or empty."""
        if not len(notes[0]["own"]):
            return None
        tick = begun("measuring recall")
        firsts = np.cumsum([0, *rows])
        exact = _exact(notes, firsts)

        def search(probes: Sequence[int]) -> list[Answer]:
            searcher = Searcher(self.work, probes)
            answered = dict[int, tuple[list[np.ndarray], list[Answer]]]()
            for number, scores, answers in self.executor.each(
                searcher.search, range(len(rows)), self._each()
            ):
                answered[number] = scores, answers
                tick(1)
            return [_merged(answered, firsts, place) for place in range(len(probes))]

        least = self._least_probes(shape, exact, firsts) if shape.lists else 1
        found = fewest_probes(search, exact, shape.lists, self.work.section.recall, least)
        LOG.info("%s: recall@10 %s with %d probes", self.work.key, found.recall_10, found.probes)
        return found

    def _least_probes(self, shape: Shape, exact: Exact, firsts: np.ndarray) -> int:
        """The fewest lists that hold enough of the nearest, by the lists that these are in."""
        finder = ListFinder(self.work)
        part_of = np.where(exact.ids == NONE, NONE, np.searchsorted(firsts, exact.ids, side="right") - 1)
        asked = [(n, exact.ids[part_of == n] - firsts[n]) for n in np.unique(part_of).tolist() if n != NONE]
        lists = np.full(exact.ids.shape, NONE, np.int64)
        for number, found in self.executor.each(finder.lists, asked, self._each()):
            lists[part_of == number] = found
        ranks = self.executor.one(finder.ranks, lists, self.asked)
        return exact.least_probes(ranks, self.work.section.recall)

    def _join_or_leave(
        self, shape: Shape, rows: Sequence[int], found: Found | None
    ) -> list[dict[str, Any]] | None:
        """Join the parts into one file if that fits; else returns what the manifest says of them."""
        fits = len(rows) == 1 or shape.bytes(sum(rows)) <= self.work.section.memory * GIB
        if not fits:
            return [
                {"index": index_files.part_index(n), "metadata": index_files.part_metadata(n), "rows": count}
                for n, count in enumerate(rows)
            ]
        begun("joining the index")
        probes = found.probes if found and shape.lists else None
        joiner = Joiner(self.work, rows, probes)
        self.stage.note(self.executor.one(joiner.join, self.index_file, self.asked))
        self.stage.save()
        return None


def _exact(notes: Sequence[Mapping[str, Any]], firsts: np.ndarray) -> Exact:
    """The exact nearest of all parts; `firsts`: the rows before each."""
    ids, own = (
        [
            np.where(note[name] == NONE, NONE, note[name] + first)
            for note, first in zip(notes, firsts[:-1], strict=True)
        ]
        for name in ("ids", "own")
    )
    scores = np.hstack([note["scores"] for note in notes])
    return Exact(*best(scores, np.hstack(ids), notes[0]["ids"].shape[1]), np.max(own, axis=0))


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

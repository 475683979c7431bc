"""Which samples a report shows: those at every rule's cut, those that only one rule drops, the extremes, some
at random, and those that failed.

A group holds the best few rows of the pool by an order, in bounded memory. Equals are drawn by seed and uid,
so the same run shows the same samples.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl

from pipeline.decide.lookup import Place
from pipeline.rule import Rule
from pipeline.view.numbers.gather import DRAW
from pipeline.view.numbers.values import keeps_high, numbers, slides
from pipeline.view.rows import DROPPED, FATE, KEPT, verdict


class Group(NamedTuple):
    """A group of samples. `rule`: None if it is about the whole decision."""

    rule: str | None
    kind: str
    title: str


@dataclass(frozen=True)
class Chosen:
    """The samples of a group, best first."""

    group: Group
    places: tuple[Place, ...]


class _Best(NamedTuple):
    """Rows of a group: how far each is from being the best; its draw; its place."""

    distance: np.ndarray
    draw: np.ndarray
    shard: np.ndarray
    row: np.ndarray

    def first(self, count: int) -> "_Best":
        """The best so many rows, best first."""
        order = np.lexsort((self.draw, self.distance))[:count]
        return _Best(*(column[order] for column in self))


class Choices:
    """Chooses `each` samples for each group. A gatherer (see gather.py).

    bounds  the value of each sliding rule's bound: of `top` and `bottom` the cut, if it has one
    """

    def __init__(self, rules: Mapping[str, Rule], bounds: Mapping[str, float | None], each: int) -> None:
        self.rules = dict(rules)
        self.bounds = dict(bounds)
        self.columns = [DRAW, *(rule.column for rule in rules.values() if rule.bound != "among")]
        self.each = each
        self._best: dict[Group, _Best] = {}
        self._furthest: dict[Group, float] = {}  # no row further off can be among the best any more

    def look(self, frame: pl.DataFrame) -> dict[Group, _Best]:
        """See Gatherer. The best of some rows, by group."""
        draws = frame[DRAW].to_numpy()
        chosen = {}
        for group, rows, distance in self._groups(frame, draws):
            near = distance <= self._furthest.get(group, np.inf)
            if near.any():
                chosen[group] = self._first(frame, rows[near], distance[near], draws)
        return chosen

    def add(self, seen: dict[Group, _Best]) -> None:
        """See Gatherer."""
        for group, best in seen.items():
            if group in self._best:
                pairs = zip(self._best[group], best, strict=True)
                best = _Best(*(np.concatenate(pair) for pair in pairs)).first(self.each)
            self._best[group] = best
            if len(best.distance) == self.each:
                self._furthest[group] = float(best.distance[-1])

    def chosen(self) -> list[Chosen]:
        """The groups that have samples: rule by rule, then those of the whole decision."""
        kinds = list(TITLES)
        names = [*self.rules, None]
        ordered = sorted(self._best, key=lambda group: (names.index(group.rule), kinds.index(group.kind)))
        return [
            Chosen(group, tuple(zip(self._best[group].shard, map(int, self._best[group].row), strict=True)))
            for group in ordered
        ]

    def _first(self, frame: pl.DataFrame, rows: np.ndarray, distance: np.ndarray, draws: np.ndarray) -> _Best:
        """The best of these rows of a frame."""
        if len(rows) > self.each:
            furthest = np.partition(distance, self.each - 1)[self.each - 1]
            rows, distance = rows[distance <= furthest], distance[distance <= furthest]
        order = np.lexsort((draws[rows], distance))[: self.each]
        places = frame[rows[order]]
        return _Best(
            distance[order], draws[rows[order]], places["shard"].to_numpy(), places["row"].to_numpy()
        )

    def _groups(
        self, frame: pl.DataFrame, draws: np.ndarray
    ) -> Iterator[tuple[Group, np.ndarray, np.ndarray]]:
        """Each group with its rows, ascending, and their distances, none of them NaN."""
        fate = frame[FATE]
        kept, dropped = (fate == KEPT).to_numpy(), (fate == DROPPED).to_numpy()
        fails = {name: (~frame[verdict(name)]).fill_null(False).to_numpy() for name in self.rules}
        failing = np.zeros(len(frame), np.int16)
        for failed in fails.values():
            failing += failed
        lacks_before = np.zeros(len(frame), bool)
        for name, rule in self.rules.items():
            yield from self._by_value(frame, name, kept, dropped & fails[name])
            yield _at_random(name, "only", dropped & fails[name] & (failing == 1), draws)
            if rule.missing == "drop":
                lacks = frame[verdict(name)].is_null().to_numpy()
                yield _at_random(name, "failed", lacks & ~lacks_before, draws)
                lacks_before |= lacks
        yield _at_random(None, "random", np.ones(len(frame), bool), draws)
        yield _at_random(None, "random_kept", kept, draws)
        yield _at_random(None, "random_dropped", dropped, draws)

    def _by_value(
        self, frame: pl.DataFrame, name: str, kept: np.ndarray, dropped: np.ndarray
    ) -> Iterator[tuple[Group, np.ndarray, np.ndarray]]:
        """The groups of a rule whose column is a number: at its cut, and the extremes."""
        rule = self.rules[name]
        if rule.bound == "among":
            return
        values = numbers(frame[rule.column])
        bound = self.bounds.get(name)
        if slides(rule) and bound is not None:
            with np.errstate(over="ignore", invalid="ignore"):  # infinite values and bounds
                above = (values - bound) if keeps_high(rule) else (bound - values)
            yield _by_distance(name, "just_kept", kept, above)
            yield _by_distance(name, "just_dropped", dropped, -above)
        everything = np.ones(len(values), bool)
        yield _by_distance(name, "lowest", everything, values)
        yield _by_distance(name, "highest", everything, -values)


FILL = (12, 6, 3, 2, 1)  # samples of a group: as many fill the rows of most grids
TITLES = {
    "just_kept": "just kept: nearest to the cut of {}",
    "just_dropped": "just dropped: nearest to the cut of {}",
    "only": "dropped by {} alone",
    "lowest": "lowest {}",
    "highest": "highest {}",
    "failed": "failed: no value for {}",
    "random": "some samples at random",
    "random_kept": "some that are kept, at random",
    "random_dropped": "some that are dropped, at random",
}


def each_of(rules: Sequence[Rule], most: int) -> int:
    """How many samples each group may have, so that all groups together have about `most`; one of FILL."""
    groups = sum(6 if slides(rule) else 4 if rule.bound == "chance" else 2 for rule in rules) + 3
    return next((each for each in FILL if each <= most // groups), 1)


def _at_random(
    rule: str | None, kind: str, chosen: np.ndarray, draws: np.ndarray
) -> tuple[Group, np.ndarray, np.ndarray]:
    """A group in which all rows are as good, so that their draws decide."""
    rows = np.flatnonzero(chosen)
    return _group(rule, kind), rows, draws[rows]


def _by_distance(
    rule: str, kind: str, chosen: np.ndarray, distance: np.ndarray
) -> tuple[Group, np.ndarray, np.ndarray]:
    """A group in which low distances are better."""
    rows = np.flatnonzero(chosen & ~np.isnan(distance))
    return _group(rule, kind), rows, distance[rows]


def _group(rule: str | None, kind: str) -> Group:
    """A group with its title."""
    return Group(rule, kind, TITLES[kind].format(rule))

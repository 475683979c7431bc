"""What every stop of every slider would do, counted exactly in one reading of the pool.

The stops of a rule are nested, so a row's *level* says all: how many stops it passes, from the loosest on.
One histogram of levels over all rows then holds the counts of every stop; others, over the rows that pass or
fail the other rules, hold what the stop would keep, and its overlap with each of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from pipeline.rule import Rule
from pipeline.view.numbers.stops import Stops
from pipeline.view.numbers.values import keeps_high, numbers
from pipeline.view.rows import verdict


@dataclass(frozen=True)
class Slider:
    """The stops of a rule and what each would do, as lists with an entry per stop, loosest first. All other
    rules stay as they are.

    set               the stop as `--set` takes it
    label             the bound in words
    value             the bound as a number; None if it is not finite
    passes            samples that pass this rule
    kept              samples that pass all rules
    fails_only        samples that fail this rule and pass all others
    dropped           samples that are dropped, by whichever rule
    passes_with       other rule -> samples that pass both
    other_fails_only  other rule -> samples that fail that one and pass all others
    current           which of the stops is the recipe's own
    """

    set: list[str]
    label: list[str]
    value: list[float | None]
    passes: list[int]
    kept: list[int]
    fails_only: list[int]
    dropped: list[int]
    passes_with: Mapping[str, list[int]]
    other_fails_only: Mapping[str, list[int]]
    current: int


@dataclass
class Levels:
    """Histograms of one rule's levels. Each is (stops + 2,) int64: rows of level 0, 1, ..., stops; last, rows
    without a value.

    all        every row
    open       rows that only this rule can drop: all others pass, and none lacks a value that it needs
    passes     other rule -> rows that pass it
    only       other rule -> rows that it alone drops, apart from this rule
    """

    all: np.ndarray
    open: np.ndarray
    passes: dict[str, np.ndarray] = field(default_factory=dict)
    only: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, other: "Levels") -> None:
        """Add the histograms of other rows."""
        self.all += other.all
        self.open += other.open
        for mine, theirs in ((self.passes, other.passes), (self.only, other.only)):
            for name, histogram in theirs.items():
                mine[name] = mine[name] + histogram if name in mine else histogram


class Sliders:
    """Counts levels. A gatherer (see gather.py). `stops`: of each rule that has a slider."""

    def __init__(self, rules: Mapping[str, Rule], stops: Mapping[str, Stops]) -> None:
        self.rules = dict(rules)
        self.stops = dict(stops)
        self.columns = [self.rules[name].column for name in self.stops]
        self.levels: dict[str, Levels] = {}
        self.failed = 0
        self.samples = 0

    def look(self, frame: pl.DataFrame) -> tuple[dict[str, Levels], int, int]:
        """See Gatherer. The levels of some rows; how many of them failed; how many there are."""
        judged = _Judged(frame, self.rules)
        counted = {
            name: _count_levels(
                name, row_levels(frame, name, self.rules[name], stops), len(stops.all), judged
            )
            for name, stops in self.stops.items()
        }
        return counted, int(judged.failed.sum()), len(frame)

    def add(self, seen: tuple[dict[str, Levels], int, int]) -> None:
        """See Gatherer."""
        levels, failed, samples = seen
        for name, part in levels.items():
            if name in self.levels:
                self.levels[name].add(part)
            else:
                self.levels[name] = part
        self.failed += failed
        self.samples += samples

    def of(self, name: str) -> Slider:
        """The slider of a rule."""
        stops, levels = self.stops[name], self.levels[name]
        passes_missing = self.rules[name].missing == "keep"
        kept = _reach(levels.open, passes_missing)
        undecided = int(levels.open.sum()) - (0 if passes_missing else int(levels.open[-1]))
        return Slider(
            set=[stop.set for stop in stops.all],
            label=[stop.label for stop in stops.all],
            value=[stop.value if np.isfinite(stop.value) else None for stop in stops.all],
            passes=_reach(levels.all),
            kept=kept,
            fails_only=[undecided - k for k in kept],
            dropped=[self.samples - self.failed - k for k in kept],
            passes_with={other: _reach(histogram) for other, histogram in levels.passes.items()},
            other_fails_only={
                other: _reach(histogram, passes_missing) for other, histogram in levels.only.items()
            },
            current=stops.at,
        )


class _Judged:
    """The verdicts on some rows.

    passes, fails   rule -> (n,) bool; both are false for a row without a value
    failed          (n,) bool: rows that lack a value which a rule needs
    failing         (n,) int16: how many rules a row fails
    """

    def __init__(self, frame: pl.DataFrame, rules: Mapping[str, Rule]) -> None:
        self.passes = {name: frame[verdict(name)].fill_null(False).to_numpy() for name in rules}
        self.fails = {name: (~frame[verdict(name)]).fill_null(False).to_numpy() for name in rules}
        self.failed = lacks_value(frame, rules)
        self.failing = np.zeros(len(frame), np.int16)
        for fails in self.fails.values():
            self.failing += fails


def _count_levels(name: str, levels: np.ndarray, stops: int, judged: _Judged) -> Levels:
    """The histograms of one rule, over some rows."""
    bins = stops + 2
    elsewhere = judged.failing - judged.fails[name]  # how many other rules a row fails
    counted = Levels(
        all=np.bincount(levels, minlength=bins),
        open=np.bincount(levels[~judged.failed & (elsewhere == 0)], minlength=bins),
    )
    once = np.flatnonzero(~judged.failed & (elsewhere == 1))
    for other in judged.passes:
        if other != name:
            rows = once[judged.fails[other][once]]
            counted.passes[other] = np.bincount(levels[judged.passes[other]], minlength=bins)
            counted.only[other] = np.bincount(levels[rows], minlength=bins)
    return counted


def lacks_value(frame: pl.DataFrame, rules: Mapping[str, Rule]) -> np.ndarray:
    """(n,) bool: whether a rule that needs a value has none. Such rows failed, whatever the bounds."""
    lacks = np.zeros(len(frame), bool)
    for name, rule in rules.items():
        if rule.missing == "drop":
            lacks |= frame[verdict(name)].is_null().to_numpy()
    return lacks


def row_levels(frame: pl.DataFrame, name: str, rule: Rule, stops: Stops) -> np.ndarray:
    """(n,) int64: how many stops each row passes; one more than there are stops if it has no value. The
    verdicts of the frame tell about the recipe's own stop, so ties by uid are right there too."""
    values = numbers(frame[rule.column])
    sign = 1.0 if keeps_high(rule) else -1.0
    levels: np.ndarray = np.searchsorted(sign * stops.bounds, sign * values, side="right")
    own = frame[verdict(name)]
    passes = own.fill_null(False).to_numpy()
    levels = levels + ((levels > stops.at) | ((levels == stops.at) & passes))
    levels[own.is_null().to_numpy()] = len(stops.all) + 1
    return levels


def _reach(histogram: np.ndarray, missing: bool = False) -> list[int]:
    """Per stop, the rows that pass it; with `missing`, also those without a value."""
    above = np.cumsum(histogram[-2:0:-1])[::-1]
    reached: list[int] = (above + (histogram[-1] if missing else 0)).tolist()
    return reached

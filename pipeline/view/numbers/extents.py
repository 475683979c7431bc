"""How far a rule's values reach, and which value has a given rank: exactly, and in bounded memory.

Many ranks of one column are looked up together (`decide.cuts` looks up one). The first reading counts the
values by the first 22 bits that they have as float32, a mapping that keeps their order; the second collects
the distinct values of those few of the four million bins in which a wanted rank lies.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import polars as pl

from pipeline.rule import Rule
from pipeline.view.numbers.values import keeps_high, numbers, slides
from pipeline.view.rows import remaining

BITS = 22
BINS = 1 << BITS
MOST_DISTINCT = 1 << 20  # values that are collected before equal ones are put together


class Ranked(NamedTuple):
    """A value, how many values are better, and how many are as good or better."""

    value: float
    better: int
    reached: int


@dataclass
class Extent:
    """The values of a sliding rule's column.

    rows        rows of the pool
    count       rows that have a value; of `of: remaining`, those that other rules keep
    low, high   the lowest and highest finite value; NaN if there is none
    histogram   (BINS,) int64 of `top` and `bottom`: how many of these values are in which bin, better ones
                last
    """

    dtype: pl.DataType = field(default_factory=pl.Float64)
    rows: int = 0
    count: int = 0
    low: float = float("nan")
    high: float = float("nan")
    histogram: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))


class _Seen(NamedTuple):
    """What some rows say of an extent; `bins`, `counts`: of its histogram, those that are not empty."""

    dtype: pl.DataType
    rows: int
    present: int
    low: float
    high: float
    bins: np.ndarray
    counts: np.ndarray


class Extents:
    """Finds the extent of every sliding rule. A gatherer (see gather.py)."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self.all_rules = rules
        self.rules = {name: rule for name, rule in rules.items() if slides(rule)}
        self.columns = [rule.column for rule in self.rules.values()]
        self.of = {name: Extent() for name in self.rules}

    def look(self, frame: pl.DataFrame) -> dict[str, _Seen]:
        """See Gatherer."""
        counted = _counted(self.rules, frame, self.all_rules)
        return {name: _seen(rule, frame[rule.column], counted[name]) for name, rule in self.rules.items()}

    def add(self, seen: dict[str, _Seen]) -> None:
        """See Gatherer."""
        for name, part in seen.items():
            extent = self.of[name]
            extent.dtype = part.dtype
            extent.rows += part.rows
            extent.count += part.present
            extent.low = float(np.fmin(extent.low, part.low))
            extent.high = float(np.fmax(extent.high, part.high))
            if self.rules[name].needs_cut:
                if not len(extent.histogram):
                    extent.histogram = np.zeros(BINS, np.int64)
                extent.histogram[part.bins] += part.counts


def _seen(rule: Rule, column: pl.Series, counted: pl.Series) -> _Seen:
    """The extent of some rows. `counted`: the values of which the rule takes a share."""
    values = numbers(column)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (np.nan, np.nan)
    values = numbers(counted)
    values = values[~np.isnan(values)]
    bins, counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
    if rule.needs_cut:
        bins, counts = np.unique(_bins(_better(rule, values)), return_counts=True)
    return _Seen(column.dtype, len(column), len(values), low, high, bins, counts)


class Ranks:
    """Finds the values that have the wanted ranks, from the best. `rules`: all of a recipe; `ranks`: rule ->
    ranks, from 1 to the extent's `count`. A gatherer (see gather.py)."""

    def __init__(
        self, rules: Mapping[str, Rule], of: Mapping[str, Extent], ranks: Mapping[str, Sequence[int]]
    ):
        self.all_rules = rules
        self.rules = {name: rules[name] for name in ranks if len(ranks[name])}
        self.columns = [rule.column for rule in self.rules.values()]
        self.ranks = {name: np.array(ranks[name], np.int64) for name in self.rules}
        self._from_best = {name: np.cumsum(of[name].histogram[::-1]) for name in self.rules}
        self._wanted = {name: self._bins_wanted(name) for name in self.rules}
        self._values = {name: [np.zeros(0)] for name in self.rules}
        self._counts = {name: [np.zeros(0, np.int64)] for name in self.rules}

    def look(self, frame: pl.DataFrame) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """See Gatherer. The distinct values in wanted bins, and how many rows have each."""
        counted = _counted(self.rules, frame, self.all_rules)
        return {name: self._look(rule, counted[name], name) for name, rule in self.rules.items()}

    def add(self, seen: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
        """See Gatherer."""
        for name, (values, counts) in seen.items():
            self._values[name].append(values)
            self._counts[name].append(counts)
            if sum(map(len, self._values[name])) > MOST_DISTINCT:
                self._merge(name)

    def found(self) -> dict[str, list[Ranked]]:
        """Rule -> what was found of each of its ranks."""
        return {name: self._found(name) for name in self.rules}

    def _bins_wanted(self, name: str) -> np.ndarray:
        """(BINS,) bool: the bins in which a wanted rank lies."""
        wanted = np.zeros(BINS, bool)
        wanted[BINS - 1 - np.searchsorted(self._from_best[name], self.ranks[name])] = True
        return wanted

    def _look(self, rule: Rule, column: pl.Series, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The distinct values of some rows in wanted bins, better ones higher."""
        values = numbers(column)
        values = _better(rule, values[~np.isnan(values)])
        return np.unique(values[self._wanted[name][_bins(values)]], return_counts=True)

    def _merge(self, name: str) -> None:
        """Put equal values together."""
        values, place = np.unique(np.concatenate(self._values[name]), return_inverse=True)
        counts = np.concatenate(self._counts[name])
        self._values[name] = [values]
        self._counts[name] = [np.bincount(place, counts, len(values)).astype(np.int64)]

    def _found(self, name: str) -> list[Ranked]:
        """The value of each rank. Within a bin, values count from its best."""
        self._merge(name)
        values, counts = self._values[name][0][::-1], self._counts[name][0][::-1]
        bins = _bins(values)
        before_bin = self._from_best[name][BINS - 1 - bins] - np.bincount(bins, counts, BINS)[bins]
        first_of_bin = np.concatenate([[True], bins[1:] != bins[:-1]])
        running = np.cumsum(counts)
        starts = (running - counts)[first_of_bin][np.cumsum(first_of_bin) - 1]
        reached = (before_bin + running - starts).astype(np.int64)
        sign = 1 if keeps_high(self.rules[name]) else -1
        at = np.searchsorted(reached, self.ranks[name])
        return [Ranked(sign * float(values[i]), int(reached[i] - counts[i]), int(reached[i])) for i in at]


def _counted(
    rules: Mapping[str, Rule], frame: pl.DataFrame, all_rules: Mapping[str, Rule]
) -> dict[str, pl.Series]:
    """Rule -> the values of some rows of which it takes a share."""
    rest = remaining(frame, all_rules)
    return {name: (rest if rule.of_remaining else frame)[rule.column] for name, rule in rules.items()}


def _better(rule: Rule, values: np.ndarray) -> np.ndarray:
    """Values such that better ones, in the eyes of the rule, are higher; 0 instead of -0."""
    return (values if keeps_high(rule) else -values) + 0.0


def _bins(values: np.ndarray) -> np.ndarray:
    """(n,) float64 without NaN -> (n,) int64 in [0, BINS), in the order of the values."""
    with np.errstate(over="ignore"):
        bits = values.astype(np.float32).view(np.int32)
    words = np.where(bits < 0, ~bits, bits ^ np.int32(-(2**31))).view(np.uint32)
    return (words >> np.uint32(32 - BITS)).astype(np.int64)

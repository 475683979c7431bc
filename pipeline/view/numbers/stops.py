"""The stops of a slider: the bounds that a rule is tried with, loosest first.

`min` and `max` stop at numbers of few digits near the quantiles of a seeded sample, so that about an equal
share of the pool lies between two stops, and at even steps besides; whole numbers stop at whole numbers.
`top` and `bottom` stop at shares. The recipe's own bound is always one of the stops.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from pipeline.decide.cuts import rank_from_top
from pipeline.rule import Rule
from pipeline.view.numbers.extents import Extent, Ranked
from pipeline.view.numbers.values import as_compared, keeps_high, number_text

MOST_WHOLE = 120  # whole numbers that are stops each
QUANTILES = np.concatenate([np.linspace(0, 1, 101), [0.001, 0.002, 0.005, 0.995, 0.998, 0.999]])
EVEN = 20  # steps of equal width besides, where few samples are
SHARES = (1.0, 0.999, 0.998, 0.995, *(s / 100 for s in range(99, 0, -1)), 0.005, 0.002, 0.001)


@dataclass(frozen=True)
class Stop:
    """One bound. `set`: as `--set` takes it; `label`: in words; `value`: what values are compared with."""

    set: str
    label: str
    value: float


@dataclass(frozen=True)
class Stops:
    """The stops of a rule.

    others    all stops but the recipe's own, loosest first
    bounds    (len(others),) float64: their values as they are compared
    current   the recipe's own
    at        its place: how many of the others are looser
    """

    others: tuple[Stop, ...]
    bounds: np.ndarray
    current: Stop
    at: int

    @property
    def all(self) -> tuple[Stop, ...]:
        """Every stop, loosest first."""
        return (*self.others[: self.at], self.current, *self.others[self.at :])


def wanted_ranks(rules: Mapping[str, Rule], extents: Mapping[str, Extent]) -> dict[str, list[int]]:
    """Rule -> the ranks of its stops; of `top` and `bottom` alone."""
    return {
        name: [rank for _, rank in _shares(rule, extents[name])]
        for name, rule in rules.items()
        if rule.needs_cut
    }


def stops_of(
    name: str, rule: Rule, extent: Extent, cut: float | None, ranked: Sequence[Ranked], sample: np.ndarray
) -> Stops:
    """The stops of a rule. `cut`: what its share came to; `ranked`: the values of `wanted_ranks`; `sample`:
    (n,) float64 finite values of its column."""
    if rule.needs_cut:
        stops = _share_stops(name, rule, extent, ranked)
        value = float("nan") if cut is None else cut
    else:
        stops = [_value_stop(name, rule, v) for v in _bounds(rule, extent, sample)]
        value = float(getattr(rule, rule.bound))
    current = Stop(f"keep.{name}.{rule.bound}={_own_text(rule)}", rule.describe(cut), value)
    return _placed(rule, extent.dtype, stops, current)


def _placed(rule: Rule, dtype: pl.DataType, stops: Sequence[Stop], current: Stop) -> Stops:
    """The stops, the current one at its place among the others. One that does the same is left out."""
    sign = 1 if keeps_high(rule) else -1
    bounds = as_compared(np.array([stop.value for stop in stops], np.float64), dtype)
    own = float(as_compared(np.array([current.value]), dtype)[0])
    if rule.ties == "uid":  # the recipe's own may keep a part of the values equal to its cut
        differs = np.array([stop.set != current.set for stop in stops], bool)
        at = len(bounds) if np.isnan(own) else int(np.sum(differs & (sign * bounds <= sign * own)))
    else:
        differs = bounds != own
        at = len(bounds) if np.isnan(own) else int(np.sum(sign * bounds < sign * own))
    others = tuple(stop for stop, other in zip(stops, differs, strict=True) if other)
    return Stops(others, bounds[differs], current, at)


# --- min and max ----------------------------------------------------------------------------------


def _value_stop(name: str, rule: Rule, value: float) -> Stop:
    """The stop of `min` or `max` at a value."""
    value += 0.0  # -0 becomes 0
    label = rule.model_copy(update={rule.bound: value}).describe()
    return Stop(f"keep.{name}.{rule.bound}={number_text(value)}", label, value)


def _bounds(rule: Rule, extent: Extent, sample: np.ndarray) -> list[float]:
    """The values at which `min` or `max` stops, loosest first."""
    if np.isnan(extent.low):
        return []
    whole = extent.dtype.is_integer() or extent.dtype == pl.Boolean
    if whole and extent.high - extent.low <= MOST_WHOLE:
        values = [float(v) for v in range(int(extent.low), int(extent.high) + 1)]
    else:
        values = _round_quantiles(extent, sample, whole)
    return values if keeps_high(rule) else values[::-1]


def _round_quantiles(extent: Extent, sample: np.ndarray, whole: bool) -> list[float]:
    """Numbers of few digits near the quantiles of a sample, and the lowest and highest value, ascending."""
    even = 2 * np.linspace(extent.low / 2, extent.high / 2, EVEN + 1)  # halves: the width may overflow
    quantiles = np.quantile(sample, QUANTILES, method="nearest") if len(sample) else []
    targets = np.unique(np.concatenate([quantiles, even]))
    middles = targets[1:] / 2 + targets[:-1] / 2
    inner = [
        _short(float(target), low, high, whole)
        for target, low, high in zip(targets[1:-1], middles[:-1], middles[1:], strict=True)
    ]
    return sorted({extent.low, *(v for v in inner if extent.low < v < extent.high), extent.high})


def _short(value: float, low: float, high: float, whole: bool) -> float:
    """The number with the fewest digits that rounding gives in [low, high], which `value` lies in."""
    for digits in range(1, 17):
        short = float(f"{value:.{digits}g}")
        if low <= short <= high and (not whole or short == int(short)):
            return short
    return float(round(value)) if whole else value


# --- top and bottom -------------------------------------------------------------------------------


def _shares(rule: Rule, extent: Extent) -> list[tuple[float, int]]:
    """(share, rank) of the stops of `top` or `bottom`, loosest first: those that some samples reach."""
    shares = [share for share in SHARES if share < 1 or rule.ties != "datacomp"]
    ranks = [rank_from_top(_with(rule, share), extent.count, extent.rows) for share in shares]
    return [(s, r) for s, r in zip(shares, ranks, strict=True) if 1 <= r <= extent.count]


def _share_stops(name: str, rule: Rule, extent: Extent, ranked: Sequence[Ranked]) -> list[Stop]:
    """A stop per value that a share comes to. Of several shares of one value, the first is taken, and of
    `ties: uid` the number of samples that keeps all rows of the value."""
    stops: dict[float, Stop] = {}
    for (share, rank), (value, _, reached) in zip(_shares(rule, extent), ranked, strict=True):
        bound: float | int = reached if rule.ties == "uid" and rank != reached else share
        text = f"{bound} samples" if isinstance(bound, int) else number_text(bound)
        stop = Stop(f"keep.{name}.{rule.bound}={text}", _with(rule, bound).describe(value), value)
        if value not in stops or rank == reached:
            stops[value] = stop
    return list(stops.values())


def _with(rule: Rule, bound: float | int) -> Rule:
    """The rule with another bound of the same kind."""
    return rule.model_copy(update={rule.bound: bound})


def _own_text(rule: Rule) -> str:
    """The recipe's own bound as `--set` takes it."""
    bound = getattr(rule, rule.bound)
    return f"{bound} samples" if rule.needs_cut and isinstance(bound, int) else number_text(bound)

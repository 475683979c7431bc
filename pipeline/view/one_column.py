"""One column of a pool in detail: exact quantiles, and a histogram with the cuts of the rules that read it.

detail = one_column(session, "clip.score")
detail.profile.quantiles["50%"], detail.bins, detail.marks
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from pipeline.decide.cuts import resolve_cuts
from pipeline.ordered_map import threaded_map
from pipeline.plan.session import Session
from pipeline.progress import watched
from pipeline.recipe.yaml_values import yaml_values
from pipeline.rule import Rule
from pipeline.view.profile import NUMBER, PERCENT, ColumnProfile, figure, profile, stored_columns

BINS = 20  # of a histogram, about
PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,19}")  # a text that a shell takes as it stands


@dataclass(frozen=True)
class Bin:
    """`count` values >= `low` and < `high`; the bins at both ends have one side only, the other is None."""

    low: float | None
    high: float | None
    count: int


@dataclass(frozen=True)
class Mark:
    """A rule that reads the column. `value`: where it cuts; None if it names texts, or draws."""

    rule: str
    bound: str
    value: float | None


@dataclass(frozen=True)
class OneColumn:
    """A column in detail.

    profile   its figures; the quantiles of numbers are exact
    bins      its histogram, of numbers and lengths alone
    marks     the rules that read it
    override  what `--set` may change: a rule on it, or the one there is
    sampled   rows that frequent values, and quantiles of lengths, are of
    """

    profile: ColumnProfile
    bins: Sequence[Bin]
    marks: Sequence[Mark]
    override: Sequence[str]
    sampled: int


def one_column(session: Session, column: str) -> OneColumn:
    """See OneColumn. Raises RecipeError if the column is not stored."""
    whole = profile(session, [column])
    shards = stored_columns(session).shards
    mine = whole.columns[column]
    if mine.kind == NUMBER and mine.rows > whole.sampled:
        mine = replace(mine, quantiles=_exact_quantiles(session, mine, shards))
    edges = _edges(mine)
    bins = list(_histogram(session, mine, shards, edges)) if len(edges) else []
    marks = list(_marks(session, column, shards))
    return OneColumn(mine, bins, marks, list(_overrides(session, mine)), whole.sampled)


def _exact_quantiles(session: Session, mine: ColumnProfile, shards: Sequence[str]) -> dict[str, float]:
    """The quantiles of all values: each is a rule that keeps so many of the lowest."""
    values = mine.rows - (mine.nulls or 0)
    ranks = {f"{percent}%": round(percent / 100 * (values - 1)) + 1 for percent in PERCENT}
    rules = {
        name: Rule.model_validate({"column": mine.column, "bottom": f"{rank} samples"})
        for name, rank in ranks.items()
    }
    return {name: cut.value for name, cut in resolve_cuts(rules, session.columns, shards).items()}


# --- the histogram ---------------------------------------------------------------------------------


def _edges(mine: ColumnProfile) -> np.ndarray:
    """Round numbers between which most values lie; none if there are no finite values."""
    if not mine.quantiles:
        return np.zeros(0)
    low, high = mine.quantiles["1%"], mine.quantiles["99%"]
    if not math.isfinite(high - low):
        return np.zeros(0)
    whole = mine.kind != NUMBER or mine.dtype.startswith(("Int", "UInt"))
    step = max(_round_step((high - low) / BINS), 1.0 if whole else 0.0)
    first = math.floor(low / step)
    count = max(1, math.floor(high / step) - first + 1)
    return np.array([float(f"{(first + number) * step:.12g}") for number in range(count + 1)])


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 5, 10, 20, ... times a power of ten that is `least` or more."""
    if least < 1e-300:
        return 1.0
    power = float(10.0 ** math.floor(math.log10(least)))
    return next((factor * power for factor in (1, 2, 5) if factor * power >= least), 10 * power)


def _histogram(
    session: Session, mine: ColumnProfile, shards: Sequence[str], edges: np.ndarray
) -> Iterator[Bin]:
    """The bins between the edges, after and before what lies outside, if anything does."""
    groups = list(session.columns.groups(shards))
    counts = np.zeros(len(edges) + 1, np.int64)
    counted = threaded_map(partial(_count, session, mine, edges), groups)
    for part in watched("counting values", counted, len(groups)):
        counts += part
    ends = [None, *map(float, edges), None]
    for number, count in enumerate(counts.tolist()):
        if count or 0 < number < len(edges):
            yield Bin(ends[number], ends[number + 1], count)


def _count(session: Session, mine: ColumnProfile, edges: np.ndarray, shards: Sequence[str]) -> np.ndarray:
    """(edges + 1,) int64: how many values of some shards lie before, between and after the edges."""
    frame = session.columns.read_many(shards, [mine.column])
    values = frame.select(figure(mine.column, mine.kind)).to_series().drop_nulls().to_numpy()
    return np.bincount(np.searchsorted(edges, values, "right"), minlength=len(edges) + 1)


# --- rules -----------------------------------------------------------------------------------------


def _marks(session: Session, column: str, shards: Sequence[str]) -> Iterator[Mark]:
    """The rules that read the column, with their cuts."""
    rules = {name: rule for name, rule in session.recipe.keep.items() if rule.column == column}
    shares = {n: r for n, r in rules.items() if r.needs_cut and not r.of_remaining}  # for that: other columns
    cuts = resolve_cuts(shares, session.columns, shards)
    for name, rule in rules.items():
        cut = cuts[name].value if name in cuts else None
        value = cut if rule.needs_cut else rule.min if rule.min is not None else rule.max
        yield Mark(name, rule.describe(cut), value)


def _overrides(session: Session, mine: ColumnProfile) -> Iterator[str]:
    """Values for `--set`: another bound of the rules that read the column, or a rule for a column without."""
    rules = {name: rule for name, rule in session.recipe.keep.items() if rule.column == mine.column}
    for name, rule in rules.items():
        if rule.bound in ("min", "max"):
            quantiles = ("10%", "25%", "50%") if rule.bound == "min" else ("90%", "75%", "50%")
            other = [q for q in quantiles if _shown(mine, q) != rule.min and _shown(mine, q) != rule.max]
            yield from _bound(f"keep.{name}.{rule.bound}", mine, *other[:1])
        elif rule.bound in ("top", "bottom"):
            share = next(share for share in (0.5, 0.3) if share not in (rule.top, rule.bottom))
            yield f"keep.{name}.{rule.bound}={share}"
        yield f"keep.{name}=null"
    if rules:
        return
    if mine.kind == NUMBER and mine.quantiles:
        yield from _bound(f"keep.{mine.column}.min", mine, "10%")
        yield f"keep.{mine.column}.top=0.3"
    elif mine.dtype == "String" and mine.frequent and PLAIN.fullmatch(best := next(iter(mine.frequent))):
        word = best if yaml_values(best) == best else f'"{best}"'  # no is Norwegian, and YAML's false
        yield f"keep.{mine.column}.among=[{word}]"


def _bound(key: str, mine: ColumnProfile, *quantiles: str) -> Iterator[str]:
    """Quantiles as bounds, if there are any: bounds are finite."""
    for quantile in quantiles:
        if math.isfinite(value := _shown(mine, quantile)):
            yield f"{key}={value:.4g}"


def _shown(mine: ColumnProfile, quantile: str) -> float:
    """A quantile to four digits, as it is shown; infinite if it is not known."""
    return float(f"{mine.quantiles.get(quantile, math.inf):.4g}")

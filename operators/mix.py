"""Mixtures of scores: several scores made comparable, then added with weights, or the highest of them taken.

    clip:   {use: clip.ClipScore, model: ViT-L-14, pretrained: openai}
    dfn:    {use: clip.ClipScore, model: ViT-B-32, pretrained: dfn.safetensors}
    scales: {use: mix.Standardised, scores: [clip.score, dfn.score]}
    mixed:  {use: mix.Weighted, scores: [clip.score, dfn.score], weights: [1, 2], scales: scales}
    counts: {use: softcap.ScoreCount, logit: mixed.score}
    often:  {use: softcap.Repeats, logit: mixed.score, scores: counts, draws: 128000000}
    keep:
      often.repeats: {min: 1}
    export: {subset: subset.npy, repeats: often.repeats}

A cosine of 0.3 by one model is not one of 0.3 by another. Each score is first measured by its own
distribution over the pool, then they are added. With soft-cap sampling of the sum, as above, this is the
pipeline of M-FLYT, which mixes twelve published scores.

Columns
    Weighted  score  Float64  the weighted sum, higher is better if each score is; null if all scores are
                              missing, or, with `missing: unknown`, one of them
    Highest   score  Float64  the highest of the weighted scores; null as that of Weighted
Errors: none of its own.
Source: M-FLYT of Filter Like You Test (arXiv 2503.08805), which standardises scores and adds them with
    weights; averages of ranks are the usual way to combine rankings.
Differs: M-FLYT learns its weights through the training of a model; here the recipe gives them. Ranks are
    those of bins: values that differ by less than 1/4096 of themselves may count as equal. A value that is
    not finite counts as missing.
"""

from collections.abc import Iterator, Mapping
from statistics import NormalDist
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import polars as pl
from pydantic import Field, PrivateAttr, model_validator

from operators.algorithms.value_counts import added, bins_of, counted, moments, shares
from pipeline.operator import Columns, Device, Operator, Score, Stat, Table
from pipeline.schema import owner

Weight = Annotated[
    float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)
]  # beyond, sums of scores might overflow


def _listed(columns: str | tuple[str, ...]) -> tuple[str, ...]:
    """One column or several, as several."""
    return (columns,) if isinstance(columns, str) else columns


def _values(batch: pl.DataFrame, column: str) -> tuple[np.ndarray, np.ndarray]:
    """(n,) numbers of a column, 0 where they are missing, and (n,) which rows have one that is finite."""
    numbers = batch[column].cast(pl.Float64).fill_null(np.nan).to_numpy()
    known = np.isfinite(numbers.astype(np.float32))
    return np.where(known, numbers, 0), known


class _Scores(Operator):
    """Base of the two.

    scores  columns of numbers, such as [clip.score, dfn.score]
    """

    scores: Columns

    def unfit(self, columns: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
        """See Operator: each column must hold numbers."""
        for column in _listed(self.scores):
            dtype = columns.get(column)
            if dtype is not None and not (dtype.is_numeric() or dtype == pl.Boolean):
                yield "scores", column, "numbers"

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        """Refuse a column that comes twice, and none."""
        if not self.scores or len(set(_listed(self.scores))) < len(_listed(self.scores)):
            raise ValueError(f"must have each of `scores` once, got {', '.join(_listed(self.scores))}")
        return self


class Standardised(_Scores, Stat):
    """How several scores are distributed over the pool: mean, standard deviation, and how often which values
    occur.

    Use it before `mix.Weighted`.

    Table: `score` String, `mean` and `deviation` (of the whole pool) Float64; `bin` UInt32, values that agree
    in their first digits, ascending, and `count` UInt64.

    Cost: very cheap: 1,500,000 rows of two scores per second on a CPU core (measured).
    """

    def partial(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Counts of one batch."""
        parts = []
        for column in _listed(self.scores):
            numbers, known = _values(batch, column)
            parts.append(counted(numbers[known]).select(pl.lit(column).alias("score"), pl.all()))
        return pl.concat(parts)

    def merge(self, parts: pl.DataFrame) -> pl.DataFrame:
        """Counts and sums add up."""
        return added(parts, ["score"])

    def finish(self, merged: pl.DataFrame) -> pl.DataFrame:
        """By score, in the recipe's order, and bin."""
        tables = []
        for column in _listed(self.scores):
            table = merged.filter(pl.col("score") == column).sort("bin")
            mean, deviation = moments(table)
            scale = table.with_columns(mean=pl.lit(mean), deviation=pl.lit(deviation))
            tables.append(scale.select("score", "mean", "deviation", "bin", "count"))
        return pl.concat(tables)


class _Mixture(_Scores):
    """Base of the mixtures.

    weights  a number for each of `scores`, in their order, from -1e9 to 1e9; negative for a score that is
             better if lower
    scales   the table of a Standardised of the same columns
    by       `z`: how many standard deviations above the mean; `rank`: the share of the pool that is below,
             (rank - 1/2) / number, in (0, 1), the mean for equal values; `normal`: the quantile of a normal
             distribution at that share, so that outliers count as in `rank` and the scale is that of `z`
    missing  a missing score counts as the pool's `mean`, or leaves the mixture `unknown`
    """

    weights: tuple[Weight, ...]
    scales: Table
    by: Literal["z", "rank", "normal"] = "z"
    missing: Literal["mean", "unknown"] = "mean"

    writes: ClassVar[Mapping[str, Any]] = {"score": pl.Float64}
    join: ClassVar[Any] = np.add  # how a score's part joins those before it
    start: ClassVar[float] = 0.0
    _scales: Any = PrivateAttr(None)

    @model_validator(mode="after")
    def _a_weight_each(self) -> Self:
        """Refuse more or fewer weights than scores."""
        if len(self.weights) != len(_listed(self.scores)):
            raise ValueError(
                f"must have a weight for each of {len(_listed(self.scores))} scores, got {len(self.weights)}"
            )
        return self

    def misfits(self, sources: Mapping[str, Operator]) -> Iterator[tuple[str, str]]:
        """See Operator: scores that the Stat does not measure."""
        stat = sources.get(owner(self.scales) or "")
        if not isinstance(stat, Standardised):
            yield "scales", f"{self.scales} must be a mix.Standardised"
        elif other := set(_listed(self.scores)) - set(_listed(stat.scores)):
            yield "scales", f"{self.scales} does not measure {min(other)}; add it to its `scores`"

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Make each score's scale."""
        self._scales = self._scales_of(stats[self.scales])

    def _scales_of(self, table: pl.DataFrame) -> "dict[str, _Scale]":
        """By score."""
        return {
            column: _Scale(table.filter(pl.col("score") == column), self.by)
            for column in _listed(self.scores)
        }

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n,) scores of each kind -> (n,) mixtures."""
        total = np.full(len(batch), self.start)
        found = np.zeros(len(batch), int)
        for column, weight in zip(_listed(self.scores), self.weights, strict=True):
            numbers, known = _values(batch, column)
            part = np.full(len(batch), weight * self._scales[column].mean)
            part[known] = weight * self._scales[column](numbers[known])
            total = self.join(total, part)
            found += known
        enough = found == len(self.weights) if self.missing == "unknown" else found > 0
        return pl.select(score=pl.when(pl.Series(enough)).then(pl.Series(total)))

    def evidence(
        self, row: pl.DataFrame, stats: Mapping[str, pl.DataFrame], sources: Mapping[str, Operator]
    ) -> pl.DataFrame:
        """`score`, `value`, `standardised`, `weight`, `part`: what each score adds to the mixture."""
        rows = []
        scales = self._scales_of(stats[self.scales])
        for column, weight in zip(_listed(self.scores), self.weights, strict=True):
            numbers, known = _values(row, column)
            standardised = float(scales[column](numbers)[0]) if known[0] else scales[column].mean
            value = float(numbers[0]) if known[0] else None
            rows.append((column, value, standardised, weight, weight * standardised))
        return pl.DataFrame(
            rows, ["score", "value", "standardised", "weight", "part"], orient="row", strict=False
        )


class Weighted(_Mixture, Score):
    """A weighted sum of scores, each on the scale of its own distribution over the pool.

    Use it to decide by several scores at once, where a sample that is poor by one may make up for it by
    another. If every score must be good, use a rule for each.

    Cost: very cheap: 4,800,000 rows of two scores per second on a CPU core, 2,800,000 by rank (measured).
    """


class Highest(_Mixture, Score):
    """The highest of several weighted scores, each on the scale of its own distribution over the pool.

    Use it to drop a share of the pool that is extreme by any of several scores, such as signs of a backdoor:
    a sample that one sign finds must not be excused by the others, as it is in a sum. With `by: normal`, a
    weight of -1 turns a score round; with `by: rank`, it would only make it lower than all others.

    Cost: very cheap, like `mix.Weighted`.
    """

    join: ClassVar[Any] = np.maximum
    start: ClassVar[float] = -np.inf


class _Scale:
    """One score's values on its scale, and the mean there."""

    def __init__(self, table: pl.DataFrame, by: str) -> None:
        self.by = by
        self.mean = 0.5 if by == "rank" else 0.0
        self._middle = table["mean"][0] if len(table) else 0.0
        self._deviation = (table["deviation"][0] if len(table) else 0.0) or 1.0
        self._bins = table["bin"].to_numpy()
        levels = shares(table["count"].to_numpy())
        if by == "normal":
            levels = np.array([NormalDist().inv_cdf(level) for level in levels])
        self._levels = levels

    def __call__(self, numbers: np.ndarray) -> np.ndarray:
        """(n,) finite numbers -> (n,)."""
        found: np.ndarray
        if self.by == "z" or not len(self._bins):
            found = (numbers - self._middle) / self._deviation
            return found
        places = np.searchsorted(self._bins, bins_of(numbers))
        found = self._levels[np.minimum(places, len(self._bins) - 1)]
        return found

"""Soft-cap sampling: how often to train on a sample; a higher score gets more repeats, with falling returns.

    clip:    {use: clip.ClipScore, model: ViT-B-32, pretrained: dfn.safetensors}
    scores:  {use: softcap.ScoreCount, logit: clip.score}
    sampled: {use: softcap.Repeats, logit: clip.score, scores: scores, draws: 128000000, temperature: 0.01}
    keep:
      sampled.repeats: {min: 1}
    export: {subset: subset.npy, repeats: sampled.repeats}

Columns
    Repeats  repeats  UInt32  how often the sample is drawn, 0 or more, higher for a higher score; null
                              without a score, or if it is not finite
Errors: `score is not finite`.
Source: Filter Like You Test (FLYT, arXiv 2503.08805), soft cap sampling: draw from softmax(score), subtract
    0.15 from the score of each drawn sample, until there are as many draws as training sees; hard cap: at
    most 15 draws of each.
Differs: the released sampler draws batches one after the other, each from all samples. Here a sample's
    repeats follow from its score, its uid and one number. If each draw lowers a score by `penalty`, the draws
    c that a score s has after a time t obey dc/dt = exp(s - penalty c), hence c = log(1 + penalty t exp(s)) /
    penalty; t is such that all c add up to `draws`; c is rounded up or down by the sample's own draw, so that
    its mean is c. The total is `draws`, give or take about half the root of the number of samples. Beside a
    simulation of the released sampler, no twentieth of the scores has its mean off by 0.1 draws
    (tests/operators/test_softcap.py). A `chance` rule of the same seed draws the same numbers: give the two
    different seeds.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
import polars as pl
from pydantic import Field, PrivateAttr

from operators.algorithms.tables import table_of
from pipeline.operator import Device, Numbers, Score, Stat, Table
from pipeline.uids import draw

STEP = 1e-4  # of the scores that the total is reckoned from
STEPS = 200  # bisections, which end at two neighbouring floats
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _finite(column: str) -> pl.Expr:
    """The scores, null if not finite."""
    score = pl.col(column).cast(pl.Float64)
    return pl.when(score.is_finite()).then(score)


class ScoreCount(Stat):
    """How many samples have each score, in steps of 1e-4.

    Use it before `softcap.Repeats`, which finds from it how long to draw.

    logit  the score to sample by

    Table: `bin` Int64, the score in steps of 1e-4, and `count` UInt64.

    Cost: very cheap: it counts one column.
    """

    logit: Numbers

    def partial(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Counts of one batch."""
        steps = (_finite(self.logit) / STEP).clip(-1e15, 1e15).round().cast(pl.Int64)
        bins = batch.select(bin=steps).drop_nulls()
        return bins.group_by("bin").agg(count=pl.len().cast(pl.UInt64))

    def merge(self, parts: pl.DataFrame) -> pl.DataFrame:
        """Counts add up."""
        return parts.group_by("bin").agg(pl.col("count").sum())

    def finish(self, merged: pl.DataFrame) -> pl.DataFrame:
        """By score."""
        return merged.sort("bin")


class Repeats(Score):
    """How often a sample is drawn if samples are drawn by their score, and each draw lowers the score.

    Use it to train on good samples several times instead of on mediocre ones once. Export with `repeats:` to
    write each sample as often.

    logit        the score: a sample with one more is drawn e times as often, before any penalty
    scores       the table of a ScoreCount of the same column
    draws        total number of draws, such as the samples that training sees
    penalty      what each draw takes off a score; 0 for draws in proportion to exp(score)
    most         repeats of one sample at most: the hard cap
    temperature  divides the scores: 0.01 makes logits of CLIP's cosines
    seed         of the draw that rounds

    Cost: very cheap: a logarithm and a draw per row.
    """

    logit: Numbers
    scores: Table
    draws: Annotated[int, Field(ge=1)]
    penalty: float = Field(0.15, ge=0, allow_inf_nan=False)
    most: Annotated[int, Field(ge=1, lt=2**31)] = 2**31 - 1
    temperature: Positive = 1.0
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    needs = ("uid",)
    writes: ClassVar[Mapping[str, Any]] = {"repeats": pl.UInt32}
    _time: float = PrivateAttr(0.0)

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Find the time at which all draws are made."""
        table = table_of(stats, "scores", self.scores, ("bin", "count"))
        self._time = self._time_of(table["bin"].to_numpy() * STEP, table["count"].to_numpy())

    def _time_of(self, scores: np.ndarray, counts: np.ndarray) -> float:
        """log t at which `counts` samples of these scores have `draws` draws; inf if the cap forbids so
        many."""
        if not len(scores) or int(counts.sum()) * self.most <= self.draws:
            return np.inf
        logits = scores / self.temperature
        low, high = float(-1e6 - logits.max()), float(1e6 + self.penalty * self.draws - logits.min())
        for _ in range(STEPS):
            middle = (low + high) / 2
            enough = float((counts * self._expected(scores, middle)).sum()) >= self.draws
            low, high = (low, middle) if enough else (middle, high)
        return high

    def _expected(self, scores: np.ndarray, time: float) -> np.ndarray:
        """Expected draws of each score by time `exp(time)`, at most `most`."""
        logits = scores / self.temperature + time
        if self.penalty:
            grown = np.logaddexp(0, logits + np.log(self.penalty)) / self.penalty
        else:
            grown = np.exp(np.minimum(logits, 700))
        found: np.ndarray = np.minimum(grown, self.most)
        return found

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n,) scores -> (n,) repeats."""
        scores = batch.select(_finite(self.logit)).to_series()
        expected = self._expected(scores.fill_null(0).to_numpy(), self._time)
        repeats = pl.Series(np.floor(expected + draw(self.seed, batch["uid"]))).cast(pl.UInt32)
        odd = batch[self.logit].is_not_null() & scores.is_null()
        return pl.select(
            repeats=pl.when(scores.is_not_null()).then(repeats),
            error=pl.when(odd).then(pl.lit("score is not finite")),
        )

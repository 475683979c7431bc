"""Soft-cap sampling: the closed form, the total, and the released sampler that it stands in for."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.softcap import Repeats, ScoreCount
from pipeline.operator import Device
from tests.support.samples import uid


def frame(scores) -> pl.DataFrame:
    return pl.DataFrame({"uid": [uid("s", row) for row in range(len(scores))], "f.score": scores})


def sampled(rows: pl.DataFrame, **parameters) -> pl.DataFrame:
    stat = ScoreCount(logit="f.score")
    table = stat.finish(stat.partial(rows))
    operator = Repeats(logit="f.score", scores="t", **parameters)
    operator.setup({"t": table}, Device())
    return operator.score(rows)


def released(scores, draws: int, penalty: float, batch: int, rng) -> np.ndarray:
    """Counts by the released sampler: batches without replacement (as the batch highest of score plus Gumbel
    noise), each taken from all scores, those drawn before lowered."""
    logits, counts = scores.copy(), np.zeros(len(scores), int)
    for _ in range(draws // batch):
        chosen = np.argpartition(-(logits + rng.gumbel(size=len(logits))), batch)[:batch]
        logits[chosen] -= penalty
        counts[chosen] += 1
    return counts


def test_it_is_the_released_sampler_on_average():
    """1,000 batches, draws as many as samples, penalty 0.15: FLYT's at medium scale, 6,400 times smaller."""
    rng = np.random.default_rng(0)
    scores = np.sort(rng.normal(0, 3, 20_000))
    theirs = np.mean([released(scores, 20_000, 0.15, 20, rng) for _ in range(3)], axis=0)
    ours = sampled(frame(scores), draws=20_000)["repeats"].to_numpy()
    assert abs(ours.sum() - 20_000) < 80
    means = [counts.reshape(20, 1000).mean(1) for counts in (theirs, ours)]
    assert means[0][-1] > 9  # the best twentieth, over nine times each
    np.testing.assert_allclose(means[1], means[0], atol=0.1)


def test_by_hand():
    """Two samples, penalty ln 2: c = log2(1 + t ln 2 e^s). With t ln 2 = 1 and e^s = 1, 3 they have 1 and 2
    draws."""
    rows = frame([0.0, np.log(3)])
    found = [sampled(rows, draws=3, penalty=np.log(2), seed=seed)["repeats"].to_list() for seed in range(50)]
    assert np.mean(found, 0) == pytest.approx([1, 2], abs=0.01)


def test_the_mean_is_the_closed_form():
    scores = np.repeat([-2.0, 0.0, 3.0], 40_000)
    found = sampled(frame(scores), draws=120_000)["repeats"].to_numpy().reshape(3, -1)
    for row in found:
        assert row.max() - row.min() <= 1  # one value, rounded up or down
    low, middle, high = found.mean(1)
    grown = [np.expm1(0.15 * c) for c in (low, middle, high)]  # = 0.15 t e^s
    assert grown[1] / grown[0] == pytest.approx(np.exp(2), rel=0.08)
    assert grown[2] / grown[1] == pytest.approx(np.exp(3), rel=0.08)


@settings(max_examples=40)
@given(
    st.integers(1, 400),
    st.integers(1, 3000),
    st.sampled_from([0, 0.15, 2.0]),
    st.sampled_from([1, 15, 10**6]),
    st.sampled_from([0.01, 1.0]),
)
def test_the_total(rows, draws, penalty, most, temperature):
    scores = np.random.default_rng(rows).normal(0, 1, rows) * temperature * 3
    found = sampled(frame(scores), draws=draws, penalty=penalty, most=most, temperature=temperature)[
        "repeats"
    ]
    wanted = min(draws, rows * most)
    assert abs(int(found.sum()) - wanted) <= 4 * np.sqrt(rows / 4) + 0.02 * wanted + 1
    assert found.max() <= most


def test_more_for_a_higher_score_and_for_more_draws():
    scores = np.random.default_rng(0).normal(0, 3, 500)
    few, many = (sampled(frame(scores), draws=n)["repeats"].to_numpy() for n in (300, 900))
    assert (many >= few).all()
    higher = sampled(frame(scores + 0.5 * (np.arange(500) == 7)), draws=900)["repeats"].to_numpy()
    assert higher[7] >= many[7]


def test_a_row_depends_on_its_score_and_uid_alone():
    rows = frame(np.random.default_rng(0).normal(0, 2, 300))
    stat = ScoreCount(logit="f.score")
    operator = Repeats(logit="f.score", scores="t", draws=500)
    operator.setup({"t": stat.finish(stat.partial(rows))}, Device())
    whole, order = operator.score(rows), np.random.default_rng(1).permutation(300)
    assert operator.score(rows[order]).equals(whole[order])
    assert operator.score(rows[:7]).equals(whole[:7])


def test_draws_without_a_penalty_are_in_proportion():
    found = sampled(frame(np.log([1.0, 2.0, 3.0, 4.0])), draws=1000, penalty=0)["repeats"]
    assert found.to_list() == pytest.approx([100, 200, 300, 400], abs=1)


def test_the_hard_cap():
    found = sampled(frame([0.0] * 10 + [50.0] * 10), draws=200, penalty=0, most=15)["repeats"]
    assert found[10:].to_list() == [15] * 10
    assert abs(found[:10].sum() - 50) <= 10
    assert sampled(frame([0.0, 1.0]), draws=10**9, most=15)["repeats"].to_list() == [15, 15]


def test_huge_scores_and_draws():
    found = sampled(frame([-1000.0, 0.0, 1000.0]), draws=128_000_000)["repeats"]
    assert found.sum() == pytest.approx(128_000_000, abs=3)
    assert found.is_sorted()


def test_a_pool_of_ten_billion():
    """The table of counts is all that is needed; 64 bits are not enough for samples times the highest cap."""
    operator = Repeats(logit="f.score", scores="t", draws=10**9)
    counts = pl.DataFrame({"bin": [0], "count": pl.Series([12_800_000_000], dtype=pl.UInt64)})
    operator.setup({"t": counts}, Device())
    share = operator.score(frame([0.0] * 20_000))["repeats"].mean()
    assert share == pytest.approx(1 / 12.8, abs=0.006)


def test_rows_without_a_score():
    found = sampled(frame([0.0, None, float("nan"), float("inf"), float("-inf"), 0.0]), draws=4)
    assert found["repeats"].is_null().to_list() == [False, True, True, True, True, False]
    assert found["error"].to_list() == [None, None, *["score is not finite"] * 3, None]
    assert abs(found["repeats"].sum() - 4) <= 2
    assert sampled(frame([None, None]).cast({"f.score": pl.Float32}), draws=4)["repeats"].to_list() == [
        None,
        None,
    ]

"""Mixtures of scores: values by hand, sums that do not depend on order, missing scores, and soft-cap sampling
behind it."""

import random

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.algorithms.value_counts import bins_of, counted, moments, shares
from operators.mix import Highest, Standardised, Weighted
from operators.softcap import Repeats, ScoreCount
from pipeline.errors import RecipeError
from pipeline.operator import Device
from pipeline.recipe.load import parse
from tests.support.merging import any_cuts, merged_anyhow
from tests.support.samples import uid

NAMES = ("a.score", "b.score")
ROWS = pl.DataFrame({"a.score": [1.0, 2, 3], "b.score": [10.0, 10, 40]})


def table(rows: pl.DataFrame) -> pl.DataFrame:
    made = Standardised(scores=NAMES)
    return made.finish(made.merge(made.partial(rows)))


def mixed(rows: pl.DataFrame, scored: pl.DataFrame | None = None, **fields) -> list[float | None]:
    made = Weighted(scores=NAMES, weights=(1, 2), scales="scales", **fields).model_copy()
    made.setup({"scales": table(rows)}, Device())
    return made.score(rows if scored is None else scored)["score"].to_list()


def test_values_by_hand():
    assert mixed(ROWS) == pytest.approx([-2.638958, -1.414214, 4.053172], abs=1e-6)
    assert mixed(ROWS, by="rank") == pytest.approx([5 / 6, 7 / 6, 15 / 6])
    low, third, high = -0.967422, -0.430727, 0.967422
    assert mixed(ROWS, by="normal") == pytest.approx([low + 2 * third, 2 * third, 3 * high], abs=1e-5)


def test_the_highest_by_hand():
    made = Highest(scores=NAMES, weights=(1, -1), scales="scales", by="normal").model_copy()
    made.setup({"scales": table(ROWS)}, Device())
    rows = pl.DataFrame({"a.score": [1.0, 2, 3, None, None], "b.score": [10.0, 10, 40, 10, None]})
    third, high = 0.430727, 0.967422
    assert made.score(rows)["score"].to_list() == pytest.approx([third, third, high, third, None], abs=1e-5)
    strict = Highest(scores=NAMES, weights=(1, -1), scales="scales", missing="unknown").model_copy()
    strict.setup({"scales": table(ROWS)}, Device())
    assert strict.score(rows)["score"][3] is None
    assert strict.score(rows)["score"][1] == pytest.approx(2**-0.5)


def test_the_table():
    found = table(ROWS)
    assert found["score"].to_list() == ["a.score"] * 3 + ["b.score"] * 2
    assert found["count"].to_list() == [1, 1, 1, 2, 1]
    assert found["mean"].to_list() == [2] * 3 + [20] * 2
    assert found["deviation"].to_list() == pytest.approx([(2 / 3) ** 0.5] * 3 + [200**0.5] * 2)


def test_a_missing_score_is_the_mean_or_leaves_the_sum_unknown():
    """With a missing: 2 z(b). What is not finite is missing; what misses both has no sum."""
    rows = pl.DataFrame({"a.score": [None, np.nan, 3, None], "b.score": [40.0, np.inf, 40, None]})
    assert mixed(ROWS, rows) == pytest.approx([2 * 2**0.5, None, 4.053172, None], abs=1e-6)
    assert mixed(ROWS, rows, missing="unknown") == pytest.approx([None, None, 4.053172, None], abs=1e-6)
    assert mixed(ROWS, rows, by="rank")[0] == pytest.approx(0.5 + 2 * 5 / 6)


def test_a_value_that_the_pool_has_not_lies_between_its_neighbours():
    rows = pl.DataFrame({"a.score": [0.5, 2.5, 99.0], "b.score": [40.0] * 3})
    ranks = [score - 2 * 5 / 6 for score in mixed(ROWS, rows, by="rank")]
    assert ranks == pytest.approx([1 / 6, 5 / 6, 5 / 6])


def test_a_score_that_is_the_same_everywhere_adds_nothing():
    rows = ROWS.with_columns(pl.lit(7.0).alias("a.score"))
    assert mixed(rows) == pytest.approx([-(2**0.5), -(2**0.5), 2 * 2**0.5])
    assert mixed(rows.clear(), rows) == pytest.approx([27, 27, 87])  # of nothing: as they are


def test_other_kinds_of_numbers_are_scores_too():
    rows = pl.DataFrame({"a.score": [1, 2, 3], "b.score": [False, False, True]})
    assert mixed(rows) == pytest.approx([-2.638958, -1.414214, 4.053172], abs=1e-6)


# --- exact sums ------------------------------------------------------------------------------------


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40))
def test_mean_and_deviation_are_those_of_float32_values(values: list[float]):
    """Beside numpy in its widest float, up to its rounding and what float64 can hold of the squares."""
    array = np.array(values, np.longdouble)
    mean, deviation = moments(counted(np.array(values)))
    largest = float(np.abs(array).max())
    assert mean == pytest.approx(float(array.mean()), rel=1e-12, abs=1e-12 * largest)
    assert deviation == pytest.approx(float(array.std()), rel=1e-6, abs=1e-9 * largest)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=2, max_size=40))
def test_bins_are_in_the_order_of_values(values: list[float]):
    array = np.sort(np.array(values))
    assert (np.diff(bins_of(array).astype(np.int64)) >= 0).all()
    near = np.abs(np.diff(array)) > np.abs(array[1:]).clip(min=1e-30) / 1024
    assert (np.diff(bins_of(array).astype(np.int64))[near] > 0).all()


def test_both_zeros_are_one_value():
    assert len(counted(np.array([0.0, -0.0]))) == 1
    assert moments(counted(np.array([0.0, -0.0, 1e-45, -1e-45]))) == pytest.approx((0, 0), abs=1e-44)


def test_parts_in_any_order_give_the_same_bytes():
    rng = np.random.default_rng(0)
    rows = pl.DataFrame(
        dict(zip(NAMES, rng.normal(size=(2, 3000)) * 10.0 ** rng.integers(-9, 9, (2, 3000)), strict=True))
    )
    made, whole = Standardised(scores=NAMES), table(rows)
    for seed in range(5):
        rand = random.Random(seed)
        parts = [made.partial(rows[a:b]) for a, b in any_cuts(rand, len(rows))]
        again = made.finish(made.merge(merged_anyhow(rand, parts, made.merge)))
        assert again.equals(whole)
        assert again["mean"].to_arrow().equals(whole["mean"].to_arrow())


def test_shares_are_mean_ranks():
    assert shares(np.array([1, 2, 1])).tolist() == [0.125, 0.5, 0.875]


# --- in a recipe -----------------------------------------------------------------------------------


def test_soft_cap_sampling_of_a_mixture():
    """M-FLYT's pipeline on stored columns: as many draws as asked for, more of them for a higher mixture."""
    rng = np.random.default_rng(0)
    rows = pl.DataFrame({"uid": [uid("s", row) for row in range(4000)]}).with_columns(
        pl.Series("a.score", rng.normal(0.2, 0.05, 4000)), pl.Series("b.score", rng.normal(30, 9, 4000))
    )
    rows = rows.with_columns(pl.Series("mixed.score", mixed(rows)))
    count = ScoreCount(logit="mixed.score")
    often = Repeats(logit="mixed.score", scores="counts", draws=8000).model_copy()
    often.setup({"counts": count.finish(count.merge(count.partial(rows)))}, Device())
    repeats = often.score(rows)["repeats"]
    assert abs(repeats.sum() - 8000) < 150
    best = rows["mixed.score"].rank() > 3600
    assert repeats.filter(best).mean() > 3 * repeats.filter(~best).mean()


def recipe(**fields) -> None:
    compute = {
        "caption": {"use": "caption.Caption"},
        "words": {"use": "wfpp.WordFrequency"},
        "scales": {"use": "mix.Standardised", "scores": ["caption.words", "caption.side"]},
        "mixed": {
            "use": "mix.Weighted",
            "scores": ["caption.words", "caption.side"],
            "weights": [1, -1],
            "scales": "scales",
            **fields,
        },
    }
    parse({"pool": {"shards": "pool", "store": "store"}, "compute": compute})


def test_fields_that_do_not_go_together():
    recipe()
    recipe(scores="caption.words", weights=[1])
    for fields, part in (
        ({"weights": [1]}, "must have a weight for each of 2 scores, got 1"),
        ({"weights": [1, "x"]}, "weights"),
        ({"weights": [1, 1e308]}, "weights.1 must be <= 1000000000, got"),
        ({"weights": [-1e308, 1]}, "weights.0 must be >= -1000000000, got"),
        ({"weights": [1, float("nan")]}, "weights"),
        ({"scores": ["caption.words", "caption.words"]}, "must have each of `scores` once"),
        ({"scores": ["caption.words", "caption.language"]}, r"caption\.language is String, must be numbers"),
        ({"scores": ["caption.words", "caption.aspect"]}, r"scales: scales does not measure caption\.aspect"),
        ({"scales": "words"}, r"scales: words must be a mix\.Standardised"),
    ):
        with pytest.raises(RecipeError, match=part):
            recipe(**fields)
    with pytest.raises(ValueError, match="must have each of `scores` once"):
        Standardised(scores=())


def test_evidence_says_what_each_score_adds():
    made = Weighted(scores=NAMES, weights=(1, 2), scales="scales")
    shown = made.evidence(ROWS[2:], {"scales": table(ROWS)}, {})
    assert shown["part"].to_list() == pytest.approx([1.224745, 2.828427], abs=1e-6)
    assert shown["value"].to_list() == [3, 40]
    empty = pl.DataFrame({"a.score": [None], "b.score": [10.0]}, schema=dict.fromkeys(NAMES, pl.Float64))
    assert made.evidence(empty, {"scales": table(ROWS)}, {})["value"].to_list() == [None, 10]

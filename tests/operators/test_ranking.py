"""Eligible: the score of a sample within all bounds, and the copy that stays when copies are ranked by it."""

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from operators.ranking import Eligible
from pipeline.errors import RecipeError
from pipeline.plan.session import Session
from pipeline.recipe.load import parse
from pipeline.rule import Rule
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor

NAN = float("nan")


def score(bounds: object, rows: dict[str, list[object]]) -> pl.DataFrame:
    return Eligible(by="by", bounds=bounds).score(pl.DataFrame(rows, strict=False))


def test_a_score_is_there_within_all_bounds_alone():
    """Bounds hold at their ends; whether a missing value is within is not known; scores stay as they are."""
    rows = {
        "by": [0.5, 0.25, 0.125, -3.0, NAN, None, 1.0, 1.0],
        "words": [3, 5, 6, 2, 4, 4, None, None],
        "language": ["en", "de", "en", "en", "en", "en", "en", "fr"],
    }
    found = score({"words": {"min": 3, "max": 5}, "language": {"among": ["en", "de"]}}, rows)
    expected = {
        "score": [0.5, 0.25, None, None, None, None, None, None],
        "within": [True, True, False, False, True, True, None, False],
    }
    assert_frame_equal(found, pl.DataFrame(expected))


@pytest.mark.parametrize(
    ("bound", "within"),
    [({"min": 0.5}, [True, True, False, None]), ({"max": 0.5}, [False, True, True, None])],
)
def test_numbers_of_any_kind(bound, within):
    rows = {"by": [1, 2, 3, 4], "x": [1.0, 0.5, -1.0, NAN]}
    assert score({"x": bound}, rows)["within"].to_list() == within
    flags = {"by": [1, 2, 3, 4], "x": [True, None, False, None]}
    flagged = score({"x": {"min": 1}}, flags)
    assert flagged["score"].to_list() == [1, None, None, None]


@pytest.mark.parametrize("dtype", [pl.Float32, pl.Float64, pl.UInt8, pl.Int64, pl.Boolean, pl.Float16])
@pytest.mark.parametrize("bound", [{"min": 0.3}, {"max": 0.3}, {"max": 1}, {"min": 1}, {"max": -0.5}])
def test_it_compares_as_a_rule_does(dtype, bound):
    """In 32 bits, 0.3 is above the 0.3 of a recipe."""
    values = pl.Series("x", [0.3, 0.29999998, 0.3000001, 1.0, 0.0, None]).cast(dtype)
    rule = Rule(column="x", **bound).verdict(values, pl.Series([], dtype=pl.String))
    rows = pl.DataFrame({"by": range(6), "x": values})
    assert Eligible(by="by", bounds={"x": bound}).score(rows)["within"].to_list() == rule.to_list()


def test_evidence_says_which_bound_does_not_hold():
    operator = Eligible(by="by", bounds={"words": {"min": 3, "max": 9}, "language": {"among": ["en", "de"]}})
    row = pl.DataFrame({"by": [0.5], "words": [12], "language": ["de"]})
    assert operator.evidence(row, {}, {}).rows() == [
        ("words", "12", ">= 3 and <= 9", False),
        ("language", "de", "in en, de", True),
    ]


COMPUTE = {
    "caption": {"use": "caption.Caption"},
    "eligible": {"use": "ranking.Eligible", "by": "width", "bounds": {"caption.words": {"min": 2}}},
    "copies": {"use": "duplicates.Exact", "key": "url", "best": "eligible.score"},
}


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({}, "compute.eligible.bounds must have a bound of some column"),
        ([1], "compute.eligible.bounds must be a mapping, got [1]"),
        ({"caption.words": 3}, "compute.eligible.bounds.caption.words must be a mapping, got 3"),
        ({"caption.language": {"among": []}}, "or among, with a text or more"),
        ({"caption.words": {}}, "must have min, max or both of them; or among"),
        ({"caption.words": {"min": 1, "among": ["a"]}}, "must have min, max or both of them; or among"),
        ({"caption.words": {"min": 3, "max": 2}}, "must have a min that is not above max, got 3 and 2"),
        ({"caption.words": {"top": 0.3}}, "compute.eligible.bounds"),
        ({"caption.words": {"min": True}}, "compute.eligible.bounds"),
        ({"caption.words": {"min": NAN}}, "compute.eligible.bounds"),
        (
            {"caption.word": {"min": 3}},
            "compute.eligible.bounds: caption.word is not a column of this recipe",
        ),
        ({"caption.words": {"among": ["3"]}}, "must be texts, since its bound is `among`"),
        ({"caption.language": {"min": 3}}, "must be numbers, since its bound is `min` or `max`"),
    ],
)
def test_mistakes(bounds, message, tmp_path):
    compute = {**COMPUTE, "eligible": {**COMPUTE["eligible"], "bounds": bounds}}
    with pytest.raises(RecipeError) as error:
        parse({"pool": {"shards": f"{tmp_path}/a.tar", "store": f"{tmp_path}/s"}, "compute": compute})
    assert message in str(error.value)
    assert "compute.eligible" in str(error.value)


def test_the_copy_that_stays_is_one_that_other_rules_keep(tmp_path):
    """Of `a` the largest has a caption of one word; of `b` all have; of `c` none has."""
    rows = pl.DataFrame(
        {
            "url": ["a", "a", "a", "b", "b", "c", "c"],
            "text": ["one", "two words", "two words", "one", "one", "two words", "now three words"],
            "width": [900, 300, 400, 100, 200, 50, 60],
        }
    )
    (tmp_path / "pool").mkdir()
    rows.write_parquet(tmp_path / "pool" / "0.parquet")
    pool = {"shards": f"{tmp_path}/pool", "store": f"{tmp_path}/store"}
    session = compute(Session.open(parse({"pool": pool, "compute": COMPUTE})), LocalExecutor(1)).session
    ranks = session.columns.read("0", ["copies.rank", "caption.words"])
    kept = ranks.select((pl.col("copies.rank") <= 1) & (pl.col("caption.words") >= 2)).to_series()
    assert kept.to_list() == [False, False, True, False, False, False, True]

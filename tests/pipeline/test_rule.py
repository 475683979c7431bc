"""Verdicts, and which rules are refused."""

import random

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from pipeline.rule import Cut, Rule
from pipeline.uids import draw

UIDS = pl.Series([f"{random.Random(row).getrandbits(128):032x}" for row in range(20_000)])


# --- verdicts --------------------------------------------------------------------------------------

VALUES = pl.Series([1.0, 2.0, None, float("nan"), 3.0])


@pytest.mark.parametrize(
    ("bound", "cut", "expected"),
    [
        ({"min": 2}, None, [False, True, None, None, True]),
        ({"max": 2}, None, [True, True, None, None, False]),
        ({"top": 0.5}, Cut(2.0), [False, True, None, None, True]),
        ({"bottom": 0.5}, Cut(2.0), [True, True, None, None, False]),
        ({"top": 0.5}, Cut(float("nan")), [False, False, None, None, False]),
    ],
)
@pytest.mark.parametrize("dtype", [pl.Float32, pl.Float64])
def test_verdicts(bound, cut, expected, dtype):
    verdict = Rule(column="x", **bound).verdict(VALUES.cast(dtype), UIDS[:5], cut)
    assert verdict.dtype == pl.Boolean
    assert verdict.to_list() == expected


@pytest.mark.parametrize("dtype", [pl.UInt32, pl.Int32, pl.Int64])
def test_verdicts_on_integers_do_not_round_the_bound(dtype):
    values = pl.Series([2, 3, None], dtype=dtype)
    assert Rule(column="x", min=2.5).verdict(values, UIDS[:3]).to_list() == [False, True, None]
    assert Rule(column="x", max=2.5).verdict(values, UIDS[:3]).to_list() == [True, False, None]
    assert Rule(column="x", top=0.5).verdict(values, UIDS[:3], Cut(3.0)).to_list() == [False, True, None]


def test_a_bound_equal_to_a_float32_value_keeps_it():
    values = pl.Series([0.1, 0.3, 0.7], dtype=pl.Float32)
    for index, bound in enumerate([0.1, 0.3, 0.7]):
        assert Rule(column="x", min=bound).verdict(values, UIDS[:3])[index] is True
        assert Rule(column="x", max=bound).verdict(values, UIDS[:3])[index] is True


def test_among():
    verdict = Rule(column="x", among=["en", "de"]).verdict(pl.Series(["en", "fr", None, "EN"]), UIDS[:4])
    assert verdict.to_list() == [True, False, None, False]


def test_chance_keeps_with_the_probability_given():
    rule = Rule(column="x", chance=True, seed=3)
    for share in (0.0, 0.1, 0.5, 1.0):
        kept = rule.verdict(pl.Series([share] * len(UIDS)), UIDS).mean()
        assert abs(kept - share) < 0.012
    assert rule.verdict(pl.Series([1.0, None, float("nan"), 0.0]), UIDS[:4]).to_list() == [
        True,
        None,
        None,
        False,
    ]


def test_chance_follows_the_draw():
    drawn = draw(3, UIDS[:100])
    rule = Rule(column="x", chance=True, seed=3)
    assert not rule.verdict(pl.Series(drawn), UIDS[:100]).any()  # kept where draw < value: equal is dropped
    assert rule.verdict(pl.Series(np.nextafter(drawn, 1)), UIDS[:100]).all()


# --- the rule as data ------------------------------------------------------------------------------


@pytest.mark.parametrize("bounds", [{}, {"min": 1, "max": 2}, {"top": 0.1, "chance": True}])
def test_exactly_one_bound(bounds):
    with pytest.raises(ValidationError, match="exactly one of min, max, top, bottom, among, chance"):
        Rule(column="x", **bounds)


@pytest.mark.parametrize(
    "fields",
    [
        {"top": 0}, {"top": 1.01}, {"bottom": -0.1}, {"top": float("nan")}, {"min": float("nan")},
        {"max": float("inf")}, {"min": True}, {"chance": False}, {"chance": True, "seed": -1},
        {"min": 1, "seed": 0}, {"min": 1, "missing": "maybe"}, {"among": "en"}, {"min": 1, "other": 2},
        {"min": 1, "of": "remaining"}, {"top": 0.3, "of": "others"},
        {"top": 0.3, "of": "remaining", "ties": "datacomp"},
    ],
)  # fmt: skip
def test_refused(fields):
    with pytest.raises(ValidationError):
        Rule(column="x", **fields)


@pytest.mark.parametrize(
    ("bound", "cut", "expected"),
    [
        ({"min": 0.25}, None, ">= 0.25"),
        ({"max": 3}, None, "<= 3"),
        ({"top": 0.3}, 0.28125, ">= 0.28125 (top 30%)"),
        ({"bottom": 0.9}, 1.5, "<= 1.5 (bottom 90%)"),
        ({"top": 0.3}, None, "top 30%"),
        ({"top": "1_000 samples"}, 2.0, ">= 2 (top 1,000 samples)"),
        ({"bottom": 0.3, "ties": "uid"}, 2.0, "<= 2 (bottom 30%, ties by uid)"),
        ({"top": 0.3, "of": "remaining"}, 2.0, ">= 2 (top 30% of what remains)"),
        ({"among": ["en", "de"]}, None, "in en, de"),
        ({"chance": True, "seed": 4}, None, "draw(seed 4, uid) < value"),
    ],
)
def test_describe(bound, cut, expected):
    assert Rule(column="x", **bound).describe(cut) == expected


def test_a_number_of_samples_instead_of_a_share():
    rule = Rule(column="x", top="3,000 samples")
    assert (rule.top, type(rule.top)) == (3000, int)
    assert Rule(column="x", bottom="1 sample").bottom == 1
    assert isinstance(Rule(column="x", top=1).top, float)  # all of them
    for wrong in ("0 samples", "-3 samples", "3 sample s", "three samples", "3.5 samples"):
        with pytest.raises(ValidationError):
            Rule(column="x", top=wrong)


def test_ties_by_uid():
    values, uids = pl.Series([2.0, 1.0, 2.0, 2.0, None]), pl.Series([f"{i:032x}" for i in (5, 1, 3, 4, 2)])
    for rule in (Rule(column="x", top=0.5, ties="uid"), Rule(column="x", bottom=0.5, ties="uid")):
        below = rule.bottom is not None
        kept = rule.verdict(values, uids, Cut(2.0, f"{4:032x}"))
        assert kept.to_list() == [False, below, True, True, None]
        assert rule.verdict(values, uids, Cut(2.0)).to_list() == [True, below, True, True, None]
    with pytest.raises(ValidationError, match="ties, which only top and bottom use"):
        Rule(column="x", min=1, ties="uid")


def test_a_boolean_counts_as_nought_and_one() -> None:
    flags, uids = pl.Series([True, False, None]), pl.Series(["0" * 32] * 3)
    assert Rule(column="flag", max=0).verdict(flags, uids).to_list() == [False, True, None]
    assert Rule(column="flag", min=1).verdict(flags, uids).to_list() == [True, False, None]


def test_a_rule_without_of_has_the_key_that_it_had_before_there_was_one():
    assert "of" not in Rule(column="x", top=0.3).identity
    assert "of" not in Rule(column="x", top=0.3, of="all").identity
    assert Rule(column="x", top=0.3, of="remaining").identity["of"] == "remaining"

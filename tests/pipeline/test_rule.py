"""Verdicts, the draw, and the order of bits that exact cuts rest on."""

import math
import random

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.decide.cuts import from_ordered_bits, ordered_bits, rank_from_top
from pipeline.rule import Cut, Rule
from pipeline.uids import draw, uid_halves

UIDS = pl.Series([f"{random.Random(row).getrandbits(128):032x}" for row in range(20_000)])
MASK = 2**64 - 1


def splitmix64(state: int) -> int:
    """The reference generator's next output (Steele, Lea, Flood 2014; Vigna's splitmix64.c)."""
    state = (state + 0x9E3779B97F4A7C15) & MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


def reference_draw(seed: int, uid: str) -> float:
    high, low = int(uid[:16], 16), int(uid[16:], 16)
    return (splitmix64(splitmix64(splitmix64(seed) ^ high) ^ low) >> 11) / 2**53


def test_reference_is_splitmix64():
    assert splitmix64(0) == 0xE220A8397B1DCDAF  # the first outputs for seed 0, as published
    assert splitmix64(0x9E3779B97F4A7C15) == 0x6E789E6AA1B965F4


@pytest.mark.parametrize("seed", [0, 1, 42, 2**63 - 1])
def test_draw_equals_reference(seed):
    assert draw(seed, UIDS[:200]).tolist() == [reference_draw(seed, uid) for uid in UIDS[:200]]


def test_draw_golden_values():
    uids = pl.Series(["0" * 32, "f" * 32, "0123456789abcdef" * 2])
    assert draw(0, uids).tolist() == [reference_draw(0, uid) for uid in uids]
    assert uid_halves(pl.Series(["0123456789abcdef0000000000000001"])) == (0x0123456789ABCDEF, 1)


@given(st.integers(0, 2**63 - 1), st.lists(st.text("0123456789abcdef", min_size=32, max_size=32), min_size=1))
def test_draw_is_pure_and_within_bounds(seed, uids):
    drawn = draw(seed, pl.Series(uids))
    assert ((drawn >= 0) & (drawn < 1)).all()
    assert drawn.tolist() == [reference_draw(seed, uid) for uid in uids]


def test_draw_does_not_depend_on_order_or_batches():
    whole, order = draw(7, UIDS), np.random.default_rng(0).permutation(len(UIDS))
    assert (draw(7, UIDS[order]) == whole[order]).all()
    parts = [draw(7, UIDS[start : start + 333]) for start in range(0, len(UIDS), 333)]
    assert (np.concatenate(parts) == whole).all()
    assert draw(7, UIDS[:0]).shape == (0,)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_draw_is_uniform(seed):
    """Kolmogorov-Smirnov: sqrt(n) D exceeds 1.95 with probability 0.001."""
    drawn = np.sort(draw(seed, UIDS))
    n = len(drawn)
    ranks = np.arange(n) / n
    distance = max(np.abs(drawn - ranks).max(), np.abs(drawn - ranks - 1 / n).max())
    assert distance * math.sqrt(n) < 1.95


def test_draws_of_neighbouring_seeds_and_uids_are_unrelated():
    assert abs(np.corrcoef(draw(0, UIDS), draw(1, UIDS))[0, 1]) < 0.03
    counted = draw(0, pl.Series([f"{row:032x}" for row in range(20_000)]))
    assert abs(np.corrcoef(counted[:-1], counted[1:])[0, 1]) < 0.03
    assert abs(counted.mean() - 0.5) < 0.01


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
        ({"among": ["en", "de"]}, None, "in en, de"),
        ({"chance": True, "seed": 4}, None, "draw(seed 4, uid) < value"),
    ],
)
def test_describe(bound, cut, expected):
    assert Rule(column="x", **bound).describe(cut) == expected


RANKS = [(0.3, 10, 3), (0.3, 11, 4), (0.1, 1000, 100), (0.001, 10, 1), (1.0, 7, 7), (0.7, 10, 7)]


@pytest.mark.parametrize(("share", "count", "expected"), [*RANKS, (0.07, 100, 7), (0.55, 100, 55)])
def test_rank_is_the_share_rounded_up(share, count, expected):
    """0.07 * 100 is 7.000000000000001 in floats, and must not ask for an eighth row."""
    assert rank_from_top(Rule(column="x", top=share), count) == expected
    assert rank_from_top(Rule(column="x", bottom=share), count) == expected


def test_a_number_of_samples_instead_of_a_share():
    rule = Rule(column="x", top="3,000 samples")
    assert (rule.top, type(rule.top)) == (3000, int)
    assert [rank_from_top(rule, count) for count in (10_000, 3000, 7)] == [3000, 3000, 7]
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


# --- ordered bits ----------------------------------------------------------------------------------

SPECIAL = [-math.inf, -1.5, -5e-324, -0.0, 0.0, 5e-324, 2.2250738585072014e-308, 1.0, 1e308, math.inf]


def test_order_of_special_values():
    bits = ordered_bits(np.array(SPECIAL)).tolist()
    assert bits == sorted(bits)
    assert len(set(bits)) == len(SPECIAL) - 1  # -0.0 and 0.0 are one value
    assert bits[3] == bits[4]


@given(st.lists(st.floats(allow_nan=False), min_size=2))
def test_ordered_bits_keep_order_and_come_back(values):
    bits = ordered_bits(np.array(values))
    assert bits.dtype == np.uint64
    back = [from_ordered_bits(int(b)) for b in bits]
    assert back == values
    for (a, x), (b, y) in zip(
        zip(values, bits.tolist(), strict=True),
        list(zip(values, bits.tolist(), strict=True))[1:],
        strict=False,
    ):
        assert (a < b) == (x < y)
        assert (a == b) == (x == y)


@given(st.lists(st.floats(allow_nan=False, width=32), min_size=1), st.sampled_from([np.float32, np.float64]))
def test_ordered_bits_of_narrow_floats(values, dtype):
    assert [from_ordered_bits(int(b)) for b in ordered_bits(np.array(values, dtype))] == values


def test_ordered_bits_of_integers():
    values = np.array([0, 1, 2**31, 2**32 - 1], np.uint32)
    assert [from_ordered_bits(int(b)) for b in ordered_bits(values)] == values.tolist()


def test_a_boolean_counts_as_nought_and_one() -> None:
    flags, uids = pl.Series([True, False, None]), pl.Series(["0" * 32] * 3)
    assert Rule(column="flag", max=0).verdict(flags, uids).to_list() == [False, True, None]
    assert Rule(column="flag", min=1).verdict(flags, uids).to_list() == [True, False, None]

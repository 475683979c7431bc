"""Ranks of shares, and the order of bits that exact cuts rest on."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.decide.cuts import from_ordered_bits, ordered_bits, rank_from_top
from pipeline.rule import Rule

RANKS = [(0.3, 10, 3), (0.3, 11, 4), (0.1, 1000, 100), (0.001, 10, 1), (1.0, 7, 7), (0.7, 10, 7)]


@pytest.mark.parametrize(("share", "count", "expected"), [*RANKS, (0.07, 100, 7), (0.55, 100, 55)])
def test_rank_is_the_share_rounded_up(share, count, expected):
    """0.07 * 100 is 7.000000000000001 in floats, and must not ask for an eighth row."""
    assert rank_from_top(Rule(column="x", top=share), count) == expected
    assert rank_from_top(Rule(column="x", bottom=share), count) == expected


def test_rank_of_a_number_of_samples():
    rule = Rule(column="x", top="3,000 samples")
    assert [rank_from_top(rule, count) for count in (10_000, 3000, 7)] == [3000, 3000, 7]


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

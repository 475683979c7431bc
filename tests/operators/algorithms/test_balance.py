"""Balancing's arithmetic: goldens (GOLDENS.md), hand-worked values, and the laws."""

from itertools import chain

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.algorithms.balance import (
    Balance,
    compare,
    critical_t,
    effective_t,
    entry_probability,
    keep_probability,
    tail_share,
    tail_threshold,
)

COUNTS = np.array([5, 20, 100, 1000, 50000], np.uint64)
LANGUAGE = np.array([1, 2, 3, 10, 50, 200, 1000, 8734], np.uint64)


@pytest.mark.parametrize(("t", "expected"), [(20, [1, 1, 0.2, 0.02, 0.0004]), (100, [1, 1, 1, 0.1, 0.002])])
def test_entry_probability_goldens(t, expected):
    assert entry_probability(COUNTS, t).tolist() == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(
    ("t", "share", "expected"),
    [(3, 0.0003, 2), (10, 0.0006, 3), (51, 0.0066, 50), (1000, 0.0266, 200), (20000, 1, 8734)],
)
def test_tail_threshold_goldens(t, share, expected):
    assert tail_share(LANGUAGE, t) == pytest.approx(share)
    assert tail_threshold(LANGUAGE, tail_share(LANGUAGE, t)) == expected


def test_keep_probability_by_hand():
    probability = np.array([0.2, 0.5, 1.0, 0.3, 0.25])
    found = keep_probability(probability, np.array([2, 0, 2, 1, 0]))
    assert found.tolist() == pytest.approx([1 - 0.8 * 0.5, 0, 1, 0.25, 0])
    assert keep_probability(np.zeros(0), np.zeros(3, np.int64)).tolist() == [0, 0, 0]


ROWS = st.lists(st.lists(st.integers(1, 10**9), min_size=1, max_size=8), min_size=1, max_size=5)


@given(ROWS, st.floats(0, 0.999999))
def test_critical_t_is_where_the_probability_reaches_the_draw(rows, drawn):
    count, counts = np.array(list(chain.from_iterable(rows)), np.uint64), np.array([len(row) for row in rows])
    found = critical_t(count, counts, np.full(len(rows), drawn))
    for row, t in zip(rows, found.tolist(), strict=True):
        assert 0 <= t <= min(row)
        kept = 1 - np.prod([1 - min(1, t / c) for c in row])
        assert kept == pytest.approx(drawn, abs=1e-9)


def test_critical_t_by_hand():
    """One entry: t / count = draw. Two of 10: 1 - (1 - t/10)^2 = .75 at t = 5. None: never."""
    found = critical_t(np.array([200, 10, 10]), np.array([1, 2, 0]), np.array([0.25, 0.75, 0.5]))
    assert found[:2].tolist() == pytest.approx([50, 5])
    assert np.isnan(found[2])


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=30), st.floats(0.5, 2e6))
def test_effective_t_undoes_min(before, t):
    counts = np.array(before, np.float64)
    found = effective_t(counts, np.minimum(counts, t))
    assert np.minimum(counts, found).sum() == pytest.approx(np.minimum(counts, t).sum(), rel=1e-9)
    assert found == pytest.approx(t, rel=1e-6) or t >= counts.max()


def table(rows: list[tuple[str | None, int | None, int, int]]) -> pl.DataFrame:
    schema = {"language": pl.String, "entry": pl.UInt32, "count": pl.UInt64, "texts": pl.UInt64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def test_languages_have_their_own_counts_and_t():
    pairs = [("en", i, int(c), 0) for i, c in enumerate(LANGUAGE)] + [("ja", 1, 40, 0), ("ja", 4, 60, 0)]
    balance = Balance(table([("en", None, 9, 99), *pairs]), 51, "en")
    places = balance.places(np.array([7, 4, 1]), np.array([1, 2]), ["en", "ja"])
    assert balance.count[places].tolist() == [8734, 60, 40]
    assert balance.probability[places].tolist() == pytest.approx([51 / 8734, 40 / 60, 1])  # t_ja = 40
    with pytest.raises(
        ValueError, match="tail_of must be a language with matches, got 'de'; there are: en, ja"
    ):
        Balance(table(pairs), 51, "de")


def test_tables_before_and_after_balancing():
    before = table([(None, None, 10, 40), (None, 0, 100, 0), (None, 1, 20, 0), (None, 2, 4, 0)])
    after = table([(None, None, 0, 12), (None, 0, 8, 0), (None, 2, 4, 0)])
    found = compare(before, after, {None: ["of", "dog", "okapi"]})
    assert found["entries"].rows() == [
        (None, 0, "of", 100, 8, 0.08),
        (None, 1, "dog", 20, 0, 0.0),
        (None, 2, "okapi", 4, 4, 1.0),
    ]
    assert found["most"]["text"].to_list() == ["dog", "of", "okapi"]
    assert found["least"]["text"].to_list() == ["of", "dog"]  # of those with at least the median count
    figures = {name: pair for _, name, *pair in found["summary"].rows()}
    assert figures["captions"] == [40, 12]
    assert figures["captions that match no entry, share"] == [0.25, 0]
    assert figures["matches"] == [124, 12]
    assert figures["effective t"] == [None, 4]  # 4 + 4 + 4
    assert figures["tail share: matches of entries with fewer than t"] == [0, 0]
    assert figures["entries with more than t matches"] == [2, 1]

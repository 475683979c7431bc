"""Histograms of rules: edges that suit the values, and exact counts."""

import numpy as np
import polars as pl

from pipeline.rule import Rule
from pipeline.view.numbers.extents import Extent
from pipeline.view.numbers.histograms import Histograms, edges_of, frequent_texts
from pipeline.view.rows import FATES

NAN, INF = float("nan"), float("inf")


def counted(frame: pl.DataFrame, rule: Rule, edges: list[float] | None, texts: list[str] | None = None):
    """The histogram of one rule, gathered in two parts."""
    histograms = Histograms(
        {"r": rule}, {} if edges is None else {"r": np.array(edges)}, {} if texts is None else {"r": texts}
    )
    for part in (frame[:2], frame[2:]):
        histograms.add(histograms.look(part.with_columns(pl.col("fate").cast(FATES))))
    return histograms.of("r")


def test_bins_hold_their_lower_edge_and_the_last_one_both():
    frame = pl.DataFrame(
        {
            "x": [0.0, 1.0, 2.0, 1.5, -1.0, 3.0, None, NAN, INF],
            "fate": ["kept", "dropped", "kept", "kept", "kept", "dropped", "failed", "failed", "dropped"],
        }
    )
    histogram = counted(frame, Rule(column="x", min=0), [0.0, 1.0, 2.0])
    assert (histogram.edges, histogram.labels) == ([0.0, 1.0, 2.0], None)
    assert (histogram.all, histogram.kept) == ([1, 3], [1, 2])
    assert (histogram.below, histogram.above) == (1, 2)


def test_texts_have_a_bin_each_and_one_for_the_others():
    frame = pl.DataFrame(
        {
            "x": ["en", "de", None, "en", "fr", "es"],
            "fate": ["kept", "dropped", "failed", "kept", "kept", "dropped"],
        }
    )
    histogram = counted(frame, Rule(column="x", among=["en"]), None, ["en", "de"])
    assert (histogram.edges, histogram.labels) == (None, ["en", "de", "others"])
    assert (histogram.all, histogram.kept) == ([2, 1, 2], [2, 0, 1])
    sample = pl.Series("count", ["b", "a", "b", None, "c", "c", "c"])
    assert frequent_texts(sample, ["a"]) == ["c", "b", "a"]
    many = pl.Series([str(n) for n in range(60) for _ in range(60 - n)])
    assert frequent_texts(many, ["40", "7"]) == ["0", "1", "2", "3", "7", "40"]
    assert frequent_texts(many, [str(n) for n in range(30)])[18:] == ["18", "19", "30", "31", "32", "33"]


def test_a_column_without_values_has_no_histogram():
    frame = pl.DataFrame({"x": [None, None], "fate": ["failed"] * 2}, schema_overrides={"x": pl.Float64})
    assert counted(frame, Rule(column="x", min=0), edges_of(np.zeros(0), Extent()).tolist()) is None


def test_whole_numbers_get_bins_around_them():
    sample = np.arange(6, dtype=float)
    assert edges_of(sample, Extent(pl.UInt32(), low=0, high=5)).tolist() == [
        -0.5,
        0.5,
        1.5,
        2.5,
        3.5,
        4.5,
        5.5,
    ]
    wide = edges_of(np.arange(1_000, dtype=float), Extent(pl.Int64(), low=0, high=999))
    assert np.all(np.diff(wide) == 13)
    assert (wide[0], wide[-1] >= 999) == (-0.5, True)


def test_bins_reach_to_ends_that_are_near_and_not_to_those_that_are_far():
    sample = np.linspace(0, 1, 2_001)
    near = edges_of(sample, Extent(low=-0.01, high=50.0))
    assert (near[0], round(float(near[-1]), 3), len(near)) == (-0.01, 0.995, 61)
    assert edges_of(sample, None)[[0, -1]].tolist() == [0.0, 1.0]


def test_a_constant_column_has_one_bin_that_holds_it():
    for value in (0.0, 0.3, -7.5):
        frame = pl.DataFrame({"x": [value] * 3, "fate": ["kept"] * 3})
        edges = edges_of(np.full(3, value), Extent(low=value, high=value))
        assert counted(frame, Rule(column="x", min=0), edges.tolist()).all == [3]

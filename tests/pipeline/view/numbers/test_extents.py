"""Values looked up by many ranks equal those of a sort."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.rule import Rule
from pipeline.view.numbers import extents as module
from pipeline.view.numbers.extents import Extents, Ranked, Ranks

VALUES = st.one_of(
    st.none(),
    st.floats(width=64),
    st.sampled_from([0.0, -0.0, 0.5, 0.5000000001, 1e300, -1e300, 1e-320]),
)


def looked_up(rule: Rule, parts: list[pl.Series], ranks: list[int]) -> tuple[SimpleNamespace, list[Ranked]]:
    """The extent of a column in some parts, and the values of ranks."""
    frames = [part.alias("x").to_frame() for part in parts]
    extents = Extents({"r": rule})
    for frame in frames:
        extents.add(extents.look(frame))
    ranker = Ranks({"r": rule}, extents.of, {"r": ranks})
    for frame in frames:
        ranker.add(ranker.look(frame))
    return extents.of["r"], ranker.found().get("r", [])


@given(st.lists(st.lists(VALUES, max_size=20), max_size=4), st.booleans(), st.data())
def test_ranks_equal_a_sort(parts, top, data):
    values = sorted((v for part in parts for v in part if v is not None and v == v), reverse=top)
    rule = Rule(column="x", top=0.5) if top else Rule(column="x", bottom=0.5)
    ranks = data.draw(st.lists(st.integers(1, len(values)), max_size=5)) if values else []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BINS", 1 << 12)
        patch.setattr(module, "BITS", 12)
        patch.setattr(module, "MOST_DISTINCT", 3)
        extent, found = looked_up(rule, [pl.Series(part, dtype=pl.Float64) for part in parts], ranks)
    assert extent.rows == sum(map(len, parts))
    assert extent.count == len(values)
    better = np.array(values) * (1 if top else -1)
    for rank, (value, above, reached) in zip(ranks, found, strict=True):
        assert value == values[rank - 1]
        own = value * (1 if top else -1)
        assert above == (better > own).sum()
        assert reached == (better >= own).sum()


def test_an_extent_has_the_finite_ends_and_the_type():
    parts = [
        pl.Series([None, 3.0, float("inf")], dtype=pl.Float32),
        pl.Series([float("nan"), -2.0], dtype=pl.Float32),
    ]
    extent, _ = looked_up(Rule(column="x", min=0), parts, [])
    assert (extent.rows, extent.count, extent.low, extent.high) == (5, 3, -2.0, 3.0)
    assert extent.dtype == pl.Float32
    assert len(extent.histogram) == 0
    nothing, _ = looked_up(Rule(column="x", min=0), [pl.Series([None], dtype=pl.Int64)], [])
    assert (nothing.count, np.isnan(nothing.low)) == (0, True)


def test_whole_numbers_and_booleans_are_values():
    extent, found = looked_up(
        Rule(column="x", bottom=0.5), [pl.Series([5, 1, 1, 9], dtype=pl.UInt8)], [1, 3, 4]
    )
    assert found == [(1.0, 0, 2), (5.0, 2, 3), (9.0, 3, 4)]
    assert extent.dtype == pl.UInt8
    flags, _ = looked_up(Rule(column="x", min=1), [pl.Series([True, None, False])], [])
    assert (flags.count, flags.low, flags.high) == (2, 0.0, 1.0)

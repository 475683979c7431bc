"""A seeded sample does not depend on how the pool is cut, and stays small."""

import polars as pl
import pytest

from pipeline.uids import draw
from pipeline.view.numbers.sample import SeededSample
from tests.support.samples import uid


def sampled(rows: pl.DataFrame, cut: int, count: int, seed: int = 0) -> pl.DataFrame:
    rows = rows.with_columns(draw=pl.Series(draw(seed, rows["uid"])))
    sample = SeededSample(["value"], count)
    for start in range(0, len(rows), cut):
        sample.add(sample.look(rows[start : start + cut]))
    return sample.rows()


@pytest.mark.parametrize("cut", [1, 7, 100, 1_000])
def test_the_smallest_draws_however_the_pool_is_cut(cut):
    rows = pl.DataFrame({"uid": [uid("s", i) for i in range(500)], "value": range(500)})
    expected = rows.with_columns(draw=pl.Series(draw(3, rows["uid"]))).sort("draw").head(60)
    assert sampled(rows, cut, 60, seed=3).equals(expected)
    assert sampled(rows, cut, 900)["value"].sort().to_list() == list(range(500))


def test_of_equal_uids_the_first_rows():
    rows = pl.DataFrame({"uid": [uid("s", 0)] * 50, "value": range(50)})
    assert sampled(rows, 9, 12)["value"].to_list() == list(range(12))


def test_an_empty_pool_has_an_empty_sample():
    rows = pl.DataFrame({"uid": [], "value": []}, schema={"uid": pl.String, "value": pl.Int64})
    assert len(sampled(rows, 1, 5)) == 0
    assert len(SeededSample([], 5).rows()) == 0

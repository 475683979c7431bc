"""DataComp's own cut of a fraction."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.decide.cuts import Selection, rank_from_top
from pipeline.errors import RecipeError
from pipeline.rule import Rule
from tests.pipeline.pool.made_datacomp import kept, write

# --- DataComp's cut -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "share", "expected"),
    [
        (np.arange(10) / 10, 0.3, 4),  # element 3, from 0, of the descending sort
        (np.arange(10) / 10, 0.29, 3),
        (np.r_[np.arange(5) / 10, [0.9] * 5], 0.3, 5),  # ties
        (np.r_[[np.nan] * 5, np.arange(5) / 10], 0.3, 4),  # NaN sorts last but counts
        (np.r_[[np.nan] * 7, [0.1, 0.2, 0.3]], 0.3, 0),  # the cut is NaN
        (np.r_[[np.nan] * 7, [0.1, 0.2, 0.3]], 0.2, 3),
        ([None, None, *np.arange(8) / 10], 0.5, 6),
        ([None] * 10, 0.1, 0),
    ],
)
def test_the_cut_of_a_fraction(scores, share, expected, tmp_path, datacomp_session):
    write(tmp_path / "metadata", clip_l14_similarity_score=pl.Series(list(scores), dtype=pl.Float64))
    made = datacomp_session({"datacomp.l14_score": {"top": share, "ties": "datacomp"}})
    assert len(kept(made)) == expected
    values = np.array([np.nan if s is None else s for s in scores])
    assert int((values >= -np.sort(-values)[int(len(values) * share)]).sum()) == expected


@given(
    scores=st.lists(
        st.sampled_from([None, float("nan"), -0.1, 0.0, 0.2, 0.281, 0.5]), min_size=1, max_size=60
    ),
    share=st.floats(0.001, 0.999),
    split=st.integers(0, 60),
)
def test_any_cut_is_datacomps(scores, share, split):
    rule = Rule(column="x", top=share, ties="datacomp")
    values, selection = pl.Series("x", scores, dtype=pl.Float64), Selection(rule)
    none = pl.Series([], dtype=pl.String)
    while selection.cut is None:
        selection.settle_digit(
            [selection.count_rows(part, none) for part in (values[:split], values[split:])]
        )
    numbers = np.array([np.nan if s is None else s for s in scores])
    expected = numbers >= -np.sort(-numbers)[int(len(numbers) * share)]
    assert rule.verdict(values, none, selection.cut).fill_null(False).to_list() == expected.tolist()


def test_the_share_is_cut_off_as_an_int():
    assert (
        rank_from_top(Rule(column="x", top=0.29, ties="datacomp"), 100, 100) == 29
    )  # 100 * 0.29 = 28.999...


@pytest.mark.parametrize("bound", [{"top": 1.0}, {"top": "5 samples"}, {"bottom": 0.3}])
def test_what_datacomp_cannot_cut(bound, datacomp_folder, datacomp_session):
    with pytest.raises(RecipeError, match=r"ties: datacomp, which is for `top` with a share below 1"):
        datacomp_session({"datacomp.l14_score": {**bound, "ties": "datacomp"}})

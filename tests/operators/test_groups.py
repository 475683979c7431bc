"""The contract that every Group fulfils: permuting the pool permutes the output; other shards change nothing;
groups do not see each other, whichever come together; rows without a key are null; a summary's parts merge in
any order and grouping."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline.operator import Device, Group, SummaryGroup
from pipeline.recipe.lookup import build
from tests.operators.contract_parameters import PARAMETERS
from tests.operators.contract_rows import STATS, bad, batch, exactly
from tests.operators.test_contract import GROUPS
from tests.support.groups import run_group
from tests.support.merging import any_cuts, merged_anyhow
from tests.support.tiny_clip import TinyClip

ROWS = 120


@pytest.fixture
def operator(tiny_clip: TinyClip) -> Callable[[str], Any]:
    """A fresh Group, set up."""

    def make(use: str) -> Any:
        made = build("it", {"use": use, **PARAMETERS[use](tiny_clip)}, []).operator.model_copy()
        assert isinstance(made, Group)
        made.setup(STATS, Device())
        return made

    return make


def whole_groups(operator: Group, frame: pl.DataFrame) -> list[pl.DataFrame]:
    """The rows of each key, in the order in which the engine gives them."""
    (key, *more) = operator.keys()
    rows = frame.select(list(dict.fromkeys(["uid", *operator.inputs()])))
    if isinstance(frame.schema[key], pl.List):
        rows = rows.explode(key)
    return rows.drop_nulls([key, *more]).sort(key, *more, "uid").partition_by(key, *more, maintain_order=True)


@pytest.mark.parametrize("use", GROUPS)
def test_rows_and_types(use, operator):
    made = operator(use)
    frame, _ = batch(ROWS)
    result = run_group(made, frame)
    assert len(result) == ROWS
    assert dict(result.schema).keys() == made.writes.keys()
    assert all(result[name].dtype == dtype for name, dtype in made.writes.items())
    assert all(result[name].null_count() < ROWS for name in made.writes)
    assert set(made.keys()) <= set(made.inputs())


@pytest.mark.parametrize("use", GROUPS)
def test_permuting_the_pool_permutes_the_output(use, operator):
    frame, _ = batch(ROWS)
    order = np.random.default_rng(0).permutation(ROWS)
    exactly(run_group(operator(use), frame[order]), run_group(operator(use), frame)[order])


@pytest.mark.parametrize("use", GROUPS)
def test_other_shards_change_nothing(use, operator):
    frame, _ = batch(ROWS)
    others = frame.with_columns(
        shard=pl.lit("other-") + (pl.col("row") % 7).cast(pl.String), row=119 - pl.col("row")
    )
    exactly(run_group(operator(use), others), run_group(operator(use), frame))


@pytest.mark.parametrize("use", GROUPS)
def test_groups_do_not_see_each_other(use, operator):
    made = operator(use)
    groups = whole_groups(made, batch(ROWS)[0])
    assert len(groups) > 2
    alone = [made.group(group).select(*made.writes) for group in groups]
    exactly(made.group(pl.concat(groups)).select(*made.writes), pl.concat(alone))
    exactly(made.group(pl.concat(groups[::-1])).select(*made.writes), pl.concat(alone[::-1]))


@pytest.mark.parametrize("use", GROUPS)
def test_rows_without_a_key_are_null_and_change_nothing(use, operator):
    made = operator(use)
    frame, _ = batch(ROWS)
    lost = pl.col("row") % 10 == 3
    holes = frame.with_columns(pl.when(~lost).then(pl.col(made.keys())))
    result = run_group(made, holes)
    rows = holes.select(lost).to_series()
    assert all(result[name].filter(rows).null_count() == 12 for name in made.writes)
    exactly(result.filter(~rows), run_group(made, frame.filter(~rows)))


@pytest.mark.parametrize("use", GROUPS)
def test_no_rows_and_bad_rows(use, operator):
    made = operator(use)
    for frame in (bad(3).clear(), bad(3)):
        result = run_group(made, frame)
        assert len(result) == len(frame)
        assert all(result[name].dtype == dtype for name, dtype in made.writes.items())


@pytest.mark.parametrize("use", GROUPS)
def test_it_leaves_its_input_alone(use, operator):
    made = operator(use)
    (rows, *_) = whole_groups(made, batch(ROWS)[0])
    before = rows.clone()
    made.group(rows)
    exactly(rows, before)


@pytest.mark.parametrize("use", [use for use in GROUPS if use == "duplicates.Exact"])
def test_a_summary_merges_in_any_order_and_grouping(use, operator):
    made = operator(use)
    assert isinstance(made, SummaryGroup)
    frame, _ = batch(ROWS)
    expected = run_group(made, frame)
    rng = random.Random(0)
    for _ in range(20):
        cuts = any_cuts(rng, ROWS)
        summary = merged_anyhow(rng, [made.partial(frame[a:b]) for a, b in cuts], made.merge)
        exactly(pl.concat(made.of_summary(frame[a:b], summary) for a, b in cuts), expected)

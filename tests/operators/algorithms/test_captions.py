"""Operators that read captions take them from the column that `text` names."""

import polars as pl
import pytest

from operators.algorithms.captions import ReadsCaptions
from pipeline.errors import RecipeError
from pipeline.operator import Device, Stat
from pipeline.plan.keys import parameters
from pipeline.recipe.lookup import build, find
from tests.operators.contract_parameters import PARAMETERS
from tests.operators.contract_rows import STATS, batch, exactly, run
from tests.operators.test_contract import FOUND

CAPTIONED = [use for use in FOUND if issubclass(find(use, "", ())[0], ReadsCaptions)]


def test_these_operators_read_captions():
    assert {"caption.Caption", "clip.ClipScore", "metaclip.EntryMatch", "wfpp.WordFrequency"} < {*CAPTIONED}


@pytest.mark.parametrize("use", CAPTIONED)
def test_captions_come_from_the_column_that_text_names(use, tiny_clip):
    frame, images = batch()
    other = frame.with_columns(pl.col("text").alias("best.text"), pl.lit("2 cats").alias("text"))
    results = []
    for text, rows in (("text", frame), ("best.text", other)):
        made = build("it", {"use": use, **PARAMETERS[use](tiny_clip), "text": text}, []).operator.model_copy()
        assert ("text" in parameters(made)) == (text != "text")  # keys are those of before there was a choice
        if isinstance(made, Stat):
            results.append(made.finish(made.partial(rows.select(*made.inputs()))))
        elif made.lacks():
            pytest.skip(made.lacks()[0])
        else:
            made.setup(STATS, Device())
            results.append(run(made, rows.select(n for n in made.inputs() if n not in STATS), images))
    exactly(*results)


def test_a_column_without_a_name_is_refused():
    with pytest.raises(RecipeError, match=r"compute\.it\.text must have at least 1 character, got ''"):
        build("it", {"use": "caption.Caption", "text": ""}, [])

"""Columns whose operator leaves open a part of their type, such as the width of an embedding."""

import polars as pl
import pytest

from pipeline.errors import OperatorError
from pipeline.operator import Score, Writer
from tests.pipeline.run.stage_operators import stage
from tests.support.samples import samples


@pytest.mark.parametrize(
    ("vectors", "dtype", "got"),
    [
        ([[]] * 3, pl.Array(pl.Float32, 0), r"Array\(Float32, shape=\(0,\)\)"),
        ([["a", "b"]] * 3, pl.Array(pl.String, 2), r"Array\(String, shape=\(2,\)\)"),
        (
            [[[1.0]], [[2.0]], [[3.0]]],
            pl.Array(pl.Array(pl.Float32, 1), 1),
            r"Array\(Float32, shape=\(1, 1\)\)",
        ),
    ],
)
def test_an_embedding_is_a_vector_of_numbers(vectors, dtype, got):
    embeds = embedding(lambda batch: pl.DataFrame({"value": vectors}, schema={"value": dtype}))
    with pytest.raises(
        OperatorError, match=rf"^x.value must hold vectors of numbers, one or more, got {got}$"
    ):
        stage(x=embeds).run(samples(3), None)


def test_an_embedding_has_one_width_in_all_batches_slices_and_rows():
    """Otherwise the export would fail, or the first command that reads two shards together."""

    def as_wide_as_the_caption(batch):
        width = len((batch["text"].to_list() or ["ab"])[0])
        dtype = pl.Array(pl.Float32, width)
        return pl.DataFrame({"value": [[1.0] * width] * len(batch)}, schema={"value": dtype})

    def one_at_a_time(batch):
        if len(batch) > 1:
            raise ValueError("one at a time")
        return as_wide_as_the_caption(batch)

    message = (
        r"^x.value was Array\(Float32, shape=\(2,\)\) for some rows and is Array\(Float32, shape=\(3,\)\)"
    )
    with pytest.raises(OperatorError, match=message):
        stage(x=embedding(one_at_a_time)).run(samples(2, text=["ab", "abc"]), None)
    with pytest.raises(OperatorError, match=message):
        stage(x=embedding(as_wide_as_the_caption), batch_size=1).run(samples(2, text=["ab", "abc"]), None)
    runner = stage(x=embedding(as_wide_as_the_caption))
    runner.run(samples(2, text=["ab", "ab"]), None)
    with pytest.raises(OperatorError, match=message):
        runner.run(samples(2, text=["abc", "abc"]), None)


def embedding(score) -> Writer:
    """An operator that writes an embedding of any width, by a function of the batch."""

    class Embeds(Score):
        needs = ("text",)
        writes = {"value": pl.Array}

        def score(self, batch: pl.DataFrame) -> pl.DataFrame:
            return score(batch)

    return Embeds()

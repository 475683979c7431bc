"""A stage hands on reasons, shows operators what they need and no more, and tallies rows."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pipeline.errors import OperatorError
from pipeline.operator import Column, ImageScore, Score
from pipeline.progress import Tally
from pipeline.run.stage.calls import SYSTEMATIC
from tests.pipeline.run.stage_operators import Mean, gray, stage
from tests.support.samples import samples


class Double(Score):
    of: Column
    writes = {"value": pl.Float64}

    def score(self, batch):
        return batch.select(value=pl.col(self.of) * 2)


class Careless(ImageScore):
    """Takes for granted that each row has a picture, as a first plugin does."""

    writes = {"value": pl.Float64}

    def score(self, batch, images):
        return pl.DataFrame({"value": [float(i.mean()) for i in images]}, schema=dict(self.writes))


# --- reasons handed on -----------------------------------------------------------------------------


def test_dependents_inherit_the_reason():
    result, _ = stage(mean=Mean(), double=Double(of="mean.value"), again=Double(of="double.value")).run(
        samples(3), [gray(2), b"garbage", None]
    )
    assert result["again.value"].to_list() == [8.0, None, None]
    for name in ("mean", "double", "again"):
        assert result[f"{name}.error"].to_list() == [
            None,
            "image cannot be decoded: unknown format",
            "no image",
        ]


def test_reasons_come_from_stored_columns_too():
    batch = samples(2).with_columns(
        pl.Series("other.value", [1.0, None]), pl.Series("other.error", [None, "empty caption"])
    )
    result, _ = stage(double=Double(of="other.value")).run(batch, None)
    assert result["double.error"].to_list() == [None, "empty caption"]


def test_a_picture_that_is_missing_is_not_the_fault_of_an_operator_that_raises_for_it():
    pictures = [gray(2), b"garbage", None]
    result, tally = stage(careless=Careless()).run(samples(3), pictures)
    assert result["careless.value"].to_list() == [2.0, None, None]
    assert result["careless.error"].to_list() == [None, "image cannot be decoded: unknown format", "no image"]
    assert tally.failed["careless"] == 2


def test_a_batch_without_any_picture_does_not_stop_an_operator_that_raises_for_it():
    result, _ = stage(careless=Careless()).run(samples(SYSTEMATIC), [None] * SYSTEMATIC)
    assert result["careless.error"].to_list() == ["no image"] * SYSTEMATIC


def test_an_operator_that_raises_for_pictures_too_is_at_fault_whatever_is_missing():
    class Broken(Careless):
        def score(self, batch, images):
            raise ValueError("always") if len(batch) else None
            return super().score(batch, images)

    pictures = [*([gray(1)] * SYSTEMATIC), None]
    with pytest.raises(OperatorError, match=r"^broken fails on every row of a batch: ValueError: always"):
        stage(broken=Broken()).run(samples(len(pictures)), pictures)


def test_a_column_that_is_missing_is_not_the_fault_of_an_operator_that_raises_for_it():
    class Root(Score):
        of: Column
        writes = {"value": pl.Float64}

        def score(self, batch):
            return pl.DataFrame({"value": [value**0.5 for value in batch[self.of]]}, schema=dict(self.writes))

    class Third(Root):
        def score(self, batch):
            if 9.0 in batch[self.of]:
                raise ValueError("not nine")
            return super().score(batch)

    batch = samples(3).with_columns(
        pl.Series("other.value", [4.0, None, 9.0]),
        pl.Series("other.error", [None, "empty caption", "a note on a row that has its value"]),
    )
    result, _ = stage(third=Third(of="other.value")).run(batch, None)
    assert result["third.value"].to_list() == [2.0, None, None]
    assert result["third.error"].to_list() == [None, "empty caption", "ValueError: not nine"]


def test_nan_gets_the_reason_as_null_does():
    class Numpy(Score):
        of: Column
        writes = {"value": pl.Float64}

        def score(self, batch):
            return pl.DataFrame({"value": batch[self.of].to_numpy()}, schema=dict(self.writes))

    batch = samples(2).with_columns(
        pl.Series("other.value", [4.0, None]), pl.Series("other.error", [None, "empty caption"])
    )
    result, _ = stage(numpy=Numpy(of="other.value")).run(batch, None)
    assert result["numpy.value"].is_nan().to_list() == [False, True]
    assert result["numpy.error"].to_list() == [None, "empty caption"]


def test_a_column_that_is_not_named_is_named_in_the_error():
    class Forgetful(Score):
        of: Column
        writes = {"value": pl.Float64}

        def score(self, batch):
            return batch.select(value=pl.col("width").cast(pl.Float64))

    batch = samples(SYSTEMATIC).with_columns(value=pl.lit(1.0))
    with pytest.raises(OperatorError, match=r"`needs` and fields name what it reads, which is value$"):
        stage(forgetful=Forgetful(of="value")).run(batch, None)


def test_own_reason_goes_before_an_inherited_one():
    class Picky(Double):
        def score(self, batch):
            return super().score(batch).with_columns(error=pl.lit("too picky"))

    batch = samples(1).with_columns(
        pl.Series("o.value", [None], pl.Float64), pl.Series("o.error", ["no image"])
    )
    result, _ = stage(picky=Picky(of="o.value")).run(batch, None)
    assert result["picky.error"].to_list() == ["too picky"]


def test_an_operator_called_as_a_sample_column_hands_on_nothing_by_the_captions_name():
    """`text` (the caption) is not a column of an operator called `text`."""

    class Caption(Score):
        needs = ("text",)
        writes = {"value": pl.Float64}

        def score(self, batch):
            return pl.DataFrame({"value": [None] * len(batch)}, schema=dict(self.writes))

    batch = samples(1).with_columns(
        pl.Series("text.words", [None], pl.String), pl.Series("text.error", ["no image"])
    )
    result, _ = stage(caption=Caption()).run(batch, None)
    assert result["caption.error"].to_list() == [None]


def test_operators_see_what_they_need_and_no_more():
    seen: list[Sequence[str]] = []

    class Curious(Score):
        needs = ("text", "width")
        writes = {"value": pl.Float64}

        def score(self, batch):
            seen.append(batch.columns)
            return pl.DataFrame({"value": np.zeros(len(batch))})

    stage(curious=Curious()).run(samples(2), None)
    assert seen == [["text", "width"]]


def test_an_empty_batch_has_the_columns(planted):
    result, _ = stage(mean=Mean(), double=Double(of="mean.value")).run(samples(0), [])
    assert len(result) == 0
    assert result.schema["double.value"] == pl.Float64
    assert result.columns[-4:] == ["mean.value", "mean.error", "double.value", "double.error"]
    assert_frame_equal(result.select(samples(0).columns), samples(0))


def test_tallies_add_up_and_travel():
    one, two = Tally(), Tally()
    one.add_call("x", 0.0, 3, 1)
    two.add_call("x", 0.0, 4)
    one += two
    assert (one.rows["x"], one.failed["x"]) == (7, 1)
    assert Tally.of(one.as_dict()) == one

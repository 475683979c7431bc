"""A stage: bad rows become null with a reason, broken contracts stop, images are decoded once."""

import io
from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from PIL import Image
from polars.testing import assert_frame_equal

from pipeline.errors import OperatorError
from pipeline.operator import Column, Device, ImageScore, Score, Writer
from pipeline.recipe.sections import Entry
from pipeline.run.stage import SYSTEMATIC, StageRunner, Tally
from tests.support.samples import samples


def gray(value: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (24, 16), (value,) * 3).save(out, "PNG")
    return out.getvalue()


def stage(batch_size: int = 256, **operators: Writer) -> StageRunner:
    entries = {name: Entry("test.Operator", operator) for name, operator in operators.items()}
    return StageRunner(entries, {}, Device(), batch_size)


class Root(Score):
    """1 / (the caption as a number); raises on a whole batch if one row divides by zero."""

    needs = ("text",)
    writes = {"value": pl.Float64}

    def score(self, batch):
        return pl.DataFrame({"value": [1 / int(text) for text in batch["text"]]}, schema=dict(self.writes))


class Mean(ImageScore):
    writes = {"value": pl.Float64}

    def score(self, batch, images):
        return pl.DataFrame(
            {"value": [None if i is None else float(i.mean()) for i in images]}, schema=dict(self.writes)
        )


class Maximum(ImageScore):
    writes = {"value": pl.UInt8, "seen": pl.Boolean}

    def score(self, batch, images):
        rows = {
            "value": [None if i is None else i.max() for i in images],
            "seen": [i is not None for i in images],
        }
        return pl.DataFrame(rows, schema=dict(self.writes))


class Double(Score):
    of: Column
    writes = {"value": pl.Float64}

    def score(self, batch):
        return batch.select(value=pl.col(self.of) * 2)


# --- rows that fail --------------------------------------------------------------------------------


def test_one_row_that_raises_is_null_and_its_neighbours_are_not():
    result, tally = stage(root=Root()).run(samples(4, text=["1", "0", "4", "x"]), None)
    assert result["root.value"].to_list() == [1.0, None, 0.25, None]
    assert result["root.error"].to_list() == [
        None,
        "ZeroDivisionError: division by zero",
        None,
        "ValueError: invalid literal for int() with base 10: 'x'",
    ]
    assert (tally.rows["root"], tally.failed["root"]) == (4, 2)


def test_a_few_rows_that_all_raise_are_data():
    result, tally = stage(root=Root()).run(samples(3, text=["0"] * 3), None)
    assert result["root.value"].to_list() == [None] * 3
    assert result["root.value"].dtype == pl.Float64
    assert tally.failed["root"] == 3


def test_many_rows_that_all_raise_are_the_operators_fault():
    with pytest.raises(
        OperatorError, match=r"^root fails on every row of a batch: ZeroDivisionError: division by zero$"
    ):
        stage(root=Root()).run(samples(SYSTEMATIC, text=["0"] * SYSTEMATIC), None)


def test_one_good_row_among_many_saves_the_pass():
    result, _ = stage(root=Root()).run(samples(40, text=["0"] * 39 + ["2"]), None)
    assert result["root.value"].to_list() == [None] * 39 + [0.5]


def test_an_operator_that_cannot_take_an_empty_batch():
    class Stack(Root):
        def score(self, batch):
            if not len(batch):
                raise ValueError("need at least one array to stack")
            return super().score(batch)

    with pytest.raises(
        OperatorError, match=r"^stack fails even on an empty batch: ValueError: need at least one array"
    ):
        stage(stack=Stack()).run(samples(2, text=["1", "0"]), None)


def test_a_failing_setup_names_the_operator():
    class Broken(Root):
        def setup(self, stats, device):
            raise FileNotFoundError("weights.pt")

    with pytest.raises(OperatorError, match=r"^broken cannot be set up: FileNotFoundError: weights.pt$"):
        stage(broken=Broken())


def test_reasons_are_one_line():
    class Lines(Root):
        def score(self, batch):
            if len(batch):
                raise ValueError("first\n  second")
            return super().score(batch)

    result, _ = stage(lines=Lines()).run(samples(1), None)
    assert result["lines.error"].to_list() == ["ValueError: first second"]


# --- broken contracts ------------------------------------------------------------------------------


def returns(frame: object) -> Writer:
    class Returns(Score):
        needs = ("text",)
        writes = {"value": pl.Float64}

        def score(self, batch: pl.DataFrame) -> pl.DataFrame:
            return frame  # type: ignore[return-value]

    return Returns()


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pl.DataFrame({"value": [1.0]}), r"^x: score\(\) got 3 rows and returned 1$"),
        (pl.DataFrame({"value": [1.0] * 4}), r"^x: score\(\) got 3 rows and returned 4$"),
        (
            pl.DataFrame({"other": [1.0] * 3}),
            r"^x: score\(\) must return \['value'\]; missing \['value'\], extra \['other'\]$",
        ),
        (pl.DataFrame({"value": [1.0] * 3, "more": [1] * 3}), r"extra \['more'\]$"),
        (pl.DataFrame({"value": [1, 2, 3]}), r"^x.value must be Float64, got Int64$"),
        (pl.DataFrame({"value": [None] * 3}), r"^x.value must be Float64, got Null$"),
        ([1.0, 2.0, 3.0], r"^x: score\(\) must return a polars DataFrame, got list$"),
        (None, r"^x: score\(\) must return a polars DataFrame, got NoneType$"),
    ],
)
def test_broken_contract(frame, message):
    with pytest.raises(OperatorError, match=message):
        stage(x=returns(frame)).run(samples(3), None)


def test_rows_one_by_one_must_keep_the_contract_too():
    """Two results for one row and none for another would add up, and shift the rows between them."""

    class Shifty(Root):
        def score(self, batch):
            if len(batch) > 1:
                raise ValueError("one at a time")
            return pl.DataFrame(
                {"value": [1.0] * int(batch["text"][0])} if len(batch) else {"value": []},
                schema=dict(self.writes),
            )

    with pytest.raises(OperatorError, match=r"^shifty: score\(\) got 1 rows and returned 2$"):
        stage(shifty=Shifty()).run(samples(2, text=["2", "0"]), None)


def test_a_subclass_without_score():
    class Nothing(Score):
        writes = {"value": pl.Float64}

    result, _ = stage(n=Root()).run(samples(0), None)
    assert result.columns[-2:] == ["n.value", "n.error"]
    with pytest.raises(OperatorError, match="Nothing must define score"):
        stage(nothing=Nothing()).run(samples(SYSTEMATIC), None)


# --- images ----------------------------------------------------------------------------------------


def test_each_image_is_decoded_once_for_two_operators():
    runner = stage(mean=Mean(), maximum=Maximum())
    result, tally = runner.run(samples(3), [gray(10), None, gray(30)])
    assert runner.decoder.decoded == 2
    assert result["mean.value"].to_list() == [10.0, None, 30.0]
    assert result["maximum.value"].to_list() == [10, None, 30]
    assert (tally.rows["decode"], tally.failed["decode"]) == (3, 1)


def test_operators_cannot_spoil_the_image_for_the_next():
    class Vandal(Mean):
        def score(self, batch, images):
            for image in images:
                image[:] = 0
            return super().score(batch, images)

    result, _ = stage(vandal=Vandal(), mean=Mean()).run(samples(1), [gray(10)])
    assert result["mean.value"].to_list() == [10.0]
    assert result["vandal.error"].to_list() == ["ValueError: assignment destination is read-only"]


def test_bad_images_give_their_reason_and_spare_the_others():
    result, _ = stage(mean=Mean()).run(samples(4), [gray(1), b"garbage", gray(3)[:60], None])
    assert result["mean.value"].to_list() == [1.0, None, None, None]
    errors = result["mean.error"].to_list()
    assert errors[0] is None
    assert errors[1] == "image cannot be decoded: unknown format"
    assert errors[2].startswith("image cannot be decoded: ")
    assert errors[3] == "no image"


def test_a_partial_result_keeps_what_it_has_and_gets_the_reason():
    result, _ = stage(maximum=Maximum()).run(samples(1), [None])
    assert result["maximum.seen"].to_list() == [False]
    assert result["maximum.error"].to_list() == ["no image"]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_batch_size_and_pixel_budget_change_nothing(batch_size, monkeypatch):
    monkeypatch.setattr("pipeline.run.stage.PIXEL_BUDGET", 24 * 16 * 2)
    seen = []

    class Watching(Mean):
        def score(self, batch, images):
            seen.append(len(images))
            return super().score(batch, images)

    runner = stage(batch_size, mean=Watching())
    result, tally = runner.run(samples(7), [gray(v) for v in range(7)])
    assert result["mean.value"].to_list() == [float(v) for v in range(7)]
    assert max(seen) == min(batch_size, 2)
    assert tally.rows["mean"] == 7


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

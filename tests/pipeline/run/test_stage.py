"""A stage: bad rows become null with a reason, and broken contracts stop the pass."""

import polars as pl
import pytest

from pipeline.errors import OperatorError
from pipeline.operator import Score, Writer
from pipeline.run.stage.calls import SYSTEMATIC
from tests.pipeline.run.stage_operators import stage
from tests.support.samples import samples


class Root(Score):
    """1 / (the caption as a number); raises on a whole batch if one row divides by zero."""

    needs = ("text",)
    writes = {"value": pl.Float64}

    def score(self, batch):
        return pl.DataFrame({"value": [1 / int(text) for text in batch["text"]]}, schema=dict(self.writes))


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


class Small(Score):
    """The caption as a number, on a device that has memory for `room` rows."""

    needs = ("text",)
    writes = {"value": pl.Float64}
    room: int = 10

    def score(self, batch):
        if len(batch) > self.room:
            raise type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory. Tried to allocate 2 GiB")
        ASKED.append(len(batch))
        return pl.DataFrame({"value": [float(text) for text in batch["text"]]}, schema=dict(self.writes))


ASKED: list[int] = []


def test_a_device_that_runs_out_of_memory_gets_smaller_slices_and_loses_nothing(caplog):
    ASKED.clear()
    runner = stage(small=Small())
    batch = samples(100, text=[str(i) for i in range(100)])
    for _ in range(2):
        result, tally = runner.run(batch, None)
        assert result["small.value"].to_list() == [float(i) for i in range(100)]
        assert result["small.error"].null_count() == 100
        assert (tally.rows["small"], tally.failed["small"]) == (100, 0)
    first, second = ASKED[:16], ASKED[16:]
    assert first == [7, 6, 6, 6] * 4  # 100, 50, 25; then 13 and 12
    assert second == [6] * 16 + [4]  # no slice is too large any more
    assert (
        caplog.messages[-1] == "small: out of memory, continues with 6 rows at a time (run.small.batch_size)"
    )


def test_a_row_that_no_memory_holds_is_null_and_its_neighbours_are_not():
    class Large(Small):
        def score(self, batch):
            if "x" in batch["text"].to_list():
                raise MemoryError("40 GiB")
            return super().score(batch)

    runner = stage(large=Large(room=100))
    result, _ = runner.run(samples(20, text=[*"1234", "x", *"5" * 15]), None)
    assert runner.batch_size == 256, "the others fit"
    assert result["large.error"].drop_nulls().to_list() == ["MemoryError: 40 GiB"]
    assert result["large.value"].null_count() == 1


def test_a_device_without_memory_for_one_row_stops_the_pass():
    with pytest.raises(
        OperatorError, match=r"^small fails on every row of a batch: OutOfMemoryError: CUDA out"
    ):
        stage(small=Small(room=0)).run(samples(SYSTEMATIC, text=["1"] * SYSTEMATIC), None)


def test_rows_that_have_reasons_of_their_own_once_memory_suffices_do_not_stop_the_pass():
    class Poor(Small):
        def score(self, batch):
            nothing = pl.repeat(None, len(batch), dtype=pl.Float64, eager=True)
            error = pl.repeat("no caption", len(batch), eager=True)
            if len(batch) > self.room:
                raise MemoryError("40 GiB")
            return pl.DataFrame({"value": nothing, "error": error})

    for room in (10, 1):
        result, tally = stage(poor=Poor(room=room)).run(samples(40, text=["1"] * 40), None)
        assert set(result["poor.error"]) == {"no caption"}
        assert (tally.rows["poor"], tally.failed["poor"]) == (40, 40)


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


def test_a_setup_that_sets_a_public_attribute_is_told_how_to():
    class Sets(Root):
        def setup(self, stats, device):
            self.words = {"a"}

    with pytest.raises(OperatorError, match=r"declare it as _words: Any = PrivateAttr\(None\)"):
        stage(sets=Sets())


def test_a_setup_that_asks_for_a_stat_that_no_field_names_is_told_so():
    class Asks(Root):
        def setup(self, stats, device):
            stats["counts"]

    with pytest.raises(
        OperatorError, match=r"counts is not among the Stats that fields of type Table name: -"
    ):
        stage(asks=Asks())


def test_reasons_are_one_line():
    class Lines(Root):
        def score(self, batch):
            if len(batch):
                raise ValueError("first\n  second")
            return super().score(batch)

    result, _ = stage(lines=Lines()).run(samples(1), None)
    assert result["lines.error"].to_list() == ["ValueError: first second"]


def test_a_panic_of_a_library_in_rust_loses_its_own_row_alone():
    """Such a panic is no `Exception`, and a hostile caption may cause one."""

    class Panics(Root):
        def score(self, batch):
            if "0" in batch["text"]:
                raise pl.exceptions.PanicException("out of bounds")
            return super().score(batch)

    result, _ = stage(panics=Panics()).run(samples(3, text=["1", "0", "4"]), None)
    assert result["panics.value"].to_list() == [1.0, None, 0.25]
    assert result["panics.error"].to_list() == [None, "PanicException: out of bounds", None]


def test_ctrl_c_in_an_operator_is_no_fault():
    class Stopped(Root):
        def score(self, batch):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage(stopped=Stopped()).run(samples(3), None)


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
        (
            pl.DataFrame({"value": [1, 2, 3]}),
            r"^x.value must be Float64, got Int64: cast it",
        ),
        (
            pl.DataFrame({"value": [None] * 3}),
            r"^x.value must be Float64, got Null: cast it",
        ),
        (
            pl.DataFrame({"value": [0.0] * 3, "error": [["a"]] * 3}),
            r"^x.error must be String, got List\(String\)$",
        ),
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

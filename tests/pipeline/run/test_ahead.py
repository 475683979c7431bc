"""Operators that work ahead get the pictures of a batch part by part, and launch it whole."""

import weakref

import polars as pl
import pytest

from pipeline.errors import OperatorError
from pipeline.operator import Device, Score
from pipeline.recipe.sections import Entry
from pipeline.run.stage.calls import SYSTEMATIC
from pipeline.run.stage.runner import StageRunner
from tests.pipeline.run.stage_operators import Ahead, Mean, gray, stage
from tests.support.samples import samples


@pytest.fixture
def small_parts(monkeypatch):
    """A slice and a part have two of the pictures that `gray` makes."""
    for name in ("PIXEL_BUDGET", "PART_BUDGET"):
        monkeypatch.setattr(f"pipeline.run.stage.runner.{name}", 2 * 24 * 16)


def test_a_batch_is_prepared_part_by_part_and_launched_whole(small_parts):
    asked = []

    class Watching(Ahead):
        def prepare(self, batch, images):
            asked.append(("prepare", len(batch), len(images)))
            return super().prepare(batch, images)

        def launch(self, batch, prepared):
            asked.append(("launch", len(batch), len(prepared)))
            return prepared

    data = [gray(n) for n in range(5)]
    data[3] = None
    runner = stage(it=Watching())
    frame, tally = runner.run(samples(5), data)
    assert asked == [*[("prepare", 2, 2)] * 2, ("prepare", 1, 1), ("launch", 5, 3)]
    assert frame["it.value"].to_list() == [0.0, 1.0, 2.0, None, 4.0]
    assert frame["it.error"].to_list() == [None, None, None, "no image", None]
    assert (tally.rows["decode"], runner.decoder.decoded) == (5, 4)


def test_the_pictures_of_a_part_are_gone_when_the_next_is_decoded(small_parts):
    made: list[weakref.ref] = []

    def alive() -> int:
        return sum(picture() is not None for picture in made)

    class Watching(Ahead):
        def prepare(self, batch, images):
            made.extend(weakref.ref(image) for image in images)
            assert alive() == 2
            return super().prepare(batch, images)

        def complete(self, batch, launched):
            assert alive() == 0
            return super().complete(batch, launched)

    runner = stage(it=Watching())
    decode = runner.decoder.timed

    def watching(data):
        assert alive() == 0
        return decode(data)

    runner.decoder.timed = watching
    frame, _ = runner.run(samples(6), [gray(n) for n in range(6)])
    assert frame["it.value"].to_list() == [float(n) for n in range(6)]
    assert len(made) == 6


def test_an_operator_of_columns_beside_it_changes_nothing(small_parts):
    class Next(Score):
        needs = ("it.value",)
        writes = {"value": pl.Float64}

        def score(self, batch):
            if 2.0 in batch["it.value"].to_list():
                raise ValueError("two is too much")
            return batch.select(value=pl.col("it.value") + 1)

    asked = []

    class Watching(Ahead):
        def launch(self, batch, prepared):
            asked.append((len(batch), len(prepared)))
            return prepared

    frame, _ = stage(it=Watching(), next=Next()).run(samples(4), [gray(n) for n in range(4)])
    assert asked == [(4, 2)]
    assert frame["next.value"].to_list() == [1.0, 2.0, None, 4.0]
    assert frame["next.error"].drop_nulls().to_list() == ["ValueError: two is too much"]


def test_a_slice_on_a_gpu_has_four_times_the_pixels(small_parts):
    asked = []

    class Watching(Mean):
        def score(self, batch, images):
            asked.append(len(images))
            return super().score(batch, images)

    entries = {"it": Entry("test.Operator", Watching())}
    StageRunner(entries, {}, Device("cuda"), 256).run(samples(9), [gray(n) for n in range(9)])
    assert asked == [8, 1]


def test_an_operator_beside_it_that_needs_all_pictures_at_once_gets_slices(small_parts):
    asked = []

    class Watching(Ahead):
        def launch(self, batch, prepared):
            asked.append((len(batch), len(prepared)))
            return prepared

    frame, _ = stage(ahead=Watching(), plain=Mean()).run(samples(5), [gray(n) for n in range(5)])
    assert asked == [(2, 1), (2, 1), (1, 1)]
    assert frame["ahead.value"].to_list() == frame["plain.value"].to_list() == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_a_device_that_cannot_hold_a_launched_batch_gets_smaller_ones(small_parts, caplog):
    class Small(Ahead):
        def launch(self, batch, prepared):
            if len(batch) > 3:
                raise MemoryError("2 GiB")
            return prepared

        def score(self, batch, images):
            return Mean.score(self, batch, images)

    runner = stage(10, it=Small())
    for _ in range(2):
        frame, tally = runner.run(samples(10), [gray(n) for n in range(10)])
        assert frame["it.value"].to_list() == [float(n) for n in range(10)]
        assert tally.failed["it"] == 0
    assert [message.split("with ")[1].split(" rows")[0] for message in caplog.messages] == ["5", "3"]


@pytest.mark.parametrize("method", ["works_ahead", "device_decoder"])
def test_an_operator_that_cannot_say_how_it_works_is_not_set_up(method):
    def fails(self):
        raise ValueError("no device")

    with pytest.raises(OperatorError, match=r"^it cannot be set up: ValueError: no device"):
        stage(it=type("Broken", (Ahead,), {method: fails})())


@pytest.mark.parametrize("rows", [1, 5])
def test_a_small_slice_without_memory_halves_large_ones_and_no_more(rows, small_parts):
    """The last rows of a shard take a device as much as a full batch, to which they are padded."""

    class Full(Ahead):
        def launch(self, batch, prepared):
            raise MemoryError("2 GiB")

        def score(self, batch, images):
            return Mean.score(self, batch, images)

    runner = stage(it=Full())
    runner.run(samples(rows), [gray(n) for n in range(rows)])
    assert runner.batch_size == 128


@pytest.mark.parametrize("rows", [10, 40])
def test_pictures_that_no_memory_holds_leave_the_slices_as_they_are(rows, small_parts):
    class Large(Ahead):
        def prepare(self, batch, images):
            return self.score(batch, images)

        def score(self, batch, images):
            found = Mean.score(self, batch, images)
            if 1.0 in found["value"].to_list():
                raise MemoryError("40 GiB")
            return found

    runner = stage(it=Large())
    for _ in range(3):
        frame, tally = runner.run(samples(rows), [gray(n) for n in range(rows)])
        assert frame["it.error"].drop_nulls().to_list() == ["MemoryError: 40 GiB"]
        assert tally.failed["it"] == 1
    assert runner.batch_size == 256


@pytest.mark.parametrize("step", ["prepare", "launch"])
def test_an_operator_that_fails_on_every_row_of_small_parts_stops_the_pass(step, small_parts):
    class Broken(Ahead):
        def score(self, batch, images):
            if len(batch):
                raise RuntimeError("CUDA error: an illegal memory access")
            return Mean.score(self, batch, images)

    def fails(self, *_):
        raise RuntimeError("CUDA error")

    broken = type("Broken", (Broken,), {step: fails})()
    with pytest.raises(
        OperatorError, match=r"^it fails on every row of a batch: RuntimeError: CUDA error: an"
    ):
        stage(it=broken).run(samples(SYSTEMATIC), [gray(n) for n in range(SYSTEMATIC)])
    frame, _ = stage(it=broken).run(samples(SYSTEMATIC - 1), [gray(n) for n in range(SYSTEMATIC - 1)])
    assert frame["it.value"].null_count() == SYSTEMATIC - 1


@pytest.mark.parametrize("step", ["prepare", "launch", "complete"])
def test_a_picture_that_cannot_be_worked_on_is_null_and_spares_the_others(step, small_parts):
    class Refusing(Ahead):
        def prepare(self, batch, images):
            return self.refused("prepare", Mean.score(self, batch, images))

        def launch(self, batch, prepared):
            return [self.refused("launch", part) for part in prepared]

        def complete(self, batch, launched):
            return self.refused("complete", pl.concat(launched))

        def score(self, batch, images):
            return self.refused(step, Mean.score(self, batch, images))

        def refused(self, at, found):
            if at == step and 1 in found["value"].to_list():
                raise ValueError("one is enough")
            return found

    frame, tally = stage(it=Refusing()).run(samples(6), [gray(n) for n in range(6)])
    assert frame["it.value"].to_list() == [0.0, None, 2.0, 3.0, 4.0, 5.0]
    assert frame["it.error"].drop_nulls().to_list() == ["ValueError: one is enough"]
    assert (tally.rows["it"], tally.failed["it"], tally.rows["decode"]) == (6, 1, 6)

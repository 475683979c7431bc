"""A stage decodes each image once; bad images give their reason and spare the others."""

import polars as pl
import pyarrow as pa
import pytest

from pipeline.operator import BytesScore, ImageScore
from tests.pipeline.run.stage_operators import Mean, gray, stage
from tests.support.samples import samples


class Maximum(ImageScore):
    writes = {"value": pl.UInt8, "seen": pl.Boolean}

    def score(self, batch, images):
        rows = {
            "value": [None if i is None else i.max() for i in images],
            "seen": [i is not None for i in images],
        }
        return pl.DataFrame(rows, schema=dict(self.writes))


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
    monkeypatch.setattr("pipeline.run.stage.runner.PIXEL_BUDGET", 24 * 16 * 2)
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


# --- encoded images --------------------------------------------------------------------------------


class Length(BytesScore):
    writes = {"value": pl.UInt32}

    def score(self, batch, data):
        lengths = [None if item is None else len(item) for item in data]
        assert all(item is None or (item.format, item.readonly) == ("B", True) for item in data)
        return pl.DataFrame({"value": lengths}, schema=dict(self.writes))


def test_an_operator_of_bytes_sees_files_that_nobody_decodes():
    signed = pa.array([b"garbage"]).buffers()[2]  # as Ray's batches have them
    runner = stage(length=Length())
    result, tally = runner.run(samples(3), [b"four", None, memoryview(signed)])
    assert result["length.value"].to_list() == [4, None, 7]
    assert result["length.error"].to_list() == [None, "no image", None]
    assert (runner.decoder.decoded, set(tally.rows)) == (0, {"length"})
    assert not runner.sees_images


def test_operators_of_bytes_and_of_pixels_share_a_stage():
    result, _ = stage(mean=Mean(), length=Length()).run(samples(2), [gray(10), b"garbage"])
    assert result["mean.value"].to_list() == [10.0, None]
    assert result["length.value"].to_list() == [len(gray(10)), 7]
    assert result["length.error"].to_list() == [None, None]


def test_bytes_that_an_operator_fails_on_spare_the_others():
    class Picky(Length):
        def score(self, batch, data):
            if any(item is not None and len(item) == 7 for item in data):
                raise ValueError("seven")
            return super().score(batch, data)

    result, _ = stage(length=Picky()).run(samples(2), [b"four", b"garbage"])
    assert result["length.value"].to_list() == [4, None]
    assert result["length.error"].to_list() == [None, "ValueError: seven"]

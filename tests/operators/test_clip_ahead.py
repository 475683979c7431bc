"""ClipScore and MaskedClipScore step by step, as a GPU's worker calls them, and with `preprocess: fast`."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

from operators.algorithms.clip.transform import agrees
from operators.clip import ClipScore
from operators.text import MaskedClipScore
from pipeline.errors import OperatorError
from pipeline.operator import Device, ImageScore
from pipeline.plan.keys import cache_key, parameters
from pipeline.run.decode import decode
from tests.pipeline.run.stage_operators import stage
from tests.support.samples import picture, samples
from tests.support.tiny_clip import TinyClip

CAPTIONS = ["a dog on a beach", None, "x", "a dog on a beach " * 30, " ", "12:30"]


def made(tiny_clip: TinyClip, preprocess: str = "exact") -> ClipScore:
    operator = ClipScore(model=tiny_clip.config, pretrained=tiny_clip.weights, preprocess=preprocess)
    operator.setup({}, Device())
    return operator


@pytest.fixture(autouse=True)
def _a_model_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests change their model."""
    monkeypatch.setattr("operators.algorithms.clip.model._LOADED", {})


def images(rows: int) -> list[np.ndarray | None]:
    return [None if row == 2 else decode(picture(row, 90, 70, "JPEG"))[0] for row in range(rows)]


def in_steps(operator: ImageScore, batch: pl.DataFrame, pictures: list, cuts: list[int]) -> pl.DataFrame:
    """What a worker that works ahead gets, with the parts of the batch cut at these rows."""
    edges = [0, *cuts, len(batch)]
    parts = [
        operator.prepare(batch[start:stop], pictures[start:stop]) for start, stop in itertools.pairwise(edges)
    ]
    return operator.complete(batch, operator.launch(batch, parts))


@pytest.mark.parametrize("cuts", [[], [1], [2, 3], [0, 5, 5]])
@pytest.mark.parametrize("rows", [0, 1, 6])
def test_the_steps_give_what_score_gives(tiny_clip, rows, cuts):
    operator = made(tiny_clip)
    batch = samples(rows, text=CAPTIONS[:rows])
    assert not operator.works_ahead(), "a CPU has nothing to wait for"
    operator._clip.contexts = None  # as on a GPU
    expected = operator.score(batch, images(rows))
    operator._clip.ahead = True
    assert operator.works_ahead()
    for resizes in (False, True):
        operator._clip.resizes = resizes
        found = in_steps(operator, batch, images(rows), [min(cut, rows) for cut in cuts])
        assert_frame_equal(found, expected, check_exact=True)
    assert_frame_equal(operator.score(batch, images(rows)), expected, check_exact=True)


@pytest.mark.parametrize("plain", ["", "clip.score"])
def test_the_steps_of_masked_scores_give_what_score_gives(tiny_clip, plain):
    box = [5, 5, 40, 5, 40, 20, 5, 20]
    batch = samples(6, text=CAPTIONS)
    clip = made(tiny_clip).score(batch, images(6))
    batch = batch.with_columns(
        clip["score"].alias("clip.score"),
        clip["text_embedding"].alias("clip.text_embedding"),
        pl.Series("text.boxes", [[box], [], [box], [box, box], [], None], pl.List(pl.List(pl.Int32))),
    )
    operator = MaskedClipScore(
        model=tiny_clip.config,
        pretrained=tiny_clip.weights,
        boxes="text.boxes",
        text_embedding="clip.text_embedding",
        plain=plain,
    )
    operator.setup({}, Device(threads=2))
    pictures = images(6)
    expected = operator.score(batch, pictures)
    # a picture without text keeps its plain score, if there is one; rows lack a caption, picture, or boxes
    assert expected["score"].is_null().to_list() == [False, True, True, False, True, True]
    operator._clip.ahead = True
    for cuts in ([], [1, 4]):
        assert_frame_equal(in_steps(operator, batch, pictures, cuts), expected, check_exact=True)


def test_a_device_resizes_if_it_does_so_to_the_bit(tiny_clip):
    clip = made(tiny_clip)._clip
    assert not clip.resizes, "a CPU takes Pillow"
    assert agrees(clip.frame, clip.head, "cpu")

    def off_by_one(picture):
        found = clip.head(picture).copy()
        found[-1, -1, -1] ^= picture.shape[0] == 900  # of one shape only
        return found

    assert not agrees(clip.frame, off_by_one, "cpu")


def test_a_picture_whose_weights_would_fill_a_device_is_resized_by_pillow(tiny_clip, monkeypatch):
    monkeypatch.setattr("operators.algorithms.clip.model.LONG", 80)
    clip = made(tiny_clip)._clip
    clip.ahead = clip.resizes = True
    head, shapes = clip.head, []
    monkeypatch.setattr(clip, "head", lambda image: shapes.append(image.shape) or head(image))
    sides = [(90, 70), (60, 80), (40, 81)]
    pictures = [decode(picture(row, *side, "PNG"))[0] for row, side in enumerate(sides)]
    found = clip.ready(pictures, fast=False).pixels.numpy()
    assert shapes == [(70, 90, 3), (81, 40, 3)]
    np.testing.assert_array_equal(found, [head(image) for image in pictures])


@pytest.mark.parametrize("fast", [False, True])
def test_a_line_of_pixels_needs_no_more_memory_than_a_picture(tiny_clip, monkeypatch, fast):
    """Resized before the crop it would take 8 GB, which Pillow and torch would ask for."""
    for name in ("torchvision.transforms.Resize.forward", "torch.nn.functional.interpolate"):
        monkeypatch.setattr(name, None)
    clip = made(tiny_clip)._clip
    line = np.random.default_rng(0).integers(0, 256, (1, 1_000_000, 3), np.uint8)
    assert np.isfinite(clip.images([line], fast)).all()


def test_large_pictures_do_not_cut_a_forward_pass(tiny_clip, monkeypatch):
    """A slice of decoded pixels has two of these pictures: four passes of 8 rows would be 32."""
    for name in ("PIXEL_BUDGET", "PART_BUDGET"):
        monkeypatch.setattr(f"pipeline.run.stage.runner.{name}", 2 * 90 * 70)
    operator = made(tiny_clip)
    operator._clip.contexts, operator._clip.ahead, operator._clip.chunk = None, True, 8
    encode, rows = operator._clip.net.encode_image, []
    monkeypatch.setattr(operator._clip.net, "encode_image", lambda x: rows.append(len(x)) or encode(x))
    runner = stage(clip=operator)
    pictures = [picture(row, 90, 70, "JPEG") for row in range(8)]
    batch = samples(8, text=["a dog"] * 8).with_columns(width=pl.lit(90), height=pl.lit(70))
    found, _ = runner.run(batch, pictures)
    assert rows == [8]
    expected = operator.score(batch, [decode(data)[0] for data in pictures])
    assert found["clip.score"].to_list() == expected["score"].to_list()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_after_it_ran_out_of_memory_a_forward_pass_has_half_as_many_rows(
    tiny_clip, monkeypatch, caplog, error
):
    operator = made(tiny_clip)
    operator._clip.contexts, operator._clip.ahead = None, True
    batch = samples(6, text=CAPTIONS)
    expected = operator.score(batch, images(6))
    operator._clip.chunk = 64
    encode, rows = operator._clip.net.encode_image, []

    def small(pixels):
        rows.append(len(pixels))
        if len(pixels) > 10:
            raise error
        return encode(pixels)

    monkeypatch.setattr(operator._clip.net, "encode_image", small)
    runner = stage(clip=operator)
    pictures = [None if row == 2 else picture(row, 90, 70, "JPEG") for row in range(6)]
    for _ in range(2):
        found, tally = runner.run(batch, pictures)
        assert tally.failed["clip"] == 3  # no picture, no caption, an empty one
        assert found["clip.score"].to_list() == pytest.approx(expected["score"].to_list(), abs=1e-5)
    assert rows == [64, 32, 16, 8, 8], "5 pictures, padded to 8"
    assert (runner.batch_size, runner.decoder.decoded) == (256, 10), "no batch is lost, or made smaller"
    assert caplog.messages[-1] == "CLIP: out of memory, continues with 8 rows per forward pass"


def test_without_memory_for_one_row_the_pass_stops(tiny_clip, monkeypatch):
    operator = made(tiny_clip)
    operator._clip.contexts, operator._clip.ahead = None, True

    def none(pixels):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(operator._clip.net, "encode_image", none)
    with pytest.raises(OperatorError, match="clip fails on every row of a batch: OutOfMemoryError"):
        stage(clip=operator).run(samples(16, text=["a"] * 16), [picture(0, 90, 70, "JPEG")] * 16)


@pytest.mark.parametrize("ahead", [False, True])
def test_fast_is_near(tiny_clip, ahead):
    batch = samples(6, text=CAPTIONS)
    expected = made(tiny_clip).score(batch, images(6))
    operator = made(tiny_clip, "fast")
    operator._clip.ahead = ahead
    found = operator.score(batch, images(6))
    assert (found["score"] - expected["score"]).abs().max() < 1e-3
    assert found["score"].is_null().to_list() == expected["score"].is_null().to_list()
    assert (operator.device_decoder() is not None) == ahead
    assert made(tiny_clip).device_decoder() is None


def test_exact_has_the_key_that_it_had_before_there_was_a_choice(tiny_clip):
    exact, fast = (ClipScore(model="m", pretrained="p", preprocess=way) for way in ("exact", "fast"))
    assert parameters(exact) == {"model": "m", "pretrained": "p"}
    assert cache_key("clip.ClipScore", exact, {}, {}) != cache_key("clip.ClipScore", fast, {}, {})


def test_threads_that_tokenise_at_a_time_do_not_mix_their_captions(tiny_clip):
    captions = made(tiny_clip)._clip.captions
    texts = [[f"word {n} " * (n % 50) for n in range(start, start + 40)] for start in range(0, 400, 40)]
    expected = [captions(some)[1] for some in texts]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(captions, texts * 5))
    assert [cut for _, cut in found] == expected * 5
    assert pl.Series([cut for cuts in expected for cut in cuts]).sum() > 0

"""The CLIP score without text: an image without any keeps its score, others are masked and encoded again."""

import gc
import weakref

import numpy as np
import polars as pl
import pytest

from operators.algorithms.clip.model import load
from operators.algorithms.ocr.masking import fill_ring
from operators.clip import ClipScore
from operators.text import MaskedClipScore, TextBoxes
from pipeline.operator import Device
from pipeline.recipe.lookup import build
from pipeline.run.decode import decode
from pipeline.run.stage.runner import StageRunner
from tests.operators.test_text import card, encoded
from tests.support.samples import picture, samples

READS = {"boxes": "text.boxes", "text_embedding": "clip.text_embedding"}


@pytest.fixture(scope="module")
def plain(tiny_clip) -> ClipScore:
    made = ClipScore(model=tiny_clip.config, pretrained=tiny_clip.weights)
    made.setup({}, Device())
    return made


@pytest.fixture
def masked(tiny_clip):
    def make(**fields) -> MaskedClipScore:
        made = MaskedClipScore(model=tiny_clip.config, pretrained=tiny_clip.weights, **READS | fields)
        made.setup({}, Device())
        return made

    return make


def scored(plain: ClipScore, text: TextBoxes, images) -> pl.DataFrame:
    """Rows with the columns of clip and text."""
    frame = samples(len(images))
    for name, operator in (("clip", plain), ("text", text)):
        frame = frame.hstack(
            operator.score(frame, images).rename(lambda column, name=name: f"{name}.{column}")
        )
    return frame


def test_without_text_the_score_is_the_plain_one(plain, text, masked):
    images = [decode(picture(row, 90, 70))[0] for row in range(20)]
    frame = scored(plain, text, images)
    assert frame["text.coverage"].max() == 0
    again = masked().score(frame, images)["score"].to_numpy()
    np.testing.assert_allclose(again, frame["clip.score"].to_numpy(), atol=1e-3)
    same = masked(plain="clip.score").score(frame, images)["score"]
    assert same.equals(frame["clip.score"].alias("score"))


def test_with_text_it_is_the_score_of_the_filled_image(plain, text, masked):
    images = [np.asarray(card("HELLO", "number 42")), np.asarray(card("beach", "dog", size=64))]
    frame = scored(plain, text, images)
    boxes = [np.array(found, np.int32).reshape(-1, 4, 2) for found in frame["text.boxes"].to_list()]
    filled = [fill_ring(image, found, 0.1) for image, found in zip(images, boxes, strict=True)]
    assert all(np.asarray(image).min() > 200 for image in filled), "the paper alone is left"
    expected = plain.score(frame, filled)["score"].to_numpy()
    assert np.abs(expected - frame["clip.score"].to_numpy()).min() > 0.002
    for fields in ({}, {"plain": "clip.score"}):
        np.testing.assert_allclose(masked(**fields).score(frame, images)["score"], expected, atol=1e-3)
    telea = masked(fill="telea").score(frame, images)["score"].to_numpy()
    np.testing.assert_allclose(telea, expected, atol=0.02)  # one paper, two ways


def test_images_without_text_are_not_encoded_again(plain, text, masked, monkeypatch):
    images = [np.asarray(card("HELLO")), decode(picture(0, 90, 70))[0], None]
    frame = scored(plain, text, images)
    made, seen = masked(plain="clip.score"), []
    encode = made._clip.images
    monkeypatch.setattr(made._clip, "images", lambda found, fast: seen.extend(found) or encode(found))
    scores = made.score(frame, images)["score"]
    assert (len(seen), scores.null_count(), scores[2]) == (1, 1, None)


def test_rows_that_lack_an_input_are_null(plain, text, masked):
    images = [np.asarray(card("HELLO"))] * 4
    frame = scored(plain, text, images).with_columns(
        pl.when(pl.col("row") != row).then(pl.col(column)).alias(column)
        for row, column in ((1, "text.boxes"), (2, "clip.text_embedding"), (3, "clip.score"))
    )
    nulls = masked(plain="clip.score").score(frame, images)["score"].is_null().to_list()
    assert nulls == [False, True, True, False]  # without a plain score the image is encoded


def test_the_embedding_of_another_model_is_refused(text, plain, masked):
    images = [np.asarray(card("HELLO"))]
    frame = scored(plain, text, images).with_columns(
        pl.Series("clip.text_embedding", np.ones((1, 16), np.float16))
    )
    with pytest.raises(
        ValueError, match=r"^text_embedding: clip.text_embedding has 16 numbers per row, .* 32;"
    ):
        masked().score(frame, images)


def test_operators_of_a_worker_share_a_model(tiny_clip):
    one, two = (load(tiny_clip.config, tiny_clip.weights, Device(threads=5)) for _ in range(2))
    assert one is two
    assert load(tiny_clip.config, tiny_clip.weights, Device(threads=6)) is not one
    alive = weakref.ref(one)
    del one, two
    gc.collect()
    assert alive() is None


def test_one_pass_decodes_each_image_once(tiny_clip):
    weights = {"model": tiny_clip.config, "pretrained": tiny_clip.weights}
    compute = {
        "clip": {"use": "clip.ClipScore", **weights},
        "text": {"use": "text.TextBoxes"},
        "masked": {"use": "text.MaskedClipScore", **weights, **READS, "plain": "clip.score"},
    }
    runner = StageRunner({name: build(name, spec, []) for name, spec in compute.items()}, {}, Device(), 8)
    data = [encoded(card(f"number {n}")) if n % 2 else picture(n, 90, 70) for n in range(20)]
    result, _ = runner.run(samples(21), [*data, b"no image"])
    assert runner.decoder.decoded == 21
    assert result["masked.score"].null_count() == 1
    assert result["masked.error"][20] == "image cannot be decoded: unknown format"
    same = (result["masked.score"] == result["clip.score"]).to_list()[:20]
    assert same == [n % 2 == 0 for n in range(20)]

"""ClipScore in two halves, as a GPU's worker calls it, and with `preprocess: fast`."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from operators.clip import ClipScore
from pipeline.operator import Device
from pipeline.plan.keys import cache_key, parameters
from pipeline.run.decode import decode
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
    monkeypatch.setattr("operators.algorithms.clip_model._LOADED", {})


def images(rows: int) -> list[np.ndarray | None]:
    return [None if row == 2 else decode(picture(row, 90, 70, "JPEG"))[0] for row in range(rows)]


@pytest.mark.parametrize("rows", [0, 1, 6])
def test_both_halves_give_what_score_gives(tiny_clip, rows):
    operator = made(tiny_clip)
    batch = samples(rows, text=CAPTIONS[:rows])
    assert operator.prepare(batch, images(rows)) is None, "a CPU has nothing to wait for"
    operator._clip.contexts = None  # as on a GPU
    expected = operator.score(batch, images(rows))
    operator._clip.ahead = True
    found = operator.complete(batch, operator.prepare(batch, images(rows)))
    assert_frame_equal(found, expected, check_exact=True)
    assert_frame_equal(operator.score(batch, images(rows)), expected, check_exact=True)


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

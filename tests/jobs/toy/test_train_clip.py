"""The model's card is the text that training writes, and tells of the file beside it."""

import hashlib
import re

import pytest

from tests.jobs.toy.test_sample_pool import MODELS

pytest.importorskip("open_clip", reason="training needs open_clip")


def test_the_card_is_the_template_filled_in() -> None:
    from jobs.toy.train_clip import CARD

    page, start = (MODELS / "MODEL_CARD.md").read_text(), 0
    for text in re.split(r"\{\w+(?::[^{}]*)?\}", CARD):
        found = page.find(text, start)
        assert start <= found <= start + (1000 if start else 0), text  # figures and rows lie in between
        start = found + len(text)
    assert start == len(page)


def test_the_card_is_of_the_file_and_of_the_scenes_that_are_drawn_today() -> None:
    """If this fails after a change of the scenes, train the checkpoint anew, then mine the prints."""
    from jobs.toy.scene_clip import build, examples
    from jobs.toy.train_clip import LEARNT, TOLD, TRAIN_SEED

    page = (MODELS / "MODEL_CARD.md").read_text()
    drawn = examples(build(MODELS)[1], TRAIN_SEED, LEARNT, 2 * TOLD, 0)[:TOLD]
    captions = "\n".join(caption for _, caption, _ in drawn)
    assert len(drawn) == TOLD
    assert f"`{hashlib.sha256(captions.encode()).hexdigest()}`" in page
    assert f"`{hashlib.sha256((MODELS / 'scene_clip.safetensors').read_bytes()).hexdigest()}`" in page

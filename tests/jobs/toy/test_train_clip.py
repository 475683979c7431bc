"""The model's card is the text that training writes, with figures filled in."""

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

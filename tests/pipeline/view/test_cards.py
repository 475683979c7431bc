"""Samples as people look at them: verdicts, pictures, boxes, other ways to see a picture, and neighbours."""

import io

import numpy as np
import pytest
from PIL import Image

from pipeline.decide.decide import decide
from pipeline.plan.session import Session
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from pipeline.view.cards import Box, Card, Cost, cards, painters
from tests.support.decided_pool import ordinary, recipe, sample, uid, write_tar

STICKER = {"compute": {"sticker": {"use": "stickers.Sticker"}}, "keep": {"sticker.words": {"min": 3}}}


@pytest.fixture
def session(tmp_path) -> Session:
    """Four samples; the caption of the first names the third."""
    files = [
        sample(0, caption=f"a friend is {uid(2)}"),
        *(sample(n, caption=f"number {n}") for n in (1, 2, 3)),
    ]
    write_tar(tmp_path / "pool" / "a.tar", [file for own in files[:3] for file in own])
    write_tar(tmp_path / "pool" / "b.tar", files[3])
    made = compute(Session.open(recipe(tmp_path, {}, **STICKER)), LocalExecutor()).session
    decide(made)
    return made


def colour(data: bytes) -> np.ndarray:
    """(3,) the mean colour of a picture."""
    return np.asarray(Image.open(io.BytesIO(data))).mean((0, 1))


def test_a_card_holds_all_that_is_known(session):
    cost = Cost()
    last, first = cards(session, [("b", 0), ("a", 0)], 6, cost)
    assert [card.explanation.uid for card in (last, first)] == [uid(3), uid(0)]
    assert [card.explanation.fate for card in (last, first)] == ["dropped", "kept"]
    assert first.captions == (f"a friend is {uid(2)}",)
    assert (first.picture.width, first.picture.height, first.picture.scale) == (6, 4, 0.5)
    assert first.boxes == (Box(((0, 0), (6, 0), (6, 4), (0, 4)), f"a friend is {uid(2)}"),)
    assert first.neighbours == (("a", 2),)
    assert first.explanation.evidence == {"sticker": [{"uid": uid(2), "words": 4}]}
    assert (last.neighbours, last.masked, last.why_no_picture) == ((), None, None)
    assert cost.pictures == 2


@pytest.mark.parametrize("masked", [True, "sticker"])
def test_pictures_as_an_operator_sees_them(session, masked):
    assert painters(session) == ["sticker"]
    (card,) = cards(session, [("a", 1)], 6, Cost(), masked=masked)
    assert np.abs(colour(card.picture.data) + colour(card.masked.data) - 255).max() < 8


def test_one_place_may_be_asked_for_twice(session):
    once, again = cards(session, [("a", 1), ("a", 1)], 6, Cost())
    assert once == again
    assert isinstance(once, Card)
    assert cards(session, [], 6, Cost()) == []


def test_a_shard_that_is_gone_keeps_its_verdicts(session, tmp_path):
    (tmp_path / "pool" / "a.tar").unlink()
    lost, whole = cards(session, [("a", 1), ("b", 0)], 6, Cost())
    assert (lost.picture, lost.boxes, lost.explanation.fate) == (None, (), "dropped")
    assert "a.tar" in lost.why_no_picture
    assert whole.picture is not None


def test_a_pool_without_boxes_or_neighbours(tmp_path):
    ordinary(tmp_path / "pool")
    made = compute(Session.open(recipe(tmp_path, {})), LocalExecutor()).session
    decide(made)
    (card,) = cards(made, [("00002", 4)], 6, Cost(), masked=True)
    assert (card.boxes, card.masked, card.neighbours) == ((), None, ())
    assert painters(made) == []

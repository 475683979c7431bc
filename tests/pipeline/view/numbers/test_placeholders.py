"""Equal captions and pictures are counted exactly, whatever else shares their buckets."""

from collections import Counter

import polars as pl
import pytest

from pipeline.uids import draw
from pipeline.view.numbers import placeholders as module
from pipeline.view.numbers.placeholders import CAPTIONS, PICTURES, SHOWN, Crowds, Members
from tests.support.samples import samples

COLUMNS = ("text", "image_length", "width", "height", "url")


def rows(cells: list[tuple[object, ...]]) -> pl.DataFrame:
    """Samples with these values of COLUMNS."""
    columns = {name: list(values) for name, values in zip(COLUMNS, zip(*cells, strict=True), strict=True)}
    return samples(len(cells), "a", **columns)


def found(frame: pl.DataFrame, images: bool = True, cut: int = 4) -> Members:
    """Both readings, some rows at a time."""
    frame = frame.with_columns(draw=pl.Series(draw(0, frame["uid"])))
    parts = [frame[start : start + cut] for start in range(0, len(frame), cut)]
    crowds = Crowds(images)
    for part in parts:
        crowds.add(crowds.look(part))
    members = Members(images, crowds.fullest())
    for part in parts:
        members.add(members.look(part))
    return members


@pytest.mark.parametrize("cut", [1, 3, 100])
def test_one_picture_under_many_captions_and_one_caption_under_many_pictures(cut):
    gone = [(f"caption {i % 5}", 900, 60, 60, None) for i in range(11)]
    shop = [("buy now", 1_000 + i % 3, 80, 80, None) for i in range(7)]
    once = [(f"other {i}", 5_000 + i, 70, 70, None) for i in range(20)]
    members = found(rows([*gone, *shop, *once]), cut=cut)
    (picture,) = members.found(PICTURES)
    assert (picture.count, len(picture.others), len(picture.places)) == (11, 5, 5)
    assert {row for _, row in picture.places} <= set(range(11))
    (caption,) = members.found(CAPTIONS)
    assert (caption.count, caption.text, len(caption.others)) == (7, "buy now", 3)
    assert len(caption.places) == 3


def test_copies_of_one_sample_are_not_placeholders():
    members = found(rows([("the same", 900, 60, 60, None)] * 9))
    assert members.found(PICTURES) == members.found(CAPTIONS) == []


def test_without_captions_and_without_sizes():
    cells = (
        [(None, 900, 60, 60, None)] * 2
        + [("  ", 900, 60, 60, None)] * 3
        + [("a", None, None, None, None)] * 5
    )
    cells += [("a", 900, 60, 60, None), ("b", 900, 60, 60, None)]
    members = found(rows(cells))
    assert members.found(CAPTIONS) == []
    (picture,) = members.found(PICTURES)
    assert (picture.count, len(picture.others)) == (7, 2)


def test_a_pool_without_pictures_tells_captions_apart_by_url():
    frame = rows([("buy now", None, None, None, f"http://a/{i % 4}") for i in range(8)])
    members = found(frame, images=False)
    assert members.found(PICTURES) == []
    (caption,) = members.found(CAPTIONS)
    assert (caption.count, len(caption.others)) == (8, 4)


def test_counts_are_exact_if_everything_shares_a_few_buckets(monkeypatch):
    monkeypatch.setattr(module, "BUCKETS", 4)
    texts = [f"text {i * i % 13}" for i in range(200)]
    frame = rows([(text, 10 + i, 5, 5, None) for i, text in enumerate(texts)])
    counts = Counter(texts)
    assert {e.text: e.count for e in found(frame).found(CAPTIONS)} == {
        t: c for t, c in counts.items() if c >= 3
    }


def test_the_lowest_draws_are_shown():
    frame = rows([("buy now", 10 + i, 5, 5, None) for i in range(50)])
    (caption,) = found(frame, cut=7).found(CAPTIONS)
    lowest = frame.with_columns(draw=pl.Series(draw(0, frame["uid"]))).sort("draw")["row"].head(SHOWN)
    assert [row for _, row in caption.places] == lowest.to_list()


def test_what_tells_apart_is_counted_up_to_a_bound(monkeypatch):
    monkeypatch.setattr(module, "MOST_OTHERS", 10)
    frame = rows([("buy now", 10 + i, 5, 5, None) for i in range(50)])
    (caption,) = found(frame).found(CAPTIONS)
    assert (caption.count, len(caption.others)) == (50, 10)

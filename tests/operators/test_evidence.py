"""What operators show of one sample: evidence, marks, and pictures as they see them."""

import json

import numpy as np
import polars as pl
import pytest

from operators.digits import NumberFreeScore
from operators.metaclip import BalanceProbability, EntryCount, EntryMatch
from operators.parrot import CoEmbeddedText
from operators.text import MaskedClipScore, TextBoxes
from operators.wfpp import WordFrequency, WordFrequencyScore
from pipeline.operator import Mark

SQUARE = [1, 1, 5, 1, 5, 4, 1, 4]
CLIP = {"model": "m", "pretrained": "p"}


def boxes(*rows):
    """A column of boxes of one sample; None for a sample without a picture."""
    return pl.Series([list(rows) if rows != (None,) else None], dtype=pl.List(pl.Array(pl.Int32, 8)))


def read(lines, confidences=None, own=None):
    """What a TextBoxes looks at."""
    texts = pl.Series([lines], dtype=pl.List(pl.String))
    sure = pl.Series(
        [confidences or (None if lines is None else [0.75] * len(lines))], dtype=pl.List(pl.Float32)
    )
    return pl.DataFrame({".boxes": own, ".lines": texts, ".confidences": sure, ".detections": sure})


def test_words_that_were_read():
    operator = TextBoxes()
    row = read(["SALE", ""], [0.5, 0.25], boxes(SQUARE, SQUARE))
    assert operator.evidence(row, {}, {}).to_dicts() == [
        {"line": "SALE", "confidence": 0.5, "detection": 0.5},
        {"line": "", "confidence": 0.25, "detection": 0.25},
    ]
    corners = [(1.0, 1.0), (5.0, 1.0), (5.0, 4.0), (1.0, 4.0)]
    assert operator.marks(row) == [Mark(corners, "SALE"), Mark(corners, "")]


@pytest.mark.parametrize(
    ("row", "marks"),
    [
        (read([], own=boxes()), 0),  # no text
        (read(None, own=boxes(None)), 0),  # no picture
        (read(None, own=boxes(SQUARE)), 1),  # recognise: false
    ],
)
def test_pictures_without_words(row, marks):
    assert TextBoxes().evidence(row, {}, {}).is_empty()
    assert [mark.label for mark in TextBoxes().marks(row)] == [""] * marks


def test_the_picture_without_its_text():
    operator = MaskedClipScore(boxes="t.boxes", text_embedding="c.text_embedding", **CLIP)
    image = np.zeros((10, 10, 3), np.uint8)
    image[2:4, 2:5] = 200
    shown = operator.shown(pl.DataFrame({"t.boxes": boxes(SQUARE)}), image)
    assert image.max() == 200
    assert shown.max() == 0
    for none in (boxes(), boxes(None)):
        assert operator.shown(pl.DataFrame({"t.boxes": none}), image) is None


def test_words_of_caption_and_picture():
    operator = CoEmbeddedText(words="t.words")
    row = pl.DataFrame({".words": [["blue", "SALE"]]})
    assert operator.evidence(row, {}, {})["in_caption_and_image"].to_list() == ["blue", "SALE"]
    assert operator.evidence(
        pl.DataFrame({".words": pl.Series([None], dtype=row.dtypes[0])}), {}, {}
    ).is_empty()


def test_the_caption_without_numbers():
    operator = NumberFreeScore(image_embedding="c.image_embedding", plain="c.score", **CLIP)
    row = pl.DataFrame({".text": ["a price of"], ".masked": [0.25]})
    assert operator.evidence(row, {}, {}).to_dicts() == [{"without_numbers": "a price of", "score": 0.25}]
    same = pl.DataFrame({".text": pl.Series([None], dtype=pl.String), ".masked": [0.25]})
    assert operator.evidence(same, {}, {}).is_empty()


def test_words_with_their_counts_and_weights():
    """`a` is 9 of the 12 words that count: sqrt(.03 / .75) = .2; `dog` is 3: sqrt(.03 / .25)."""
    table = WordFrequency(minimum_count=2).finish(
        pl.DataFrame({"word": ["a", "dog", "rare"], "count": [9, 3, 1]})
    )
    operator = WordFrequencyScore(frequency="words", first=4, t=0.03)
    row = pl.DataFrame({"text": ["A rare dog, a dog"]})
    assert operator.evidence(row, {"words": table}, {}).rows() == [
        ("a", 9, pytest.approx(0.2)),
        ("rare", None, 0.0),
        ("dog", 3, pytest.approx(0.12**0.5)),
        (",", None, 0.0),
    ]
    rarer = WordFrequencyScore(frequency="words", t=0.5).evidence(row, {"words": table}, {})
    assert rarer["weight"].to_list() == [pytest.approx((2 / 3) ** 0.5), 0.0, 0.0, 0.0]  # dog: .25 < .5
    assert operator.evidence(
        pl.DataFrame({"text": pl.Series([None], dtype=pl.String)}), {"words": table}, {}
    ).is_empty()


def counted(ids, **more):
    """What a BalanceProbability looks at, and the counts."""
    row = pl.DataFrame({"e.ids": pl.Series([ids], dtype=pl.List(pl.UInt32)), **more})
    language = more["e.language"] if more else [None]
    every = pl.DataFrame(
        {"e.ids": pl.Series([[0, 1], [1], [1]], dtype=pl.List(pl.UInt32)), "e.language": language * 3},
        schema_overrides={"e.language": pl.String},
    )
    stat = EntryCount(entries="e.ids", languages="e.language" if more else "")
    return row, {"counts": stat.finish(stat.merge(stat.partial(every)))}


def test_entries_with_their_counts(tmp_path):
    path = tmp_path / "list.json"
    path.write_text(json.dumps(["red dog", "dog"]))
    operator = BalanceProbability(entries="e.ids", counts="counts", t=1)
    row, stats = counted([0, 1])
    match = EntryMatch(metadata=str(path))
    assert operator.evidence(row, stats, {"e": match}).rows() == [("red dog", 1), ("dog", 3)]
    assert operator.evidence(row, stats, {}).rows() == [(0, 1), (1, 3)]
    gone = EntryMatch(metadata=str(tmp_path / "gone.json"))
    assert operator.evidence(row, stats, {"e": gone}).rows() == [(0, 1), (1, 3)]
    for none in ([], None):
        assert operator.evidence(counted(none)[0], stats, {"e": match}).is_empty()


def test_entries_of_a_language(tmp_path):
    for language, names in (("en", ["red dog", "dog"]), ("de", ["roter Hund", "Hund"])):
        (tmp_path / f"{language}.json").write_text(json.dumps(names))
    lists = {language: str(tmp_path / f"{language}.json") for language in ("en", "de")}
    match = EntryMatch(metadata=lists, languages="caption.language")
    operator = BalanceProbability(entries="e.ids", counts="counts", languages="e.language", t=1)
    row, stats = counted([1, 0], **{"e.language": ["de"]})
    assert operator.evidence(row, stats, {"e": match}).rows() == [("roter Hund", 1), ("Hund", 3)]

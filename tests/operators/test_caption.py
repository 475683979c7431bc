"""Lengths, language and frame of a sample, on rows worked out by hand."""

import polars as pl
import pytest

from operators.caption import SHOWN, Caption
from pipeline.operator import Device
from tests.support.samples import samples


@pytest.fixture(scope="module")
def caption() -> Caption:
    made = Caption()
    made.setup({}, Device())
    return made


def rows(caption: Caption, texts, **columns) -> pl.DataFrame:
    columns.setdefault("image_length", [1] * len(texts))
    return caption.score(samples(len(texts), text=texts, **columns))


@pytest.mark.parametrize(
    ("text", "characters", "words"),
    [
        ("a dog", 5, 2),
        (" a  dog\n", 8, 2),
        ("été", 3, 1),  # characters, not bytes
        ("沙滩上的狗", 5, 1),
        ("🐶 🏖", 3, 2),
        ("a\u00a0b", 3, 2),  # a no-break space parts words too
        ("", 0, 0),
        ("   ", 3, 0),
        (None, None, None),
    ],
)
def test_lengths(caption, text, characters, words):
    row = rows(caption, [text]).row(0, named=True)
    assert (row["characters"], row["words"]) == (characters, words)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("A black dog runs along the beach with a stick in its mouth.", "en"),
        ("Ein schwarzer Hund läuft mit einem Stock im Maul am Strand entlang.", "de"),
        ("一只黑色的狗叼着棍子在沙滩上奔跑。", "zh"),
        ("A black dog\nruns along\n\nthe beach\twith a stick.", "en"),  # fasttext reads one line
        ("A black dog runs along the beach 🐶🏖", "en"),
    ],
)
def test_language(caption, text, language):
    row = rows(caption, [text]).row(0, named=True)
    assert row["language"] == language
    assert 0.5 < row["language_probability"] <= 1
    assert row["error"] is None


@pytest.mark.parametrize("text", ["12345", "!!! --- ???", "🐶🏖", "$ 9.99", "", "  ", None])
def test_no_letter_no_language(caption, text):
    row = rows(caption, [text]).row(0, named=True)
    assert (row["language"], row["language_probability"]) == (None, None)
    reason = "no caption" if text is None else "no letter in the caption" if text.strip() else "empty caption"
    assert row["error"] == reason


def test_a_probability_never_exceeds_one():
    """fasttext's softmax goes past 1 by some 1e-5."""

    class Sure:
        def detect(self, text, k):
            return [{"lang": "en", "score": 1.00003}]

    made = Caption()
    made._detector = Sure()
    assert rows(made, ["a dog"])["language_probability"].to_list() == [1.0]


@pytest.mark.parametrize("letter", ["a", "ª", "ǅ", "ー", "ℵ", "𝒳", "ا", "\u0345"])  # noqa: RUF001
def test_any_letter_will_do(caption, letter):
    row = rows(caption, [letter]).row(0, named=True)
    assert (row["language"] is None) == (row["language_probability"] is None)


def test_lone_surrogates_do_not_stop_the_detector(caption):
    """Arrow strings cannot hold them; the guard is for whoever calls with Python strings."""
    assert caption._language("a black dog \ud800 on the beach") == caption._language(
        "a black dog on the beach"
    )
    assert caption._language("\ud800\udfff") == (None, None)


def test_a_very_long_caption(caption):
    text = "a black dog runs along the beach " * 3200
    row = rows(caption, [text]).row(0, named=True)
    assert (row["characters"], row["words"]) == (len(text), 7 * 3200)
    assert len(text) > 100_000
    assert row["language"] == "en"
    head = rows(caption, [text[:SHOWN]]).row(0, named=True)
    assert row["language_probability"] == head["language_probability"]


@pytest.mark.parametrize(
    ("width", "height", "side", "aspect"),
    [
        (640, 480, 480, 4 / 3),
        (480, 640, 480, 4 / 3),
        (200, 200, 200, 1),
        (60_000, 20_000, 20_000, 3),
        (None, 480, None, None),
        (480, None, None, None),
        (None, None, None, None),
        (0, 480, None, None),
    ],
)
def test_frame(caption, width, height, side, aspect):
    row = rows(caption, ["a dog"], width=[width], height=[height]).row(0, named=True)
    assert row["side"] == side
    assert row["aspect"] == (None if aspect is None else pytest.approx(aspect, rel=1e-7))


@pytest.mark.parametrize(
    ("text", "width", "image_length", "error"),
    [
        ("a dog", 24, 100, None),
        (None, 24, 100, "no caption"),
        ("", 24, 100, "empty caption"),
        (" \n\t", 24, 100, "empty caption"),
        ("a dog", None, 100, "image header cannot be read"),
        ("a dog", None, None, None),  # no image member at all: the caption is fine
        (None, None, 100, "no caption"),
    ],
)
def test_reasons(caption, text, width, image_length, error):
    row = rows(caption, [text], width=[width], image_length=[image_length]).row(0, named=True)
    assert row["error"] == error
    assert (row["characters"] is None) == (text is None)


def test_real_captions(caption, data):
    """2,000 real alt-texts and captions: mostly English, all with lengths."""
    import csv
    import gzip

    with gzip.open(data / "captions.tsv.gz", "rt", encoding="utf-8", newline="") as file:
        texts = [
            line[2]
            for line, _ in zip(
                csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE), range(2000), strict=False
            )
        ]
    found = rows(caption, texts)
    assert found["characters"].to_list() == [len(text) for text in texts]
    assert found["words"].to_list() == [len(text.split()) for text in texts]
    assert found["language_probability"].is_between(0, 1).all()
    assert (found["language"] == "en").mean() > 0.8

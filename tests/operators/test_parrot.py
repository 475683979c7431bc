"""Co-embedded text rates, by hand and by their laws; what masking does; the figures of a pool."""

import random
from fractions import Fraction

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from jobs.toy.sample_pool import SIGNS
from jobs.toy.scenes import describe, random_scene
from operators.parrot import FIGURES, CoEmbeddedText, MaskEffect, TextFigures, co_embedded
from pipeline.errors import RecipeError
from pipeline.operator import Device
from pipeline.recipe.lookup import build
from pipeline.recipe.sections import Entry
from pipeline.run.stage.runner import StageRunner
from tests.support.samples import samples

WORDS = pl.List(pl.String)
BOXES = pl.List(pl.List(pl.Float32))


def spotted(texts: list[str | None], words: list[list[str] | None], **columns: pl.Series) -> pl.DataFrame:
    given = {"text": pl.Series(texts, dtype=pl.String), "text.words": pl.Series(words, dtype=WORDS)}
    return pl.DataFrame({**given, **columns})


def parrots(texts: list[str | None], words: list[list[str] | None], **fields: float) -> pl.DataFrame:
    return CoEmbeddedText(words="text.words", **fields).score(spotted(texts, words))


@pytest.mark.parametrize(
    ("caption", "words", "rate", "fuzzy", "shared"),
    [
        ("a red car", [], 0, 0, []),
        ("a red car", ["red", "car"], 2 / 3, 2 / 3, ["red", "car"]),
        ("a red car", ["car", "of red", "red"], 2 / 3, 2 / 3, ["red", "car"]),  # lines; caption order
        ("car car a car", ["car", "car"], 1 / 2, 1 / 2, ["car"]),  # each word counts once
        ("A red Car", ["a", "car"], 0, 0, []),  # with its case; one letter of three is too much
        ("SALE now", ["SALE!", "Sale"], 0, 1 / 2, []),  # SALE! is 1 edit in 5, Sale 3 in 4
        ("SALE! now", ["SALE!"], 1 / 2, 1 / 2, ["SALE!"]),  # with its punctuation
        ("Summer sale", ["Sumner", "sail"], 0, 1 / 2, []),  # 1 edit in 6; 2 in 4
        ("dogs", ["dog"], 0, 1, []),  # 1 in 4, the least
        ("dog", ["dot"], 0, 0, []),
        ("skyscraper", ["skyscapes"], 0, 1, []),  # 2 in 10
        ("skyscraper", ["skyscope"], 0, 0, []),  # 3 in 10
        ("\u72d7 \u5e97", ["\u72d7"], 1 / 2, 1 / 2, ["\u72d7"]),
        ("a\u00a0dog\non", ["dog"], 1 / 3, 1 / 3, ["dog"]),
        ("a red car", ["", " "], 0, 0, []),
    ],
)
def test_rates_by_hand(caption, words, rate, fuzzy, shared):
    (row,) = parrots([caption], [words]).rows(named=True)
    assert row["rate"] == pytest.approx(rate)
    assert row["fuzzy_rate"] == pytest.approx(fuzzy)
    assert row["words"] == shared
    assert row["error"] is None


def test_missing_inputs():
    found = parrots(["a car", None, "", " \n\x1f", "a car"], [None, ["a"], ["a"], [], ["a"]])
    assert found["rate"].to_list() == [None, None, 0, 0, 0.5]
    assert found["fuzzy_rate"].to_list() == [None, None, 0, 0, 0.5]
    assert found["words"].to_list() == [None, None, [], [], ["a"]]
    assert found["boxes"].null_count() == 5
    assert found["error"].to_list() == [None, "no caption", "empty caption", "empty caption", None]


def test_the_reason_of_a_text_result_that_is_missing():
    entry = Entry("parrot.CoEmbeddedText", CoEmbeddedText(words="text.words"))
    frame = samples(2, text=["a", "b"]).with_columns(
        pl.Series("text.words", [None, ["b"]], WORDS), pl.Series("text.error", ["not a JPEG", None])
    )
    result, _ = StageRunner({"parrot": entry}, {}, Device(), 8).run(frame, None)
    assert result["parrot.rate"].to_list() == [None, 1]
    assert result["parrot.error"].to_list() == ["not a JPEG", None]


def test_boxes_of_lines_with_a_co_embedded_word():
    boxes = [[[float(line)] * 8 for line in range(3)], [], None, [[9.0] * 8], [[1.0] * 8]]
    words = [["big red", "SALE", "car"], [], None, ["x"], ["red"]]
    frame = spotted(["a red car"] * 4 + [None], words, **{"text.boxes": pl.Series(boxes, dtype=BOXES)})
    found = CoEmbeddedText(words="text.words", boxes="text.boxes").score(frame)
    assert found["boxes"].dtype == BOXES
    assert found["boxes"].to_list() == [[[0.0] * 8, [2.0] * 8], [], None, [], None]


SMALL = st.text("abAB", min_size=1, max_size=6)
LINES = st.lists(st.lists(SMALL, min_size=1, max_size=3).map(" ".join), max_size=6)
CAPTION = st.lists(SMALL, max_size=8).map(" ".join)


@settings(max_examples=300)
@given(CAPTION, LINES, st.sampled_from([0.2, 0.4, 0.5, 0.6, 0.75, 0.8, 1.0]), st.randoms())
def test_laws_of_rates(caption, lines, similarity, rng):
    (row,) = parrots([caption], [lines], similarity=similarity).rows(named=True)
    words, known = set(caption.split()), set(" ".join(lines).split())
    assert row["rate"] == pytest.approx(len(words & known) / max(1, len(words)))
    assert row["words"] == [word for word in dict.fromkeys(caption.split()) if word in known]
    near = [word for word in words if any(similar(word, other, similarity) for other in known)]
    assert row["fuzzy_rate"] == pytest.approx(len(near) / max(1, len(words)))
    assert row["rate"] <= row["fuzzy_rate"] <= 1
    shuffled = rng.sample(lines, len(lines))
    assert parrots([caption], [shuffled], similarity=similarity).rows(named=True) == [row]


def similar(one: str, two: str, similarity: float) -> bool:
    longest = max(len(one), len(two))
    return Fraction(longest - Levenshtein.distance(one, two), longest) >= Fraction(str(similarity))


def test_a_similarity_of_one_is_the_exact_rate():
    found = parrots(["SALE now", "dogs on ice"], [["SALE!", "now"], ["dog"]], similarity=1)
    assert found["rate"].equals(found["fuzzy_rate"].alias("rate"))


@pytest.mark.parametrize(
    ("length", "edits", "similarity"), [(5, 1, 0.8), (5, 4, 0.2), (10, 9, 0.1), (20, 3, 0.85)]
)
def test_the_bound_itself_counts(length, edits, similarity):
    """1 - 4/5 is not 0.2 in binary."""
    other = "a" * (length - edits) + "b" * edits
    assert co_embedded(["a" * length], [other], similarity) == ([], 1)
    assert co_embedded(["a" * length], [other + "b"], similarity) == ([], 0)


@pytest.mark.parametrize("similarity", [0, -0.1, 1.01, float("nan")])
def test_similarity_is_a_share(similarity):
    with pytest.raises(RecipeError, match=r"similarity"):
        build("parrot", {"use": "parrot.CoEmbeddedText", "words": "w.words", "similarity": similarity}, ())


def test_parrots_rank_first():
    """Pictures that show their caption, or most of it, and pictures that show a sign."""
    rng = random.Random(0)
    captions = [describe(random_scene(rng), rng) for _ in range(300)]
    parts = [c.split() if rng.random() < 0.7 else c.split()[: round(0.75 * len(c.split()))] for c in captions]
    found = parrots(
        [*captions, *captions], [*([" ".join(p)] for p in parts), *([rng.choice(SIGNS)] for _ in captions)]
    )
    shown, sign = found["fuzzy_rate"][:300], found["fuzzy_rate"][300:]
    assert found["rate"][:300].min() > 0.6
    assert sign.max() < shown.min()
    assert sign.mean() < 0.01


# --- what masking does -----------------------------------------------------------------------------


def test_effects_by_hand():
    scores = pl.DataFrame(
        {
            "clip.score": [0.3, 0.2, None, 0.3],
            "m.score": [0.25, 0.25, 0.1, None],
            "c.score": [0.2, None, 0.1, 0.3],
        },
        schema=dict.fromkeys(("clip.score", "m.score", "c.score"), pl.Float32),
    )
    found = MaskEffect(plain="clip.score", all="m.score", co_embedded="c.score").score(scores)
    assert found["rsa"].to_list() == [pytest.approx(0.05), pytest.approx(-0.05), None, None]
    assert found["rsc"].to_list() == [pytest.approx(0.1), None, None, 0]
    alone = MaskEffect(plain="clip.score", all="m.score").score(scores)
    assert alone["rsa"].equals(found["rsa"])
    assert alone["rsc"].null_count() == 4
    assert alone.dtypes == [pl.Float32, pl.Float32]


# --- figures ---------------------------------------------------------------------------------------

STAT = TextFigures(words="text.words", rate="parrot.rate", fuzzy_rate="parrot.fuzzy_rate")


def pool() -> pl.DataFrame:
    """Six images, four with text; one has no caption, one could not be read."""
    frame = spotted(
        ["a red car", "SALE now", "a b c", None, "a dog", "x"],
        [["red", "car"], ["SALE!"], ["zzz"], ["b"], [], None],
    )
    return frame.hstack(CoEmbeddedText(words="text.words").score(frame).rename(lambda name: f"parrot.{name}"))


def table(frame: pl.DataFrame) -> pl.DataFrame:
    parts = [STAT.partial(frame[row : row + 1]) for row in range(len(frame))]
    return STAT.finish(STAT.merge(pl.concat([STAT.partial(frame.clear()), *parts])))


def test_figures_by_hand():
    """Rates 2/3, 0, 0, null, 0, null; fuzzy 2/3, 1/2, 0, null, 0, null."""
    assert dict(table(pool()).iter_rows()) == dict(
        zip(FIGURES, [5, 4, 4, 3, 1, 666_667, 1_166_667], strict=True)
    )
    assert table(pool()).dtypes == [pl.String, pl.Int64]


def test_figures_before_and_after_a_decision():
    kept = pool().filter((pl.col("parrot.rate") == 0).fill_null(False))
    summary = STAT.compare(table(pool()), table(kept), {})["summary"]
    assert summary.columns == ["figure", "before", "after"]
    assert {figure: (before, after) for figure, before, after in summary.iter_rows()} == {
        "images": (5, 3),
        "images with text, share": (4 / 5, pytest.approx(2 / 3)),
        "parrot captions, share": (1 / 4, 0),
        "mean rate": (pytest.approx(1 / 6, abs=1e-6), 0),
        "mean rate, images with text": (pytest.approx(2 / 9, abs=1e-6), 0),
        "mean fuzzy rate": (pytest.approx(7 / 24, abs=1e-6), pytest.approx(1 / 6)),
        "mean fuzzy rate, images with text": (pytest.approx(7 / 18, abs=1e-6), 1 / 4),
    }


def test_figures_of_nothing():
    summary = STAT.compare(table(pool()), table(pool().clear()), {})["summary"]
    assert summary["after"].to_list() == [0, *[None] * 6]

"""Word frequencies and the score made of them: the golden values (GOLDENS.md), laws, before and after."""

import csv
import gzip
import itertools
import math
from collections import Counter

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from pydantic import ValidationError

from operators.wfpp import WordFrequency, WordFrequencyScore
from pipeline.operator import Device
from tests.operators.test_wfpp_words import restated, split
from tests.support.samples import samples
from tests.support.sizes import either

GOLDEN = {"a": 1_000_000, "photo": 400_000, "dog": 50_000, "okapi": 30, "rare": 10}  # of 10,000,000


def table(counts) -> pl.DataFrame:
    return pl.DataFrame(
        list(counts.items()), schema={"word": pl.String, "count": pl.UInt64}, orient="row"
    ).sort("count", "word", descending=[True, False])


def counted(texts, **fields) -> pl.DataFrame:
    made = WordFrequency(**fields)
    return made.finish(made.merge(made.partial(samples(len(texts), text=texts))))


def scored(counts, texts, **fields) -> pl.DataFrame:
    made = WordFrequencyScore(frequency="words", **fields)
    made.setup({"words": table(counts)}, Device())
    return made.score(samples(len(texts), text=texts))


def golden(texts, **fields) -> list[float]:
    rest = 10_000_000 - sum(GOLDEN.values())
    return scored({**GOLDEN, "everything-else": rest}, texts, **fields)["score"].to_list()


# --- counts ----------------------------------------------------------------------------------------


def test_counts():
    found = counted(["A dog, a cat", "a dog's dog", None, "", "\x00"], minimum_count=1)
    assert found.rows() == [("a", 3), ("dog", 3), ("'s", 1), (",", 1), ("cat", 1)]
    assert found.schema == {"word": pl.String, "count": pl.UInt64}


def test_rare_words_are_dropped():
    texts = ["five four"] * 4 + ["five"]
    assert counted(texts).rows() == [("five", 5)]
    assert counted(texts, minimum_count=4).rows() == [("five", 5), ("four", 4)]
    assert counted(texts, minimum_count=6).rows() == []


def test_the_floor_is_on_the_sum_not_on_a_part():
    made = WordFrequency()
    parts = [made.partial(samples(1, text=["okapi"])) for _ in range(5)]
    assert made.finish(made.merge(pl.concat(parts))).rows() == [("okapi", 5)]


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.lists(st.sampled_from(["a", "dog", "Dog's", "1", None]), max_size=9), min_size=1, max_size=6)
)
def test_counts_are_those_of_a_counter(batches):
    made = WordFrequency(minimum_count=2)
    parts = [made.partial(samples(len(texts), text=texts)) for texts in batches]
    found = made.finish(made.merge(pl.concat([made.merge(pl.concat(parts[:2])), *parts[2:]])))
    plain = Counter(w for texts in batches for t in texts if t is not None for w in restated(t))
    expected = sorted(((w, n) for w, n in plain.items() if n >= 2), key=lambda row: (-row[1], row[0]))
    assert found.rows() == expected


# --- score -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("a photo a dog", 0.00200828),
        ("okapi", 0.18257419),
        ("a okapi", 0.09169581),
        ("okapi a", 0.09169581),
        ("a photo a okapi", 0.04637453),
        ("dog okapi", 0.09311491),
        ("rare", 0.31622777),
        ("unseen", 0.0),
        ("a", 0.001),
        ("photo", 1 - 0.998419),
        ("dog", 1 - 0.995528),
        ("A  DOG", (1 - 0.999 * (1 - math.sqrt(1e-7 / 5e-3))) / 2),
    ],
)
def test_golden_values(text, score):
    digits = 5e-7 if text in ("photo", "dog") else 5e-9
    assert golden([text]) == [pytest.approx(score, abs=digits)]


def test_words_rarer_than_t_count_for_nothing():
    assert golden(["rare"], t=1e-6) == [1.0]  # P is 0 where f = t
    assert golden(["rare"], t=1.1e-6) == [0.0]  # and below 0 where f < t
    assert golden(["a rare"], t=1.1e-6)[0] == golden(["a unseen"], t=1.1e-6)[0] > 0


def test_unknown_words_lengthen():
    one, two = golden(["okapi", "okapi unseen"])
    assert two == one / 2


def test_the_first_words_count():
    head = "photo " * 29
    assert golden([head + "okapi dog rare"]) == golden([head + "okapi"])
    assert golden(["a okapi dog"], first=2) == golden(["a okapi"])
    assert golden(["photo " * 1000]) == golden(["photo " * 30])
    assert golden(["photo " * 30]) == [
        pytest.approx((1 - (1 - math.sqrt(1e-7 / 0.04)) ** 30) / 30, rel=1e-12)
    ]


def test_without_normalisation():
    plain, normal = golden(["a photo a okapi"], normalise=False)[0], golden(["a photo a okapi"])[0]
    assert plain == pytest.approx(4 * normal, rel=1e-15)
    assert plain == pytest.approx(0.18549812, abs=2e-8)


def test_rare_and_short_first():
    order = ["rare", "okapi", "dog okapi", "a okapi", "a photo a okapi", "a photo a dog", "a", "unseen"]
    values = golden(order)
    assert values == sorted(values, reverse=True)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.sampled_from([*GOLDEN, "unseen", "twin", "dog"]), min_size=1, max_size=30), st.randoms())
def test_the_same_words_tie_whatever_their_order(words, random):
    shuffled = random.sample(words, len(words))
    twins = ["twin" if word == "okapi" else word for word in shuffled]  # as frequent as okapi
    counts = {**GOLDEN, "twin": GOLDEN["okapi"]}
    assert scored(counts, [" ".join(w) for w in (words, shuffled, twins)])["score"].n_unique() <= 1 + (
        "twin" in words
    )


@settings(deadline=None, max_examples=100)
@given(
    st.dictionaries(st.sampled_from("abcdefg"), st.integers(1, 10**9), max_size=7),
    st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=40), max_size=8),
    st.floats(1e-9, 1),
)
def test_scores_are_those_of_the_formula(counts, captions, t):
    def p(word: str) -> float:
        value = 1 - math.sqrt(t / (counts[word] / sum(counts.values()))) if word in counts else 1
        return 1 if value < 0 else value

    expected = [(1 - math.prod(map(p, words[:30]))) / len(words[:30]) if words else 0.0 for words in captions]
    found = scored(counts, [" ".join(words) for words in captions], t=t)["score"]
    assert found.to_list() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert found.is_between(0, 1).all()


@pytest.mark.parametrize(
    ("text", "score", "error"),
    [
        ("", 0.0, "empty caption"),
        (" \n", 0.0, "empty caption"),
        ("\x00", 0.0, "empty caption"),
        (None, None, "no caption"),
        ("unseen", 0.0, None),
        ("\u200b", 0.0, None),  # no letter, but no space either: a word that no table has
    ],
)
def test_reasons(text, score, error):
    assert scored(GOLDEN, ["a", text, "dog"])[1].rows() == [(score, error)]


def test_an_empty_table():
    assert scored({}, ["a dog", None, ""])["score"].to_list() == [0.0, None, 0.0]


def test_a_table_in_any_order():
    made = WordFrequencyScore(frequency="words")
    made.setup({"words": table(GOLDEN).sort("word", descending=True)}, Device())
    frame = samples(2, text=["a okapi", "dog"])
    assert_frame_equal(made.score(frame), scored(GOLDEN, ["a okapi", "dog"]), check_exact=True)


@pytest.mark.parametrize("fields", [{"t": 0}, {"t": -1}, {"t": math.inf}, {"first": 0}, {"minimum_count": 1}])
def test_bounds(fields):
    with pytest.raises(ValidationError):
        WordFrequencyScore(frequency="words", **fields)


def test_floor_bounds():
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        WordFrequency(minimum_count=0)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("A dog's ball. " * 8_000, 40_000),
        ("x" * 100_000, 1),
        ("1" * 100_000, 100_000),
        ("\x00" * 100_000, 0),
        ("🐶" * 100_000, 1),
        ("ก็" * 50_000, 100_000),
        ("a" + "\u0301\u0323" * 50_000, 2),  # ftfy alone: 16 seconds
        ("É dog " * 17_000, 34_000),
        ("&" + "amp;" * 25_000, 48_999),  # ftfy alone: 38 seconds; a & at the head of the first piece only
        ("a &#" + "1" * 5_000, 5_002),  # a number that Python refuses
    ],
)
def test_very_long_captions(text, count):
    assert len(split([text])[0]) == count
    assert scored({"a": 5}, [text])["score"].is_between(0, 1).all()


# --- before and after ------------------------------------------------------------------------------


def compared(before, after) -> dict[str, pl.DataFrame]:
    return dict(WordFrequency().compare(table(before), table(after), {}))


def test_summary():
    before = {"a": 50, "b": 30, **{f"w{i:02}": 1 for i in range(20)}}
    found = compared(before, {"a": 10, "b": 30})["summary"]
    assert found.columns == ["figure", "before", "after"]
    assert found.rows() == [
        ("distinct words", 22, 2),
        ("words", 100, 40),
        ("mean count", pytest.approx(100 / 22), 20),
        ("share of the 10 most frequent", pytest.approx(0.88), 1),
        ("share of the 100 most frequent", 1, 1),
        ("share of the 1000 most frequent", 1, 1),
    ]


def test_ranks():
    before = {f"w{i:03}": 200 - i for i in range(100)}
    found = compared(before, {"w001": 1, "w002": 3})["ranks"]
    assert found["rank"].to_list() == [1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 32, 40, 50, 63, 79, 100]
    total = sum(before.values())
    assert found["before"].to_list() == [pytest.approx((201 - r) / total) for r in found["rank"].to_list()]
    assert found["after"].to_list() == [0.75, 0.25, *[None] * 16]  # by its own ranks


def test_reduced():
    names = [f"w{i:02}" for i in range(80)]
    before = {name: 100 + i for i, name in enumerate(names)} | {"seldom": 99}
    kept = {name: i for i, name in enumerate(names) if i} | {"seldom": 1}
    found = compared(before, kept)["reduced"]
    assert found.columns == ["word", "before", "after", "kept"]
    assert found["word"].to_list() == names[:30] + names[50:]
    assert found.row(0) == ("w00", 100, 0, 0.0)
    assert found.row(59) == ("w79", 179, 79, pytest.approx(79 / 179))


def test_reduced_ties_show_the_most_frequent():
    before = {f"w{i:02}": 200 - i for i in range(90)}
    words = compared(before, before)["reduced"]["word"].to_list()
    assert words == [f"w{i:02}" for i in (*range(30), *reversed(range(30, 60)))]


@pytest.mark.parametrize("after", [{}, {"a": 100}])
def test_compare_few_words(after):
    found = compared({"a": 100}, after)
    assert found["reduced"].rows() == [("a", 100, len(after) * 100, float(len(after)))]
    assert found["ranks"].rows() == [(1, 1.0, 1.0 if after else None)]
    nothing = compared({}, {})
    assert nothing["summary"]["after"].to_list() == [0, 0, None, None, None, None]
    assert nothing["ranks"].rows() == [(1, None, None)]
    assert nothing["reduced"].is_empty()


# --- real captions ---------------------------------------------------------------------------------


def test_real_captions(data):
    """Counts and scores of many of the 120,000 against a plain recount."""
    with gzip.open(data / "captions.tsv.gz", "rt", encoding="utf-8", newline="") as file:
        texts = [line[2] for line in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]
    assert len(texts) > 100_000
    texts = texts[:: either(6, 1)]
    words = [restated(text) for text in texts]
    expected = {w: n for w, n in Counter(itertools.chain(*words)).items() if n >= 5}
    frame, made = samples(len(texts), text=texts), WordFrequency()
    parts = [made.partial(frame[i : i + 7_001]) for i in range(0, len(texts), 7_001)]
    assert dict(made.finish(made.merge(pl.concat(parts))).iter_rows()) == expected
    total = sum(expected.values())
    p = {w: 1 if n / total < 1e-7 else 1 - math.sqrt(1e-7 * total / n) for w, n in expected.items()}
    scores = [(1 - math.prod(p.get(w, 1) for w in ws[:30])) / max(1, len(ws[:30])) for ws in words]
    assert scored(expected, texts)["score"].to_list() == pytest.approx(scores, rel=1e-9, abs=1e-12)

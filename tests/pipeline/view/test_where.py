"""Conditions on samples: what they mean, what is refused and why, and the choice among many."""

import math

import polars as pl
import pytest

from pipeline.decide.decide import decide
from pipeline.errors import RecipeError
from pipeline.uids import draw
from pipeline.view.rows import frames
from pipeline.view.where import EVERY, count_and_choose, parse
from tests.support.samples import uid

FRAMES = {
    "a": pl.DataFrame(
        {
            "f32": [0.1, 0.5, math.nan, 0.9, 0.9],
            "u32": [1, 5, 5, 9, None],
            "word": ["en", "de", None, "a \"b'", "en"],
            "flag": [True, False, None, True, True],
        }
    ),
    "b": pl.DataFrame({"f32": [0.2, 0.8], "u32": [9, 2], "error": [None, "no image: gone"]}),
}
KEEP = {
    "given.f32": {"min": 0.4},
    "few and far": {"column": "given.u32", "max": 5},
    "given.word": {"among": ["en", "de"], "missing": "keep"},
}
A, B = "a", "b"


@pytest.fixture
def session(stored):
    made = stored(FRAMES, KEEP)
    decide(made)
    return made


def chosen(session, text):
    """`a0`, `b1`, ... of the samples that a condition is true of."""
    condition = parse(text, session)
    found = []
    for frame in frames(session, list(condition.columns)):
        mask = frame.select(keep=condition.expr)["keep"]
        assert not mask.null_count()
        found += [f"{shard}{row}" for shard, row in frame.filter(mask).select("shard", "row").iter_rows()]
    return " ".join(found)


# Worked out by hand from FRAMES and KEEP: a0 fails f32; a1 is kept; a2 has no f32; a3 fails "few and far" and
# word; a4 has no u32; b0 fails f32 and "few and far"; b1 is kept
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kept", "a1 b1"),
        ("dropped", "a0 a3 b0"),
        ("failed", "a2 a4"),
        ("not kept", "a0 a2 a3 a4 b0"),
        ("dropped by given.f32", "a0 b0"),
        ("dropped by few and far", "a3 b0"),
        ("dropped by 'few and far'", "a3 b0"),
        ("dropped only by given.f32", "a0"),
        ("dropped first by few and far", "a3"),
        ("failed at given.f32", "a2"),
        ("failed at few and far", "a4"),
        ("failed at given.word", ""),
        ("dropped by few and far and passes given.f32", "a3"),
        ("passes given.word", "a0 a1 a4"),
        ("no value for given.word", "a2 b0 b1"),
        ("given.u32 < 5", "a0 b1"),
        ("given.u32 <= 5.0", "a0 a1 a2 b1"),
        ("given.u32 > -1", "a0 a1 a2 a3 b0 b1"),
        ("given.u32 >= 1e3 or given.u32==1", "a0"),
        ("not given.u32 < 5", "a1 a2 a3 a4 b0"),
        ("given.f32 > 0.85", "a3 a4"),
        ("given.f32 is missing", "a2"),
        ("given.f32 is not missing and given.f32 != 0.5", "a0 a3 a4 b0 b1"),
        ('given.word == "en" AND NOT (given.u32 is missing)', "a0"),
        ("given.word contains '\"b'", "a3"),
        ("given.word < 'e'", "a1 a3"),
        ("given.flag == true", "a0 a3 a4"),
        ("given.error contains 'gone' or given.u32 > 18446744073709551616", "b1"),
        ('text contains "number 4"', "a4"),
        (f"uid == \"{uid('b', 0)}\" or row == 3 and shard == 'a'", "a3 b0"),
        ("(kept or dropped) and ((failed))", ""),
    ],
)
def test_what_a_condition_means(session, text, expected):
    assert chosen(session, text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dropped by givn.f32", "where: givn.f32 is not a rule of the recipe (did you mean given.f32?)"),
        ("passes", "where: the condition breaks off; must go on with the name of a rule"),
        ("given.f23 < 4", "where: given.f23 is not a column of the recipe (did you mean given.f32?)"),
        ("droped", "where: droped is not a column of the recipe (did you mean dropped?)"),
        ("given.u32 < four", "where: must be a number (given.u32 holds numbers), got 'four' (character 13)"),
        ("given.word == en", "where: must be a text in quotes (given.word holds texts), got 'en' (character 15)"),
        ("given.flag == 1", "where: must be true or false, got '1' (character 15)"),
        ("given.u32 = 4", "where: must be <, <=, >, >=, == or !=, got '=' (character 11)"),
        ("given.u32 contains 'x'", "where: `contains` is for texts and lists of texts, and given.u32 holds UInt32"),
        ("kept and", "where: the condition breaks off; must go on with kept, dropped, failed, "
         "failed at, passes, no value for, not, a column"),
        ("(kept", "where: the condition breaks off; must go on with and, or, or a closing bracket"),
        ("kept dropped", "where: must be and, or, or the end, got 'dropped' (character 6)"),
        ("kept)", "where: must be and, or, or the end, got ')' (character 5)"),
        ("given.word == 'open", "where: \"'open\" is no part of a condition; a quote must be closed"),
        ("", "where: the condition breaks off; must go on with kept, dropped, failed, "
         "failed at, passes, no value for, not, a column"),
        ("__import__('os').system('true')", "where: __import__ is not a column of the recipe; there are: "),
        ("not " * 51 + "kept", "where: at most 50 brackets and nots may stand within each other"),
        ("kept or " * 1250 + "kept", "where: a condition has at most 10,000 characters, this one 10,004"),
    ],
)  # fmt: skip
def test_what_is_refused(session, text, message):
    with pytest.raises(RecipeError) as caught:
        parse(text, session)
    assert str(caught.value).startswith(message)


def choose(session, *args, **options):
    """The places alone."""
    return count_and_choose(session, *args, **options)[1]


def test_the_choice_follows_the_value_then_the_draw(session):
    assert choose(session, EVERY, 3, "given.f32") == [(A, 0), (B, 0), (A, 1)]
    tie = sorted([3, 4], key=lambda row: draw(0, pl.Series([uid("a", row)]))[0])
    assert choose(session, parse("given.f32 > 0.5", session), 9, "given.f32", descending=True) == [
        *((A, row) for row in tie),
        (B, 1),
    ]
    assert choose(session, EVERY, 9, "given.f32")[-1] == (A, 2)  # without a value
    assert choose(session, EVERY, 9, "given.f32", descending=True)[-1] == (A, 2)
    assert choose(session, EVERY, 9, "given.word")[:2] == [(A, 3), (A, 1)]


def test_the_choice_without_a_column_is_a_seeded_draw(session):
    places = [(A, row) for row in range(5)] + [(B, row) for row in range(2)]
    for seed in (0, 7):
        drawn = draw(seed, pl.Series([uid(shard, row) for shard, row in places]))
        expected = [places[at] for at in drawn.argsort()]
        assert choose(session, EVERY, 4, seed=seed) == expected[:4]
        assert choose(session, EVERY, 99, seed=seed) == expected


def test_what_cannot_be_sorted_by(session):
    with pytest.raises(RecipeError) as caught:
        choose(session, EVERY, 1, "given.f")
    assert str(caught.value).startswith("--sort: given.f is not a column of the recipe (did you mean given.f")


def test_a_column_that_is_not_computed_is_named(stored):
    made = stored({"a": FRAMES["a"]}, KEEP)
    decide(made)
    more = made.recipe.model_copy(
        update={"compute": {**made.recipe.compute, "more": made.recipe.compute["given"]}}
    )
    fresh = type(made)(more, made.shards, made.root)
    with pytest.raises(RecipeError, match=r"^compute\.more is not computed yet; run `winnow compute` first$"):
        choose(fresh, parse("more.f32 < 1", fresh), 1)

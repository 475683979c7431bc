"""Two cuts beside each other: counts worked out by hand, by place and by uid."""

import polars as pl
import pytest

from pipeline.decide.decide import decide
from pipeline.errors import RecipeError
from pipeline.plan.session import Session
from pipeline.recipe.load import load
from pipeline.view.comparison import compare as compare_module
from pipeline.view.comparison.compare import compare
from pipeline.view.comparison.pairs import PLACES, UIDS, by_place, by_uid, kept, matched_by
from pipeline.view.comparison.results import ABSENT, BoundPair, RuleLoss
from tests.support.decided_pool import sample, write_tar
from tests.support.opened_pool import computed, write_recipe

A = {"score": {"column": "given.f32", "min": 3}, "hint": {"column": "given.f64", "min": 1, "missing": "keep"}}
B = {"score": {"column": "given.f32", "max": 5}, "given.i64": {"min": 1}}
FRAME = pl.DataFrame(
    {
        #          kept by:  both  A      A      A     B   none  B
        "f32": [3.0, 6.0, 7.0, 4.0, 1.0, None, 2.0],
        "f64": [None, 1.0, 2.0, 1.0, 1.0, 1.0, 0.0],
        "i64": [1.0, 1.0, 0.0, None, 1.0, 1.0, 1.0],
    }
)


def sessions(stored, *rules):
    """A session per set of rules, over one store of two shards."""
    made = [stored({"00": FRAME.head(3), "01": FRAME.tail(4)}, keep) for keep in rules]
    for session in made:
        decide(session)
    return made


def test_each_side_loses_samples_to_the_rules_of_the_other(stored):
    a, b = sessions(stored, A, B)
    result, handfuls = compare(a, b)
    assert (result.matched_by, result.in_both, result.in_a, result.in_b) == (PLACES, 7, 0, 0)
    assert (result.a.kept, result.b.kept, result.kept_both) == (4, 3, 1)
    assert result.jaccard == pytest.approx(1 / 6)
    assert (result.only_a.samples, result.only_a.absent) == (3, 0)
    assert result.only_a.rules == {
        "score": RuleLoss("<= 5", first=2, fails=2, no_value=0, alone=1),
        "given.i64": RuleLoss(">= 1", first=1, fails=1, no_value=1, alone=1),
    }
    assert result.only_b.rules == {
        "score": RuleLoss(">= 3", first=2, fails=2, no_value=0, alone=1),
        "hint": RuleLoss(">= 1", first=0, fails=1, no_value=0, alone=0),
    }
    assert result.bounds == [
        BoundPair("score", "given.f32 >= 3", "given.f32 <= 5"),
        BoundPair("hint", "given.f64 >= 1", None),
        BoundPair("given.i64", None, ">= 1"),
    ]
    assert handfuls == []


def test_equal_cuts_have_no_difference(stored):
    a, b = sessions(stored, A, A)
    result, _ = compare(a, b)
    assert (result.only_a.samples, result.only_b.samples, result.jaccard) == (0, 0, 1.0)
    assert all(pair.a == pair.b for pair in result.bounds)


def test_cuts_that_keep_nothing_are_equal(stored):
    a, b = sessions(stored, {"given.f32": {"min": 99}}, {"given.f32": {"max": -99}})
    assert compare(a, b)[0].jaccard == 1.0


def test_a_cut_without_rules_keeps_all(stored):
    a, b = sessions(stored, {}, B)
    result, _ = compare(a, b)
    assert (result.a.kept, result.only_a.samples, result.only_b.samples) == (7, 4, 0)
    assert sum(rule.first for rule in result.only_a.rules.values()) == 4


@pytest.mark.parametrize("rows_at_once", [1, 2, 100])
def test_matching_by_uid_gives_the_same(stored, monkeypatch, rows_at_once):
    a, b = sessions(stored, A, B)
    expected = compare(a, b, pictures=2, seed=5)
    monkeypatch.setattr(compare_module, "pairs", lambda a, b, seed: by_uid(a, b, seed, rows_at_once))
    assert compare(a, b, pictures=2, seed=5) == expected


def test_a_handful_is_chosen_by_draws_from_each_rule(stored):
    a, b = sessions(stored, A, B)
    _, few = compare(a, b, pictures=1, seed=1)
    _, all_ = compare(a, b, pictures=9, seed=1)
    assert {hand.side: {rule: len(p) for rule, p in hand.places.items()} for hand in all_} == {
        "a": {"score": 2, "given.i64": 1},
        "b": {"score": 2},
    }
    assert sorted(all_[0].places["score"]) == [("00", 1), ("00", 2)]
    assert all_[0].places["given.i64"] == [("01", 0)]
    for hand, more in zip(few, all_, strict=True):
        assert hand.places == {rule: places[:1] for rule, places in more.places.items()}


def test_a_shard_that_one_side_lacks_counts_as_absent(stored):
    a, b = sessions(stored, A, A)
    fewer = b.over(b.shards[:1])
    decide(fewer)
    result, (hand, _) = compare(a, fewer, pictures=9)
    assert (result.matched_by, result.in_both, result.in_a, result.in_b) == (PLACES, 3, 4, 0)
    assert (result.only_a.samples, result.only_a.absent, result.kept_both) == (1, 1, 3)
    assert hand.places == {ABSENT: [("01", 0)]}
    turned, _ = compare(fewer, a)
    assert (turned.only_b, turned.in_b) == (result.only_a, 4)


def test_frames_hold_both_sides_and_no_uids_unless_they_are_drawn(stored):
    a, b = sessions(stored, A, B)
    frame = pl.concat(by_place(a, b, None))
    assert frame.columns == [
        *("a:shard", "a:row", "a:rule:score", "a:rule:hint", "a:fate"),
        *("b:shard", "b:row", "b:rule:score", "b:rule:given.i64", "b:fate"),
    ]
    assert frame.select(kept("a"), kept("b")).rows() == [
        *[(True, True), (True, False), (True, False), (True, False)],
        *[(False, True), (False, False), (False, True)],
    ]
    assert next(by_uid(a, b, 3)).columns == [*frame.columns, "draw"]


# --- pools of different shards ----------------------------------------------------------------------


def pool(folder, numbers, per_shard):
    """A recipe over samples with these numbers, which may repeat, in shards of so many."""
    for start in range(0, len(numbers), per_shard):
        files = []
        for position, number in enumerate(numbers[start : start + per_shard]):
            files += sample(number, key=f"{position:09d}", caption="no" if number % 3 == 2 else f"n {number}")
        write_tar(folder / "pool" / f"{start:05d}.tar", files)
    folder.mkdir(exist_ok=True)
    return computed(write_recipe(folder))


def session(path, *changes):
    return Session.open(load(str(path), changes))


def test_a_pool_in_other_shards_is_matched_by_uid(tmp_path):
    numbers = [0, 1, 2, 3, 4, 4, 5, 6]
    one = session(pool(tmp_path / "one", numbers, 8))
    two = session(pool(tmp_path / "two", [4, *reversed(numbers), 9], 3), "keep.caption.characters.min=1")
    assert matched_by(one, two) == UIDS
    result, handfuls = compare(one, two, pictures=9)
    assert (result.in_both, result.in_a, result.in_b) == (8, 0, 2)  # 4 occurs once more, and 9
    assert (result.kept_both, result.only_a.samples, result.only_b.samples) == (6, 0, 4)
    assert result.only_b.absent == 2
    assert result.only_b.rules["caption.characters"].first == 2  # 2 and 5, with captions of two characters
    assert len(handfuls[1].places[ABSENT]) == 2


def test_pools_without_a_common_sample_are_an_error_that_names_both(tmp_path):
    one = session(pool(tmp_path / "one", [0, 1], 2))
    two = session(pool(tmp_path / "two", [3, 4], 2))
    with pytest.raises(
        RecipeError, match=r"no sample in common.*A is over .*/one/pool .2.*B over .*/two/pool"
    ):
        compare(one, two, ("A", "B"))

"""Moment matching: weights by hand, what is possible, the bias before and after a decision."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import bias
from operators.algorithms.moment_matching import (
    association,
    largest_rate,
    moments,
    representation,
    weights,
)
from operators.bias import Mentions, MomentMatching, Patterns
from pipeline.decide.decide import decide
from pipeline.decide.effects import effects
from pipeline.errors import RecipeError
from pipeline.operator import Device
from pipeline.plan.session import Session
from pipeline.recipe.load import parse
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from tests.support.samples import uid

S, Y = np.array([[1.0], [1], [0], [0]]), np.array([[1.0], [0], [1], [0]])
SHARES = np.array([0.4, 0.3, 0.1, 0.2])
B = moments(S, Y, np.array([0.5]))
FIELDS = {"attributes": "a.yes", "labels": "b.yes"}


def solved(rate: float, most: float = 1, price: float = np.inf, bound: float = 0) -> np.ndarray:
    return weights(SHARES, B, np.full(2, bound), rate, most, price)


def biases(q: np.ndarray) -> list[float]:
    taken = SHARES * q
    return [abs(representation(taken, S)[0] - 0.5), abs(association(taken, S, Y)[0, 0])]


# --- the weights -----------------------------------------------------------------------------------


def test_the_bias_of_the_data():
    """70 of 100 have the attribute; 4/7 of them the label, 1/3 of the others."""
    assert biases(np.ones(4)) == pytest.approx([0.2, 0.238095], abs=1e-6)


@pytest.mark.parametrize(
    ("rate", "most", "expected"),
    [
        (0.4, 1, [0.2, 0.4, 0.8, 0.6]),
        (0.5, 1, [0.25, 0.5, 1, 0.75]),
        (0.6, 1, [0.25, 2 / 3, 1, 1]),
        (0.7, 2, [0.35, 0.7, 1.4, 1.05]),
        (0.9, 2, [0.45, 0.9, 1.8, 1.35]),
    ],
)
@pytest.mark.parametrize("price", [10, np.inf])
def test_weights_that_even_out_everything(rate, most, expected, price):
    q = solved(rate, most, price)
    assert q.tolist() == pytest.approx(expected, abs=1e-6)
    assert biases(q) == pytest.approx([0, 0], abs=1e-6)


@pytest.mark.parametrize(
    ("fields", "expected", "left"),
    [
        ((0.7, 1, 10), [0.25, 1, 1, 1], [0.071429, 0.083333]),
        ((0.9, 1, 10), [0.75, 1, 1, 1], [0.166667, 0.166667]),
        ((0.5, 1, 0.05), [0.4675, 0.4925, 0.5675, 0.5425], [0.1695, 0.215207]),
        ((0.5, 1, 10, 0.02), [0.318, 0.476, 0.872, 0.714], [0.04, 0.091981]),
        ((0.5, 1, np.inf, 0.02), [0.318, 0.476, 0.872, 0.714], [0.04, 0.091981]),
    ],
)
def test_weights_that_leave_some(fields, expected, left):
    q = solved(*fields)
    assert q.tolist() == pytest.approx(expected, abs=1e-6)
    assert biases(q) == pytest.approx(left, abs=1e-6)


def test_the_largest_rate():
    """2 x sum over the labels of the rarer side: 2 (10 + 20) / 100; with twice as many repeats twice that."""
    assert largest_rate(SHARES, B, np.zeros(2), 1) == pytest.approx(0.6)
    assert largest_rate(SHARES, B, np.zeros(2), 2) == pytest.approx(1.2)
    assert largest_rate(SHARES, B, np.full(2, 1.0), 1) == pytest.approx(1)
    assert largest_rate(np.array([1.0]), B[:1], np.zeros(2), 1) == 0


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(0, 4))
def test_any_pool_is_evened_out_at_a_possible_rate(seed, m, c):
    rng = np.random.default_rng(seed)
    yes = np.unique((rng.random((60, m + c)) < rng.uniform(0.2, 0.8, m + c)).astype(float), axis=0)
    shares = rng.dirichlet(np.ones(len(yes)))
    b = moments(yes[:, :m], yes[:, m:], np.full(m, 0.5))
    bounds = np.full(b.shape[1], 0.01)
    rate = 0.9 * largest_rate(shares, b, bounds, 1)
    q = weights(shares, b, bounds, rate, 1)
    assert ((q >= 0) & (q <= 1)).all()
    assert shares @ q == pytest.approx(rate, abs=1e-6)
    assert np.abs((shares * q) @ b).max(initial=0) < 0.01 + 1e-6


# --- operators -------------------------------------------------------------------------------------


def rows(counts=(40, 30, 10, 20)) -> pl.DataFrame:
    """Samples of the four patterns."""
    yes = [(1, 1), (1, 0), (0, 1), (0, 0)]
    pairs = [pair for pair, count in zip(yes, counts, strict=True) for _ in range(count)]
    return pl.DataFrame(
        {
            "uid": [uid("s", row) for row in range(len(pairs))],
            "a.yes": [bool(a) for a, _ in pairs],
            "b.yes": pl.Series([float(b) for _, b in pairs], dtype=pl.Float32),
        }
    )


def table(frame: pl.DataFrame) -> pl.DataFrame:
    made = Patterns(**FIELDS)
    return made.finish(made.merge(made.partial(frame)))


def matched(frame: pl.DataFrame, counted: pl.DataFrame | None = None, **fields) -> pl.DataFrame:
    made = MomentMatching(**FIELDS, patterns="patterns", **fields).model_copy()
    made.setup({"patterns": table(frame if counted is None else counted)}, Device())
    return made.score(frame)


def test_patterns_are_counted():
    assert table(rows()).rows() == [("00", 20), ("01", 10), ("10", 30), ("11", 40)]
    missing = rows().with_columns(pl.lit(None, pl.Boolean).alias("a.yes"))
    unknown = rows().with_columns(pl.lit(np.nan, pl.Float32).alias("b.yes"))
    assert table(missing).is_empty()
    assert table(unknown).is_empty()


def test_a_sample_gets_the_weight_of_its_pattern():
    exact = {"representation": 0, "association": 0}
    found = matched(rows(), rate=0.5, **exact)["weight"]
    assert [found[row] for row in (0, 40, 70, 80)] == pytest.approx([0.25, 0.5, 1, 0.75])
    repeats = matched(rows(), rate=0.9, most=2, **exact)["repeats"]
    assert set(repeats[70:80]) <= {1, 2}
    large = rows((4000, 3000, 1000, 2000))
    found = matched(large, rate=0.9, most=2, **exact)
    assert found["repeats"].mean() == pytest.approx(0.9, abs=0.02)
    assert found["weight"].mean() == pytest.approx(0.9, abs=1e-6)
    other = matched(large, rate=0.9, most=2, seed=1, **exact)["repeats"]
    assert not other.equals(found["repeats"])


def test_rows_without_a_pattern_have_no_weight():
    frame = rows().with_columns(pl.when(pl.int_range(100) < 99).then(pl.col("a.yes")).alias("a.yes"))
    found = matched(frame, rate=0.5)
    assert found["weight"].null_count() == found["repeats"].null_count() == 1
    assert matched(rows((1, 0, 0, 0)), rows((0, 5, 5, 5)), rate=0.1)["weight"].to_list() == [None]
    assert matched(frame, frame.clear())["weight"].null_count() == 100


def test_a_rate_that_is_not_possible_is_told_with_the_largest_that_is():
    exact = {"representation": 0, "association": 0}
    with pytest.raises(
        ValueError, match=r"^rate: at a rate of 0\.7 no weights .* largest possible rate is 0\.6"
    ):
        matched(rows(), rate=0.7, **exact)
    assert matched(rows(), rate=0.7, price=10, **exact)["weight"][0] == pytest.approx(0.25)


def test_too_many_patterns_are_refused(monkeypatch):
    monkeypatch.setattr(bias, "MOST_CELLS", 6)
    with pytest.raises(
        ValueError, match="has 4 patterns, must have at most 3 of so many attributes and labels"
    ):
        matched(rows(), rate=0.5)


def test_targets_of_ones_own():
    found = matched(rows(), rate=0.5, targets=[0.7], representation=0, association=1)
    assert found["weight"].to_list() == pytest.approx([0.5] * 100)


def test_mentions_by_hand(tmp_path):
    (tmp_path / "words.txt").write_text("woman\nFire  Fighter\n\n")
    made = Mentions(words=f"{tmp_path}/words.txt").model_copy()
    made.setup({}, Device())
    captions = ["A Woman, old", "a fire fighter", "womanly", "fire", None, "", "Woman."]
    found = made.score(pl.DataFrame({"text": captions}))
    assert found["mentioned"].to_list() == [True, True, False, False, None, False, True]
    assert found["error"].to_list() == [None] * 4 + ["no caption"] + [None] * 2
    (tmp_path / "empty.txt").write_text("\n")
    made = Mentions(words=f"{tmp_path}/empty.txt").model_copy()
    with pytest.raises(ValueError, match="must have a word or phrase per line, got none"):
        made.setup({}, Device())


# --- in a recipe -----------------------------------------------------------------------------------


def compute_section(folder: Path | str = ".", **fields) -> dict:
    names = {"attributes": "red.mentioned", "labels": ["circle.mentioned"]}
    return {
        "red": {"use": "bias.Mentions", "words": f"{folder}/red.txt"},
        "circle": {"use": "bias.Mentions", "words": f"{folder}/circle.txt"},
        "patterns": {"use": "bias.Patterns", **names},
        "matched": {"use": "bias.MomentMatching", **names, "patterns": "patterns", **fields},
    }


def test_a_planted_bias_is_gone_after_the_decision(write_pool, tmp_path):
    """One colour nearly always with one object: 300 red circles and 60 red squares, 60 blue circles and 180
    blue squares."""
    kinds = {"red circle": 300, "red square": 60, "blue circle": 60, "blue square": 180}
    write_pool([f"a {kind}" for kind, count in kinds.items() for _ in range(count)])
    for word in ("red", "circle"):
        (tmp_path / f"{word}.txt").write_text(word)
    fields = {"rate": 0.38, "representation": 0, "association": 0}
    recipe = {
        "pool": {"shards": f"{tmp_path}/pool", "store": f"{tmp_path}/store"},
        "compute": compute_section(tmp_path, **fields),
        "keep": {"matched.weight": {"chance": True}},
    }
    session = compute(Session.open(parse(recipe)), LocalExecutor()).session
    decide(session)
    found = effects(session, LocalExecutor()).tables["patterns"]
    assert found["summary"]["before"].to_list() == pytest.approx([600, 300 / 360 - 60 / 240])
    assert found["representation"].row(0)[1] == pytest.approx(0.6)
    assert found["representation"].row(0)[2] == pytest.approx(0.5, abs=0.05)
    assert found["association"].row(0)[:2] == ("red.mentioned", "circle.mentioned")
    assert abs(found["association"].row(0)[3]) < 0.1
    assert found["summary"]["after"][0] == pytest.approx(0.38 * 600, abs=25)


def test_effects_of_a_decision_that_keeps_nothing_of_a_side():
    before, after = table(rows()), table(rows((5, 5, 0, 0)))
    found = Patterns(**FIELDS).compare(before, after, {})
    assert found["association"]["after"].to_list() == [None]
    assert found["summary"]["after"].to_list() == [10, None]
    assert found["representation"]["after"].to_list() == [1]
    found = Patterns(**FIELDS).compare(before, before.clear(), {})
    assert found["representation"]["after"].to_list() == [None]
    alone = Patterns(attributes="a.yes", labels=()).compare(
        pl.DataFrame({"pattern": ["0", "1"], "count": [1, 3]}), before.clear(), {}
    )
    assert alone["representation"]["before"].to_list() == [0.75]
    assert alone["association"].is_empty()


def test_fields_that_do_not_go_together():
    pool = {"shards": "pool", "store": "store"}
    parse({"pool": pool, "compute": compute_section()})
    for fields, part in (
        ({"targets": [0.5, 0.5]}, "must have one of `targets`, or one for each of 1 attributes, got 2"),
        ({"targets": [1.0]}, "targets"),
        ({"rate": 1.5}, "must have a rate of at most `most` 1, got 1.5"),
        ({"labels": "red.mentioned"}, "must have each column once"),
        ({"labels": "text"}, "labels: text is String, must be Boolean, or numbers"),
        ({"labels": ["width"]}, "patterns: patterns has other attributes or labels"),
        ({"attributes": ["red.mentioned", "circle.mentioned"], "labels": ()}, "has other attributes"),
    ):
        with pytest.raises(RecipeError, match=part):
            parse({"pool": pool, "compute": compute_section(**fields)})
    with pytest.raises(ValueError, match=r"must have attributes x \(1 \+ labels\) of 1 to 1000"):
        Patterns(attributes=(), labels="a.yes")


def test_evidence_says_what_a_sample_is_counted_as():
    made = MomentMatching(**FIELDS, patterns="patterns")
    shown = made.evidence(rows()[:1], {"patterns": table(rows())}, {})
    assert shown.rows() == [("a.yes", True, 40), ("b.yes", True, 40)]
    unknown = rows()[:1].with_columns(pl.lit(None, pl.Boolean).alias("a.yes"))
    assert made.evidence(unknown, {"patterns": table(rows())}, {}).is_empty()

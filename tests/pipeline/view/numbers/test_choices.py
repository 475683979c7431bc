"""Which samples are shown: the same however the pool is cut, and the ones that a sort would pick."""

import polars as pl
import pytest

from pipeline.rule import Rule
from pipeline.uids import draw
from pipeline.view.numbers.choices import Choices, Chosen, each_of
from pipeline.view.rows import FATES, fails_only
from tests.support.samples import uid

RULES = {
    "score": Rule(column="x", top=0.5),
    "short": Rule(column="w", max=3, missing="keep"),
    "luck": Rule(column="p", chance=True),
    "word": Rule(column="t", among=["en"]),
}
BOUNDS = {"score": 0.5, "short": 3.0}


def pool(rows: int = 300) -> pl.DataFrame:
    """Rows with verdicts as the rules give them; every 17th has no score."""
    x = [None if i % 17 == 0 else (i * 37 % 100) / 100 for i in range(rows)]
    frame = pl.DataFrame(
        {
            "shard": [f"s{i // 100}" for i in range(rows)],
            "row": [i % 100 for i in range(rows)],
            "uid": [uid("s", i) for i in range(rows)],
            "x": x,
            "w": [i % 7 for i in range(rows)],
            "p": [0.9] * rows,
            "t": ["en" if i % 5 else "de" for i in range(rows)],
        }
    )
    verdicts = [
        (pl.col("x") >= 0.5).alias("rule:score"),
        (pl.col("w") <= 3).alias("rule:short"),
        pl.lit(True).alias("rule:luck"),
        (pl.col("t") == "en").alias("rule:word"),
    ]
    frame = frame.with_columns(verdicts)
    passes = pl.all_horizontal(pl.col(f"rule:{name}") for name in RULES)
    fate = pl.when(pl.col("x").is_null()).then(pl.lit("failed")).when(passes).then(pl.lit("kept"))
    return frame.with_columns(fate=fate.otherwise(pl.lit("dropped")).cast(FATES))


def choose(frame: pl.DataFrame, cut: int, each: int = 4) -> dict[tuple[str | None, str], Chosen]:
    frame = frame.with_columns(draw=pl.Series(draw(0, frame["uid"])))
    choices = Choices(RULES, BOUNDS, each)
    for start in range(0, len(frame), cut):
        choices.add(choices.look(frame[start : start + cut]))
    return {(chosen.group.rule, chosen.group.kind): chosen for chosen in choices.chosen()}


@pytest.mark.parametrize("cut", [1, 13, 300])
def test_groups_are_those_of_a_sort(cut):
    frame = pool()
    chosen = choose(frame, cut)
    frame = frame.with_columns(draw=pl.Series(draw(0, frame["uid"])))

    def first(rows: pl.DataFrame, *keys: object) -> tuple[tuple[str, int], ...]:
        return tuple(rows.sort(*keys, "draw").head(4).select("shard", "row").iter_rows())

    kept, dropped = frame.filter(pl.col("fate") == "kept"), frame.filter(pl.col("fate") == "dropped")
    present = frame.drop_nulls("x")
    assert chosen["score", "just_kept"].places == first(kept, pl.col("x") - 0.5)
    assert chosen["score", "just_dropped"].places == first(
        dropped.filter(~pl.col("rule:score")), 0.5 - pl.col("x")
    )
    assert chosen["score", "lowest"].places == first(present, "x")
    assert chosen["score", "highest"].places == first(present, -pl.col("x"))
    assert chosen["score", "failed"].places == first(frame.filter(pl.col("x").is_null()))
    assert chosen["short", "just_kept"].places == first(kept, 3 - pl.col("w"))
    assert chosen["short", "just_dropped"].places == first(
        dropped.filter(~pl.col("rule:short")), pl.col("w") - 3
    )
    for name in ("score", "short", "word"):
        assert chosen[name, "only"].places == first(frame.filter(fails_only(name, RULES)))
    assert chosen[None, "random"].places == first(frame)
    assert chosen[None, "random_kept"].places == first(kept)
    assert chosen[None, "random_dropped"].places == first(dropped)


def test_groups_without_samples_are_left_out_and_the_others_are_in_order():
    groups = list(choose(pool(), 50))
    assert ("luck", "only") not in groups
    assert ("luck", "just_kept") not in groups
    assert ("word", "lowest") not in groups
    assert ("short", "failed") not in groups
    assert [rule for rule, _ in groups] == ["score"] * 6 + ["short"] * 5 + ["luck"] * 2 + ["word"] + [
        None
    ] * 3


def test_a_group_says_what_it_shows():
    assert choose(pool(), 50)["score", "only"].group.title == "dropped by score alone"


def test_how_many_each():
    sliding = Rule(column="x", min=0)
    assert each_of([sliding] * 10, 400) == 6
    assert each_of([sliding], 400) == 12
    assert each_of([sliding] * 200, 400) == 1

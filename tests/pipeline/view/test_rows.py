"""The samples of a decision with their verdicts and fates."""

import polars as pl

from pipeline.rule import Rule
from pipeline.view.rows import fails_only, fate_of, frames, verdict, verdict_columns
from tests.support.decided_pool import decided, ordinary

RULES = {
    "words": Rule(column="a", min=1),
    "score": Rule(column="b", min=1),
    "hint": Rule(column="c", min=1, missing="keep"),
}


def test_frames_hold_places_columns_verdicts_and_fates_in_pool_order(tmp_path):
    ordinary(tmp_path / "pool")
    session = decided(tmp_path, {})
    frame = pl.concat(list(frames(session, ["caption.characters"])))
    assert frame.columns == ["shard", "row", "caption.characters", "rule:caption.characters", "fate"]
    assert frame["shard"].to_list() == ["00000"] * 7 + ["00002"] * 5
    assert frame["row"].to_list() == [*range(7), *range(5)]
    short = (frame["caption.characters"] < 3).to_list()
    assert [fate == "dropped" for fate in frame["fate"]] == short
    assert [not passes for passes in frame["rule:caption.characters"]] == short
    assert any(short)
    assert not all(short)


def test_fate_and_sole_reason_follow_from_the_verdicts():
    verdicts = pl.DataFrame(
        {
            "keep": [True, False, False, False, True, False],
            "words": [True, False, False, None, True, True],
            "score": [True, True, False, True, True, True],
            "hint": [True, True, True, True, None, False],
        },
        schema_overrides={"hint": pl.Boolean},
    )
    frame = verdicts.select(*verdict_columns(RULES), fate_of(RULES))
    assert frame["fate"].to_list() == ["kept", "dropped", "dropped", "failed", "kept", "dropped"]
    assert frame.columns[:3] == [verdict(name) for name in RULES]
    alone = frame.select(**{name: fails_only(name, RULES) for name in RULES})
    assert alone["words"].to_list() == [False, True, False, False, False, False]
    assert alone["score"].to_list() == [False] * 6
    assert alone["hint"].to_list() == [False, False, False, False, False, True]

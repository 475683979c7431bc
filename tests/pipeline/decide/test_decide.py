"""Decisions equal plain Python, row by row; verdicts and counts are stored once."""

import math
import pickle
import random
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import orjson
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pipeline.decide.decide import decide
from pipeline.decide.decision import Decision
from pipeline.rule import Rule
from tests.pipeline.decide.test_cuts import NAN, sorted_cut
from tests.support.reference_draw import reference_draw
from tests.support.samples import store_given, uid


def pool(seed: int, shards: int = 3, rows: int = 40) -> dict[str, pl.DataFrame]:
    """Random columns with ties, nulls, NaN and reasons."""
    rng = random.Random(seed)

    def row() -> dict[str, Any]:
        bad = rng.random() < 0.15
        return {
            "f32": None if bad else rng.choice([rng.random(), 0.5, 0.25, NAN]),
            "f64": None if rng.random() < 0.1 else rng.random(),
            "u32": rng.randrange(5),
            "word": rng.choice(["en", "de", None]),
            "error": rng.choice(["empty caption", "image cannot be decoded: x", "image cannot be decoded: y"])
            if bad
            else None,
        }

    schema = {"f32": pl.Float32, "f64": pl.Float64, "u32": pl.UInt32, "word": pl.String, "error": pl.String}
    return {f"dir/{s}": pl.DataFrame([row() for _ in range(rows + s)], schema=schema) for s in range(shards)}


KEEP = {
    "given.f32": {"top": 0.6},
    "low": {"column": "given.f64", "bottom": 0.9, "missing": "keep"},
    "given.u32": {"min": 1},
    "given.word": {"among": ["en"], "missing": "keep"},
    "luck": {"column": "given.f64", "chance": True, "seed": 5, "missing": "keep"},
}


def reference(rules: Mapping[str, Rule], frames: Mapping[str, pl.DataFrame]) -> dict[str, Any]:
    """Row by row in plain Python: what is kept, and every count."""
    cuts = {
        name: sorted_cut(rule, [f[rule.column.split(".")[1]] for f in frames.values()])
        for name, rule in rules.items()
        if rule.needs_cut
    }
    counts: dict[str, Any] = {"samples": 0, "kept": 0, "dropped": 0, "failed": 0}
    per_rule: dict[str, Any] = {
        n: {"passes": 0, "fails": 0, "fails_only": 0, "dropped": 0, "failed": {}} for n in rules
    }
    kept = {}
    for shard, frame in frames.items():
        kept[shard] = []
        for index, row in enumerate(frame.iter_rows(named=True)):
            fails, lacks = [], []
            for name, rule in rules.items():
                value = row[rule.column.split(".")[1]]
                if value is None or (isinstance(value, float) and math.isnan(value)):
                    if rule.missing == "drop":
                        lacks.append(name)
                elif passes(rule, value, cuts.get(name), uid(shard, index)):
                    per_rule[name]["passes"] += 1
                else:
                    fails.append(name)
            counts["samples"] += 1
            for name in fails:
                per_rule[name]["fails"] += 1
            if len(fails) == 1 and not lacks:
                per_rule[fails[0]]["fails_only"] += 1
            kept[shard].append(not fails and not lacks)
            if lacks:
                counts["failed"] += 1
                reason = (row["error"] or "no value").split(": ")[0]
                failed = per_rule[lacks[0]]["failed"]
                failed[reason] = failed.get(reason, 0) + 1
            elif fails:
                counts["dropped"] += 1
                per_rule[fails[0]]["dropped"] += 1
            else:
                counts["kept"] += 1
    return {"counts": counts, "rules": per_rule, "kept": kept, "cuts": cuts}


def passes(rule: Rule, value: Any, cut: float | None, row_uid: str) -> bool:
    match rule.bound:
        case "min":
            return value >= rule.min
        case "max":
            return value <= rule.max
        case "top":
            return value >= cut
        case "bottom":
            return value <= cut
        case "among":
            return value in rule.among
    return reference_draw(rule.seed, row_uid) < value


@pytest.mark.parametrize("seed", range(4))
def test_decisions_equal_plain_python(stored, seed):
    frames = pool(seed)
    session = stored(frames, KEEP)
    result = decide(session)
    expected = reference(session.recipe.keep, frames)
    assert {key: getattr(result, key) for key in expected["counts"]} == expected["counts"]
    for name, counts in expected["rules"].items():
        assert {key: getattr(result.rules[name], key) for key in counts} == counts
    for shard in frames:
        decided = session.store.verdicts(session.decisions, shard)
        assert decided["keep"].to_list() == expected["kept"][shard]
    verdicts = pl.concat([session.store.verdicts(session.decisions, shard) for shard in frames])
    for name, rule in result.rules.items():
        others = {other: int((verdicts[name] & verdicts[other]).sum()) for other in KEEP if other != name}
        assert rule.passes_with == others
    assert result.rules["given.f32"].cut == expected["cuts"]["given.f32"]
    assert result.samples == result.kept + result.dropped + result.failed


def test_what_is_stored(stored):
    session = stored(pool(0), KEEP)
    result = decide(session)
    folder = session.decisions
    assert folder.startswith("decisions/test-")
    assert session.store.root.file_names(folder, "") == {
        "rules.json",
        "shards.parquet",
        "verdicts/dir/0.parquet",
    }
    content = session.store.root.read_json(f"{folder}/rules.json")
    assert content == orjson.loads(orjson.dumps(asdict(result)))
    assert Decision.from_json(content) == result
    assert (result.recipe, result.shards, list(result.rules)) == ("test", 3, list(KEEP))
    assert result.rules["given.f32"].bound.endswith("(top 60%)")
    frame = session.store.verdicts(folder, "dir/1")
    assert frame.schema == {"keep": pl.Boolean, **dict.fromkeys(KEEP, pl.Boolean)}
    assert len(frame) == 41
    assert frame["given.f32"].null_count() > 0
    shards = session.store.read(f"{folder}/shards.parquet")
    assert shards["shard"].to_list() == ["dir/0", "dir/1", "dir/2"]
    assert shards["samples"].to_list() == [40, 41, 42]
    assert shards["kept"].sum() == result.kept
    assert shards["part"].to_list() == ["dir/0"] * 3
    assert shards["start"].to_list() == [0, 40, 81]


def snapshot(tmp_path) -> dict[str, tuple[bytes, int]]:
    """Every file of the store with its time of writing; what is remembered of footers aside."""
    files = (p for p in (tmp_path / "store").rglob("*") if p.is_file() and "footers" not in p.parts)
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_twice_writes_nothing_new(stored, tmp_path):
    session = stored(pool(0), KEEP)
    first = decide(session)
    before = snapshot(tmp_path)
    assert decide(replace(session)) == first
    assert snapshot(tmp_path) == before


def test_shards_in_any_order_give_the_same(stored, tmp_path):
    frames = pool(1, shards=4)
    session = stored(frames, KEEP)
    first = decide(session)
    turned = session.over(tuple(reversed(session.shards)))
    assert decide(turned) == first
    for shard in frames:
        one, other = (made.store.verdicts(made.decisions, shard) for made in (session, turned))
        assert_frame_equal(one, other)


@pytest.mark.parametrize("together", [1, 2, 64])
def test_shards_that_are_decided_on_together_share_a_file(stored, monkeypatch, together):
    frames = {**pool(0, shards=5), "empty": pool(0)["dir/0"][:0]}
    session = stored(frames, KEEP)
    expected = reference(session.recipe.keep, frames)
    monkeypatch.setattr("pipeline.pool.columns.GROUP_SHARDS", together)
    decide(session)
    assert len(session.store.root.file_names(f"{session.decisions}/verdicts", ".parquet")) == -(
        -6 // together
    )
    store = pickle.loads(pickle.dumps(session.store))
    for shard in (*frames, *reversed(frames)):
        assert session.store.kept(session.decisions, shard).to_list() == expected["kept"][shard]
        assert store.verdicts(session.decisions, shard)["keep"].to_list() == expected["kept"][shard]
    with pytest.raises(FileNotFoundError, match="no dir/9"):
        session.store.kept(session.decisions, "dir/9")


def test_fewer_shards_are_another_decision(stored):
    session = stored(pool(2), KEEP)
    whole = decide(session)
    part = session.over(session.shards[:1])
    assert part.decisions != session.decisions
    assert decide(part).samples == 40
    assert decide(session) == whole


def test_other_rules_are_another_decision(stored):
    frames = pool(2)
    folders = {
        stored(frames, keep).decisions
        for keep in (
            {"given.f32": {"top": 0.6}},
            {"given.f32": {"top": 0.5}},
            {"given.f32": {"bottom": 0.6}},
            {"given.f32": {"top": 0.6, "missing": "keep"}},
            {"other": {"column": "given.f32", "top": 0.6}},
            {"given.f64": {"chance": True}},
            {"given.f64": {"chance": True, "seed": 1}},
            {},
        )
    }
    assert len(folders) == 8


def test_no_rule_keeps_all(stored):
    result = decide(stored(pool(0), {}))
    assert (result.samples, result.kept, result.rules) == (123, 123, {})


@pytest.mark.parametrize("side", ["top", "bottom"])
def test_no_values_at_all_keeps_nothing(stored, side):
    frame = pl.DataFrame(
        {"f32": [None, NAN], "error": ["no image", None]}, schema_overrides={"f32": pl.Float32}
    )
    session = stored({"a": frame, "b": frame[:0]}, {"given.f32": {side: 0.3}})
    result = decide(session)
    assert (result.samples, result.kept, result.failed) == (2, 0, 2)
    rule = result.rules["given.f32"]
    assert (rule.cut, rule.bound) == (None, f"{side} 30%")
    assert rule.failed == {"no image": 1, "no value": 1}
    assert decide(session) == result  # as it comes back from disk


def test_a_rule_that_no_sample_passes_is_doubted(stored):
    """Not one whose samples all lack a value: the funnel gives their reasons."""
    frames = {"a": pl.DataFrame({"u32": [1, 2, None], "f32": [0.1, 0.2, 0.3], "f64": [None, None, NAN]})}
    keep = {
        "given.u32": {"max": 0},
        "some": {"column": "given.f32", "min": 0.3},
        "none": {"column": "given.f64", "min": 0},
    }
    assert decide(stored(frames, keep)).doubts() == [
        "keep.given.u32: no sample passes <= 0; `winnow columns RECIPE given.u32` shows what there is"
    ]


def test_ties_at_the_cut_are_all_kept(stored):
    frame = pl.DataFrame({"u32": [1, 2, 2, 2, 3]})
    assert decide(stored({"a": frame}, {"given.u32": {"top": 0.4}})).kept == 4
    assert decide(stored({"a": frame}, {"given.u32": {"bottom": 0.4}})).kept == 4
    assert decide(stored({"a": frame}, {"given.u32": {"top": 0.2}})).kept == 1


def test_a_rule_on_a_sample_column(stored):
    result = decide(
        stored({"a": pl.DataFrame({"u32": [1, 2]})}, {"width": {"min": 24}, "original_width": {"min": 1}})
    )
    assert result.rules["width"].fails == 0
    assert result.rules["original_width"].failed == {"no value": 2}


def test_new_values_are_a_new_decision_only_under_a_new_key(stored):
    """What a decision reads is named by key: the same keys mean the same values."""
    session = stored({"a": pl.DataFrame({"f32": [1.0]})}, {"given.f32": {"min": 2}})
    assert decide(session).kept == 0
    store_given(session, "a", pl.DataFrame({"f32": [3.0]}))
    assert decide(session).kept == 0

"""Every stop of every slider counts what a fresh decision with its `--set` counts."""

import math
import random
from dataclasses import asdict

import polars as pl
import pytest
import yaml

from pipeline.decide.decide import decide
from pipeline.plan.session import Session
from pipeline.recipe.load import load
from pipeline.view.numbers.record import recipe_yaml
from pipeline.view.report import build

NAN, INF = float("nan"), float("inf")
SCHEMA = {"f32": pl.Float32, "f64": pl.Float64, "u32": pl.UInt32, "word": pl.String, "error": pl.String}
EXTREMES = [NAN, INF, -INF, 0.0, -0.0, 1e-30, -1e30, 0.1, 0.3]


def frames(seed: int, rows: int = 45, ties: float = 0.3) -> dict[str, pl.DataFrame]:
    """Random columns with ties, nulls, NaN and infinite values."""
    rng = random.Random(seed)

    def row() -> dict[str, object]:
        bad = rng.random() < 0.15
        return {
            "f32": None if bad else rng.choice(EXTREMES) if rng.random() < ties else rng.gauss(0.3, 0.2),
            "f64": None if rng.random() < 0.1 else rng.choice([rng.random(), 0.5, 0.25]),
            "u32": None if rng.random() < 0.1 else rng.randrange(7),
            "word": rng.choice(["en", "de", None]),
            "error": "image cannot be decoded" if bad else None,
        }

    return {f"{s}": pl.DataFrame([row() for _ in range(rows)], schema=SCHEMA) for s in range(3)}


CONSTANT = {
    "0": pl.DataFrame({"f32": [0.3] * 20, "f64": [None] * 20, "u32": [7] * 20}, schema_overrides=SCHEMA)
}
POOLS = {
    "min and max": (
        frames(0),
        {
            "given.f32": {"min": 0.3},
            "given.f64": {"max": 0.5, "missing": "keep"},
            "given.u32": {"min": 2},
        },
    ),
    "shares": (
        frames(1),
        {
            "given.f32": {"top": 0.6},
            "low": {"column": "given.f64", "bottom": 0.9, "missing": "keep"},
            "given.u32": {"top": "30 samples"},
        },
    ),
    "ties by uid": (
        frames(2),
        {
            "given.f32": {"bottom": 0.6, "ties": "uid"},
            "given.u32": {"top": "61 samples", "ties": "uid", "missing": "keep"},
            "given.f64": {"top": 0.5, "ties": "uid"},
        },
    ),
    "of what remains": (
        frames(8),
        {
            "given.word": {"among": ["en"], "missing": "keep"},
            "given.f32": {"top": 0.6, "of": "remaining"},
            "given.f64": {"top": "20 samples", "of": "remaining", "ties": "uid", "missing": "keep"},
        },
    ),
    "of what remains, and nothing else": (frames(9), {"given.f32": {"bottom": 0.4, "of": "remaining"}}),
    "as DataComp": (
        frames(3),
        {"given.f32": {"top": 0.3, "ties": "datacomp"}, "given.u32": {"top": 0.95, "ties": "datacomp"}},
    ),
    "beside rules without a slider": (
        frames(4),
        {
            "given.f32": {"max": 0.4, "missing": "keep"},
            "given.word": {"among": ["en"], "missing": "keep"},
            "luck": {"column": "given.f64", "chance": True, "seed": 5},
            "given.u32": {"max": 4},
        },
    ),
    "one value, and none": (
        CONSTANT,
        {
            "given.f32": {"top": 0.5},
            "given.f64": {"min": 1, "missing": "keep"},
            "nothing": {"column": "given.f64", "bottom": 0.5, "missing": "keep"},
            "given.u32": {"max": 7},
        },
    ),
    "one value, and none that is needed": (CONSTANT, {"given.f32": {"min": 0.5}, "given.f64": {"top": 0.5}}),
    "mostly ties": (frames(5, ties=0.95), {"given.f32": {"top": 0.4}, "given.f64": {"min": 0.25}}),
    "the widest numbers": (
        {"0": pl.DataFrame({"f64": [1.7e308, -1.7e308, 5e-324, 0.0]}, schema_overrides=SCHEMA)},
        {"given.f64": {"min": -1e308}, "low": {"column": "given.f64", "bottom": 0.5}},
    ),
    "wide whole numbers": (
        {"0": frames(6)["0"].with_columns(u32=pl.int_range(0, 45 * 9_000, 9_000))},
        {"given.u32": {"max": 100_000}, "given.f32": {"min": -1e30}},
    ),
}


def again(session: Session, tmp_path, override: str) -> dict[str, object]:
    """What `winnow keep --set` counts."""
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe_yaml(session.recipe))
    return asdict(decide(Session(load(str(path), [override]), session.shards).refreshed()))


@pytest.mark.parametrize("case", POOLS)
def test_every_stop_equals_a_decision(stored, tmp_path, case):
    pool, keep = POOLS[case]
    session = stored(pool, keep)
    report = build(session)
    for panel in report.rules:
        slider = panel.slider
        if slider is None:
            assert panel.kind in ("among", "chance")
            continue
        stops = len(slider.set)
        tried = {
            0,
            stops - 1,
            *range(0, stops, 1 + stops // 8),
            *range(slider.current - 1, slider.current + 2),
        }
        for at in sorted(tried & set(range(stops))):
            decision = again(session, tmp_path, slider.set[at])
            rule = decision["rules"][panel.name]
            told = (panel.name, slider.set[at])
            assert (slider.passes[at], *told) == (rule["passes"], *told)
            assert (slider.kept[at], *told) == (decision["kept"], *told)
            assert slider.fails_only[at] == rule["fails_only"]
            assert slider.dropped[at] == decision["dropped"]
            assert {other: counts[at] for other, counts in slider.passes_with.items()} == rule["passes_with"]
            alone = {n: r["fails_only"] for n, r in decision["rules"].items() if n != panel.name}
            assert {other: counts[at] for other, counts in slider.other_fails_only.items()} == alone
            assert slider.label[at] == rule["bound"]


@pytest.mark.parametrize("case", POOLS)
def test_stops_become_stricter_and_the_recipes_own_is_one_of_them(stored, case):
    pool, keep = POOLS[case]
    session = stored(pool, keep)
    decision = decide(session)
    for panel in build(session).rules:
        if (slider := panel.slider) is not None:
            at = slider.current
            assert slider.passes == sorted(slider.passes, reverse=True)
            assert slider.kept == sorted(slider.kept, reverse=True)
            assert len(set(slider.set)) == len(slider.set)
            assert slider.set[at].startswith(f"keep.{panel.name}.{panel.kind}=")
            assert slider.passes[at] == panel.passes == decision.rules[panel.name].passes
            assert (slider.kept[at], slider.dropped[at]) == (decision.kept, decision.dropped)


def test_stops_are_round_and_reach_from_all_to_few(stored):
    rows = 4_000
    pool = {
        "0": pl.DataFrame(
            {"f32": [math.sin(i * 0.37) for i in range(rows)], "u32": [i % 40 for i in range(rows)]},
            schema_overrides=SCHEMA,
        )
    }
    keep = {"given.f32": {"min": 0.25}, "high": {"column": "given.f32", "top": 0.27}, "given.u32": {"min": 3}}
    values, shares, whole = (panel.slider for panel in build(stored(pool, keep)).rules)
    assert whole.set == [f"keep.given.u32.min={v}" for v in range(40)]
    assert shares.set[shares.current] == "keep.high.top=0.27"
    assert shares.passes[shares.current] == 1_080
    assert "keep.high.top=0.5" in shares.set
    assert (shares.passes[0], shares.passes[-1]) == (rows, 4)
    assert (values.passes[0], len(values.set) > 90) == (rows, True)
    inner = values.set[1:-1]
    assert sum(len(text.rpartition("=")[2]) <= 6 for text in inner) > 0.9 * len(inner)


def test_a_stop_is_read_back_from_yaml(stored, tmp_path):
    tiny = pl.DataFrame({"f64": [1e-7 * (i + 1) for i in range(50)]}, schema_overrides=SCHEMA)
    (panel,) = build(stored({"0": tiny}, {"given.f64": {"min": 1.5e-6}})).rules
    for text, value in zip(panel.slider.set, panel.slider.value, strict=True):
        assert yaml.safe_load(text.partition("=")[2]) == value

"""A cut found by radix selection equals the cut found by sorting."""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.decide.cuts import cuts_of, rank_from_top, resolve_cuts
from pipeline.rule import Rule
from tests.support.reference_draw import reference_draw

NAN = float("nan")


class Table:
    """Stands for pipeline.pool.columns.Columns: the columns of some shards, in memory."""

    def __init__(self, shards: Mapping[str, pl.DataFrame]) -> None:
        self.shards = shards

    def groups(self, shards: Sequence[str]) -> list[list[str]]:
        return [[shard] for shard in shards]

    def read_many(self, shards: Sequence[str], names: Sequence[str]) -> pl.DataFrame:
        return pl.concat([self.shards[shard] for shard in shards]).select(list(dict.fromkeys(names)))


def cut(rule: Rule, parts: Sequence[pl.Series]) -> float:
    shards = {f"{i:03}": part.alias(rule.column).to_frame() for i, part in enumerate(parts)}
    return resolve_cuts({"r": rule}, Table(shards), list(shards))["r"].value  # type: ignore[arg-type]


def sorted_cut(rule: Rule, parts: Sequence[pl.Series]) -> float:
    """The cut by definition: the k-th highest (lowest) of the values that exist, k = ceil(share * count)."""
    values = [float(v) for part in parts for v in part if v is not None and not math.isnan(v)]
    if not values:
        return NAN
    share = rule.top or rule.bottom
    k = max(1, math.ceil(round(share * len(values), 9)))
    return sorted(values, reverse=rule.top is not None)[k - 1]


def same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


DEPTHS = {
    "sorted at once": (1 << 20, 16),
    "one digit, then sorted": (3, 16),
    "all digits": (0, 16),
    "bytes": (0, 8),
}


@pytest.fixture(params=DEPTHS)
def depth(request, monkeypatch):
    """Set how few candidates are collected, and how many bits one pass settles."""
    few, digit = DEPTHS[request.param]
    monkeypatch.setattr("pipeline.decide.cuts.FEW", few)
    monkeypatch.setattr("pipeline.decide.cuts.DIGIT", digit)


RULES = [
    Rule(column="x", **{side: share})
    for side, share in itertools.product(("top", "bottom"), (0.001, 0.1, 0.3, 0.5, 1.0))
]


@pytest.mark.parametrize("dtype", [pl.Float32, pl.Float64, pl.UInt32, pl.Int64])
@pytest.mark.parametrize("seed", range(3))
def test_cuts_equal_a_sort(depth, dtype, seed):
    rng = np.random.default_rng(seed)
    parts = []
    for rows in (0, 1, 50, 7, 200):
        drawn = rng.normal(0, 10.0 ** rng.integers(0, 6), rows)
        values = pl.Series(np.abs(drawn).astype(np.int64) if dtype.is_integer() else drawn).cast(dtype)
        holes = pl.Series(rng.random(rows) < 0.2)
        parts.append(pl.select(pl.when(~holes).then(values)).to_series())
    for rule in RULES:
        assert cut(rule, parts) == sorted_cut(rule, parts)


VALUES = st.one_of(
    st.none(),
    st.sampled_from([0.0, -0.0, 0.25, 0.5, math.inf, -math.inf, NAN, 5e-324]),
    st.floats(allow_nan=False),
)


@given(st.lists(st.lists(VALUES, max_size=12), min_size=1, max_size=4), st.sampled_from(RULES))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_cuts_equal_a_sort_on_anything(depth, parts, rule):
    series = [pl.Series(part, dtype=pl.Float64) for part in parts]
    assert same(cut(rule, series), sorted_cut(rule, series))


@pytest.mark.parametrize("share", [0.01, 0.5, 1.0])
@pytest.mark.parametrize("side", ["top", "bottom"])
def test_cuts_by_hand(depth, side, share):
    rule = Rule(column="x", **{side: share})
    assert cut(rule, [pl.Series([2.5])]) == 2.5
    assert cut(rule, [pl.Series([7.0] * 9), pl.Series([7.0, None])]) == 7.0
    assert math.isnan(cut(rule, [pl.Series([None, NAN], dtype=pl.Float32)]))
    assert math.isnan(cut(rule, [pl.Series([], dtype=pl.Float32)] * 3))


def test_the_share_is_of_the_values_that_exist(depth):
    values = pl.Series([1.0, 2.0, 3.0, 4.0, None, NAN, None, None])
    assert cut(Rule(column="x", top=0.5), [values]) == 3.0
    assert cut(Rule(column="x", bottom=0.25), [values]) == 1.0
    assert cut(Rule(column="x", top=0.26), [values]) == 3.0  # 1.04 rows: rounded up


@pytest.mark.parametrize("rows", [1, 40, 900])
@pytest.mark.parametrize("alike", [1, 4, 100])
def test_ties_by_uid_keep_exactly_as_many_as_asked(depth, rows, alike):
    """Few values, so that ties are many; uids that differ in their upper half, their lower half, or not at
    all (`alike` rows share one): (value, uid) sorted decides, and only equal uids stay together."""
    rng = np.random.default_rng(rows)
    halves = rng.integers(0, max(1, rows // alike), (2, rows))
    frame = pl.DataFrame(
        {
            "x": pl.Series(rng.integers(0, 3, rows) / 2.0).replace(0.5, None),
            "uid": [f"{high << 40:016x}{low << 40:016x}" for high, low in halves.T.tolist()],
        }
    )
    shards = {f"{i}": frame[i::7] for i in range(7)}
    valued = [(x, uid) for x, uid in frame.iter_rows() if x is not None]
    for side, share in itertools.product(("top", "bottom"), (0.05, 0.4, 0.9, "7 samples")):
        rule = Rule(column="x", ties="uid", **{side: share})
        cut = resolve_cuts({"r": rule}, Table(shards), list(shards))["r"]  # type: ignore[arg-type]
        kept = frame.filter(rule.verdict(frame["x"], frame["uid"], cut))
        sign = -1 if side == "top" else 1
        best = sorted(valued, key=lambda row: (sign * row[0], row[1]))[: rank_from_top(rule, len(valued))]
        chosen = set(best)
        assert set(kept.iter_rows()) == chosen
        assert len(kept) == sum(row in chosen for row in valued)


def test_several_rules_of_different_depth_at_once(monkeypatch):
    """One settles by sorting while another still counts digits."""
    monkeypatch.setattr("pipeline.decide.cuts.FEW", 20)
    rng = np.random.default_rng(0)
    shards = {
        str(shard): pl.DataFrame(
            {
                "wide": rng.normal(size=300) * 1e6,
                "narrow": rng.integers(0, 3, 300) / 2,
                "none": pl.Series([None] * 300, dtype=pl.Float32),
            }
        )
        for shard in range(100)
    }
    rules = {
        f"{c} {s}": Rule(column=c, **{s: 0.37}) for c in ("wide", "narrow", "none") for s in ("top", "bottom")
    }
    cuts = resolve_cuts(rules, Table(shards), list(shards))  # type: ignore[arg-type]
    for name, rule in rules.items():
        assert same(cuts[name].value, sorted_cut(rule, [frame[rule.column] for frame in shards.values()]))


def test_shares_of_what_remains(depth):
    """The rules without `of: remaining` decide who remains, one of them by a share of the pool and one by a
    draw; two others take their shares of these, whatever the other one takes."""
    rng = np.random.default_rng(5)
    rows = 900
    frame = pl.DataFrame(
        {
            "uid": [f"{number:032x}" for number in rng.permutation(rows)],
            "word": pl.Series(rng.integers(0, 3, rows)).replace_strict({0: "en", 1: "de", 2: None}),
            "share": rng.normal(size=rows),
            "luck": rng.random(rows),
            "score": pl.Series(rng.integers(0, 40, rows) / 8).replace(1.0, None),
            "other": rng.normal(size=rows).astype(np.float32),
        }
    )
    shards = {f"{i}": frame[i::9] for i in range(9)}
    keep = {
        "score": Rule(column="score", top="100 samples", of="remaining", ties="uid"),
        "word": Rule(column="word", among=("en",), missing="keep"),
        "share": Rule(column="share", bottom=0.8),
        "luck": Rule(column="luck", chance=True, seed=3),
        "other": Rule(column="other", bottom=0.25, of="remaining"),
    }
    cuts = cuts_of(keep, Table(shards), list(shards))  # type: ignore[arg-type]
    below = sorted(frame["share"])[math.ceil(0.8 * rows) - 1]
    lucky = {row["uid"] for row in frame.iter_rows(named=True) if reference_draw(3, row["uid"]) < row["luck"]}
    rest = [
        row
        for row in frame.iter_rows(named=True)
        if row["word"] != "de" and row["share"] <= below and row["uid"] in lucky
    ]
    assert 150 < len(rest) < 450
    best = sorted((-row["score"], row["uid"]) for row in rest if row["score"] is not None)[:100]
    passed = frame.filter(keep["score"].verdict(frame["score"], frame["uid"], cuts["score"]))
    assert {row["uid"] for row in rest} & set(passed["uid"]) == {uid for _, uid in best}
    lowest = sorted(row["other"] for row in rest)
    assert cuts["other"].value == lowest[math.ceil(0.25 * len(rest)) - 1]
    assert cuts["share"].value == below


def test_a_share_of_nothing_that_remains():
    frame = pl.DataFrame({"x": [1.0, 2.0], "y": [1.0, 1.0]})
    keep = {"y": Rule(column="y", min=2), "x": Rule(column="x", top=0.5, of="remaining")}
    assert math.isnan(cuts_of(keep, Table({"0": frame}), ["0"])["x"].value)  # type: ignore[arg-type]

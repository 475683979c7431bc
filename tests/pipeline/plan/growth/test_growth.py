"""What the manifest of an index may say, when rows would be added to it; test_built_anew.py has the
reasons."""

import polars as pl
import pytest

from pipeline.plan.growth.growth import Growth, growth_of
from pipeline.plan.growth.sources import NOW, STORED
from pipeline.recipe.sections import Index

SECTION = Index(embedding="a.e", path="o", factory="Flat")
IDENTITY = {"factory": "Flat"}
LIVE = {
    "factory": "Flat",
    "key": "Flat",
    "dimension": 8,
    "rows": 14,
    "missing": 1,
    "growth": {"trained_rows": None},
}
DIGEST = bytes(16)


def before() -> pl.DataFrame:
    rows = [("a", 8, 1, DIGEST, DIGEST), ("b", 6, 0, DIGEST, DIGEST)]
    return pl.DataFrame(rows, schema=STORED, orient="row")


def now(*shards: tuple[str, int]) -> pl.DataFrame:
    rows = [(shard, kept, DIGEST, DIGEST) for shard, kept in shards]
    return pl.DataFrame(rows, schema=NOW, orient="row")


def growth(manifest: dict, *shards: tuple[str, int]) -> Growth | str:
    return growth_of(manifest, IDENTITY, SECTION, before, lambda: now(*shards))


def test_what_is_added():
    found = growth(LIVE, ("a", 9), ("b", 6), ("c", 5_000), ("d", 5))
    assert isinstance(found, Growth)
    assert found.added["shard"].to_list() == ["c", "d"]
    assert found.rows == 5_005
    assert found.counts == {"a": 9, "b": 6, "c": 5_000, "d": 5}
    assert found.told() == "adds 2 shards, 5,005 rows to 14"


@pytest.mark.parametrize(
    "wrong",
    [
        {"key": "HNSW0"},
        {"key": 1},
        {"dimension": 0},
        {"rows": 15},
        {"missing": -1},
        {"rows": "14"},
        {"growth": None},
        {"growth": {"trained_rows": 1 << 50}},
        {"growth": {}},
        {"parts": [{"rows": -1}]},
        {"parts": 7},
    ],
)
def test_a_manifest_that_says_what_it_cannot_mean(wrong):
    found = growth({**LIVE, **wrong}, ("a", 9), ("b", 6))
    assert found == "its manifest and its sources.parquet do not fit each other"


def test_fewer_shards_than_it_holds():
    """As often as a list repeats one."""
    assert growth(LIVE, ("a", 9)) == "no sample of shard b is kept any more"

"""Rows of other kinds of pools meet, too; and those of a pool of which a shard cannot be read."""

from pathlib import Path

import polars as pl

from jobs.datacomp.pool import Plan, make_pool
from pipeline.decide.decide import decide
from pipeline.plan.session import Session
from pipeline.plan.stored import complete
from pipeline.recipe.load import parse
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from tests.pipeline.run.groups.test_meet import LITTLE, write_pool

COPIES = {"use": "duplicates.Exact", "key": "text"}


def opened(folder: Path, pool: dict[str, str], **copies: str) -> Session:
    data = {
        "pool": {**pool, "store": f"{folder}/store"},
        "compute": {"copies": {**COPIES, **copies}},
        "keep": {"copies.rank": {"max": 1}},
        "run": {"copies": {"memory": 100 * LITTLE}},
    }
    return Session.open(parse(data))


def test_samples_of_a_datacomp_folder_meet(tmp_path):
    make_pool(Plan(tmp_path / "metadata", 600, per_file=200), ["a dog", "a cat", "a nice day"] * 5, 1)
    session = opened(tmp_path, {"datacomp": f"{tmp_path}/metadata"}, best="datacomp.l14_score")
    compute(session, LocalExecutor())
    session = session.refreshed()
    names = ["uid", "text", "datacomp.l14_score", "copies.size", "copies.rank", "copies.first"]
    frame = session.columns.read_many([shard.name for shard in session.shards], names)
    for (_,), own in frame.drop_nulls("text").group_by("text"):
        best = own.sort("datacomp.l14_score", "uid", descending=[True, False], nulls_last=True)
        assert set(own["copies.size"]) == {len(own)}
        assert best["copies.rank"].to_list()[:10] == list(range(1, min(len(own), 10) + 1))
        assert set(own["copies.first"].drop_nulls()) <= {best["uid"][0]}


def test_a_shard_that_cannot_be_read_is_pending_and_the_others_meet(tmp_path):
    write_pool(tmp_path / "pool", ["a", "a", "b", "c", "c", "a"], 3)
    pool, broken = {"shards": f"{tmp_path}/pool"}, tmp_path / "pool" / "001.parquet"
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    log = compute(opened(tmp_path, pool), LocalExecutor())
    assert list(log.pending) == ["001"]
    without = log.session.without(log.pending)
    assert sizes(without) == {"000": [3, 3], "002": [1, 3]}  # a, a; c, a
    broken.write_bytes(whole)
    assert compute(opened(tmp_path, pool), LocalExecutor()).pending == {}
    session = complete(opened(tmp_path, pool))
    assert sizes(session) == {"000": [3, 3], "001": [1, 2], "002": [2, 3]}
    assert decide(session).kept == 3


def sizes(session: Session) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for shard in session.shards:
        column: pl.Series = session.columns.read(shard.name, ["copies.size"]).to_series()
        found[shard.name] = column.to_list()
    return found

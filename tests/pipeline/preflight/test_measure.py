"""Estimates: rates from a few shards, hours and workers for the pool."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jobs.app import app
from pipeline.errors import ShardError
from pipeline.plan.session import Session
from pipeline.plan.stored import gone
from pipeline.pool.shards import Shard
from pipeline.preflight.estimate import MissingPass, estimate
from pipeline.preflight.measure import MeasuredOn, total_bytes
from pipeline.preflight.preview import preview
from pipeline.recipe.load import parse
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from pipeline.run.log import speeds

CHAIN = {
    "bright": {"use": "planted.Brightness"},
    "length": {"use": "planted.Length"},
    "histogram": {"use": "planted.Histogram", "of": "length.value"},
    "frequency": {"use": "planted.Frequency", "of": "length.value", "table": "histogram"},
}


@pytest.fixture
def session(tmp_path, write_pool, planted) -> Session:
    for shard in range(5):
        write_pool(["a", "bb", "ccc", None], shard=f"{shard}")
    pool = {"shards": f"{tmp_path}/pool", "store": f"{tmp_path}/store"}
    return Session.open(parse({"pool": pool, "compute": CHAIN, "plugins": [planted]}))


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_from_nothing(session, tmp_path):
    assert preview(session).estimate.seconds is None
    found = preview(session, count=2, hours=1)
    assert found.measured == MeasuredOn(shards=2, samples=8)
    assert [step.samples for step in found.passes] == [20, 20, 20]  # 4 a shard, in 5
    assert all(step.seconds > 0 for step in found.passes)
    whole = found.estimate
    assert set(whole.operators) == {"read", "decode", *CHAIN}
    assert whole.seconds == pytest.approx(sum(step.seconds for step in found.passes))
    assert whole.bottleneck == next(iter(whole.operators))
    assert whole.workers == 1
    assert not (tmp_path / "store").exists()  # nothing is left of it


def test_only_what_is_missing_is_run(session, tmp_path):
    """What is stored is copied, what rests on a Stat over the pool is not mistaken for one over two
    shards."""
    session = compute(session, LocalExecutor(), ["bright", "length"]).session
    before = tree(tmp_path / "store")
    found = preview(session, count=2)
    assert [step.operators for step in found.passes] == [("histogram",), ("frequency",)]
    known = {"read", "decode", "bright", "length"}
    assert set(found.estimate.operators) == {"histogram", "frequency"}
    assert known.isdisjoint(found.estimate.operators)
    assert tree(tmp_path / "store") == before
    session = compute(session, LocalExecutor()).session
    done = preview(session, count=2, hours=1)
    assert (done.passes, done.measured, done.estimate.seconds) == ([], None, None)


def test_a_run_tells_the_speed_of_its_stats(session, write_pool):
    """After a run, what a new shard costs is known without another measurement: 24 samples for the Stat and
    what reads it, 4 for the rest."""
    compute(session, LocalExecutor())
    assert speeds(session.store)["histogram"].rows == 20
    write_pool(["a", "bb", "ccc", None], shard="5")
    found = preview(Session.open(session.recipe))
    assert [(step.samples, step.seconds is None) for step in found.passes] == [
        (4, False),
        (24, False),
        (24, False),
    ]
    assert found.estimate.seconds == pytest.approx(sum(step.seconds for step in found.passes))


def test_a_file_that_was_touched_is_still_watched(session):
    """Its storage tells when it is rewritten, though the plan takes it for one with the same content."""
    compute(session, LocalExecutor())
    os.utime(session.shards[1].path, ns=(1, 1))
    found = preview(Session.open(session.recipe))
    assert list(found.doubtful) == ["1"]
    assert not [text for text in found.warnings if "ETag" in text]


def test_a_shard_that_left_the_pool_is_named(session):
    """By a session over all of its shards; one that is asked for fewer does not know."""
    compute(session, LocalExecutor())
    Path(session.shards[3].path).unlink()
    now = Session.open(session.recipe)
    assert gone(now) == ["3"]
    assert "the pool lacks shards that an earlier run read: 1 (such as 3)" in "".join(preview(now).warnings)
    first = Session.open(session.recipe, 2)
    assert (gone(first), [text for text in preview(first).warnings if "lacks" in text]) == ([], [])
    assert gone(Session.open(session.recipe, 4)) == ["3"]  # all that there are


def test_shards_that_are_done_are_passed_over(session):
    compute(session.over(session.shards[:3]), LocalExecutor(), ["bright"])
    Path(session.shards[0].path).unlink()
    found = preview(session, count=2)
    assert found.measured.shards == 2


def test_shards_that_cannot_be_read(session):
    Path(session.shards[0].path).unlink()
    assert preview(session, count=2).measured == MeasuredOn(shards=1, samples=4)
    with pytest.raises(ShardError, match="nothing to measure: FileNotFoundError"):
        preview(session, count=1)


def costing(costs: dict[str, float], seconds: float | None) -> MissingPass:
    """A pass of which nothing but the costs matters."""
    return MissingPass(tuple(costs), "score", "columns", None, 1, None, seconds, costs, [])


def test_workers_by_hand():
    """Two passes of 3 and 1 hours, to be done in 2: the first gets 1.5 of them, so its operators need 2 and a
    bit less than 1 worker; the second gets half an hour, for one of its operators that takes an hour."""
    passes = [
        costing({"clip": 9000.0, "read": 1800.0}, 10_800.0),
        costing({"score": 3600.0}, 3600.0),
    ]
    found = estimate(passes, hours=2)
    assert (found.seconds, found.workers, found.bottleneck) == (14_400, 2, "clip")
    assert {name: cost.workers for name, cost in found.operators.items()} == {
        "clip": 2,
        "score": 2,
        "read": 1,
    }
    assert found.operators["clip"].share == 0.625
    assert estimate(passes).workers is None
    unknown = estimate([*passes, costing({}, None)], hours=2)
    assert (unknown.seconds, unknown.workers, unknown.bottleneck) == (None, None, None)


def test_bytes(tmp_path):
    (tmp_path / "0").write_bytes(b"12345")
    shards = [Shard("0", str(tmp_path / "0")), Shard("1", str(tmp_path / "1"))]
    assert total_bytes([Shard("0", "s3://x/0", 3), Shard("1", "s3://x/1", 4)]) == 7
    assert total_bytes(shards) == 10  # the one that is there, twice
    assert total_bytes([Shard("0", "s3://x/0")]) is None


def test_the_command(session, tmp_path):
    recipe = tmp_path / "recipe.json"
    pool = {"shards": f"{tmp_path}/pool", "store": f"{tmp_path}/store"}
    recipe.write_text(json.dumps({"pool": pool, "compute": {"caption": {"use": "caption.Caption"}}}))
    done = CliRunner().invoke(app, ["plan", str(recipe), "--measure", "2", "--hours", "1"])
    assert done.exit_code == 0, done.output
    assert "measured here on 8 samples in 2 shards" in done.output
    assert "; 1 worker finishes within 1 h; bottleneck:" in done.output.replace("\n", " ")

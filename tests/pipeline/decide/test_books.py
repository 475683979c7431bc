"""The books: a decision, what could not be read, and speeds; as `--json` prints them."""

from dataclasses import replace

import orjson
import polars as pl
import pytest

from pipeline.decide.books import books
from pipeline.decide.decide import decide
from pipeline.pool.kinds.tars import Tars
from pipeline.pool.listing.reasons import PassedOver, skipped
from pipeline.progress import Tally
from pipeline.run.log import RunSummary, Speed

FRAMES = {"a": pl.DataFrame({"u32": [1, 2, 3]}), "b": pl.DataFrame({"u32": [4]})}


def test_books_by_hand(stored, monkeypatch):
    """Four samples and three lost URLs; the Stat took longest, but two workers shared it."""
    session = stored(FRAMES, {"given.u32": {"min": 2}})
    passed_over = {f"/pool/{number}.json": "not a shard" for number in range(12)}
    session = replace(session, passed_over={**passed_over, "/pool/d.tar": "a link that leads nowhere"})
    samples = session.store.read("samples/a.parquet")
    notes = {
        "content": "content of a",
        "damage": {"offset": 512, "reason": "the file ends"},
    }
    session.store.write("samples/a.parquet", samples, notes)
    tally = Tally(seconds={"given": 2.0, "counts": 3.0})
    tally.rows["given"] = 4
    run = RunSummary(3.5, 0, {"counts": 2}, {}, {}, {}, 0, tally)
    session.store.root.publish_json("runs/20260101T000000-1.json", run)
    monkeypatch.setattr(Tars, "lost", lambda self, shard: {"HTTP 404": 1, "timeout": 2})
    session = session.updated([replace(session.shards[0], beside="5 6")])
    balance = books(session, decide(session), {"c": "FileNotFoundError"})
    assert (balance.listed, balance.samples, balance.kept, balance.dropped) == (7, 4, 3, 1)
    assert balance.damaged == {"a": "the file ends (byte 512)"}
    assert list(balance.lost.items()) == [("timeout", 2), ("HTTP 404", 1)]
    assert balance.pending == {"c": "FileNotFoundError"}
    assert list(balance.passed_over) == ["a link that leads nowhere", "not a shard"]
    assert balance.passed_over["a link that leads nowhere"] == PassedOver(1, ("/pool/d.tar",))
    assert (balance.passed_over["not a shard"].count, len(balance.passed_over["not a shard"].examples)) == (
        12,
        10,
    )
    assert skipped(balance.passed_over) == 1
    assert list(balance.speeds.items()) == [
        ("given", Speed(4, 2.0, 2.0, 2.0)),
        ("counts", Speed(0, 3.0, 0.0, 1.5)),
    ]
    assert balance.bottleneck is None  # this run computed nothing
    assert list(orjson.loads(orjson.dumps(balance))) == [
        "recipe",
        "shards",
        "samples",
        "kept",
        "dropped",
        "failed",
        "rules",
        "listed",
        "damaged",
        "lost",
        "passed_over",
        "unwatched",
        "pending",
        "rewritten",
        "changed",
        "speeds",
        "bottleneck",
    ]


def test_books_of_nothing_computed(stored):
    session = stored(FRAMES, {})
    balance = books(session, decide(session), {})
    assert (balance.listed, balance.damaged, balance.lost, balance.speeds, balance.bottleneck) == (
        4,
        {},
        {},
        {},
        None,
    )


def test_books_that_do_not_balance(stored):
    session = stored(FRAMES, {})
    with pytest.raises(AssertionError, match="the books do not balance"):
        books(session, replace(decide(session), kept=3), {})

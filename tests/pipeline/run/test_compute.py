"""The plain loop, end to end: columns are computed once, unreadable shards stay pending, some errors stop
it."""

import logging
import re
import tarfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from blake3 import blake3

from pipeline.decide.books import books
from pipeline.decide.decide import decide
from pipeline.errors import OperatorError, RecipeError
from pipeline.plan.session import Session
from pipeline.plan.stored import complete
from pipeline.pool.kinds import tars
from pipeline.recipe.load import parse
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from pipeline.run.stats import StatTask, reduced
from pipeline.storage import layout
from pipeline.storage.identity import Seen
from tests.pipeline.plan.test_passes import CHAIN
from tests.support.paths import PLUGINS
from tests.support.samples import picture

KEEP = {"frequency.count": {"min": 2}}


@pytest.fixture
def opened(tmp_path: Path, planted: str) -> Callable[..., Session]:
    """build(shards, compute=, ...) -> a session; it computes CHAIN by default."""

    def build(
        shards: str = "{0..2}.tar", compute: Any = CHAIN, keep: Any = KEEP, plugins: Any = ()
    ) -> Session:
        pool = {"shards": f"{tmp_path}/pool/{shards}", "store": str(tmp_path / "store")}
        data = {"pool": pool, "compute": compute, "keep": keep, "plugins": [planted, *plugins]}
        return Session.open(parse(data))

    return build


@pytest.fixture
def pool(write_pool) -> Callable[..., Path]:
    """Three shards: captions of 2, 3, 2, 4 and 2 characters."""
    write_pool(["aa", "bbb"], shard="0")
    write_pool(["cc", "dddd"], shard="1")
    write_pool(["ee"], shard="2")
    return write_pool


def files(tmp_path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(tmp_path)): p.read_bytes() for p in (tmp_path / "store").rglob("*.parquet")}


def test_everything_is_computed_once(pool, opened, tmp_path):
    session = compute(opened(), LocalExecutor()).session
    before = files(tmp_path)
    assert len(before) == 3 * 5 + 1
    log = compute(session, LocalExecutor())
    assert not log.tally.rows
    assert files(tmp_path) == before
    assert decide(complete(session)).kept == 3


def test_digests_of_encoded_images(pool, opened, tmp_path):
    log = compute(opened(compute={"digest": {"use": "duplicates.ImageDigest"}}, keep={}), LocalExecutor())
    (part,) = (tmp_path / "store" / "columns").glob("digest-*/0.parquet")
    with tarfile.open(tmp_path / "pool" / "0.tar") as tar:
        images = [tar.extractfile(m).read() for m in tar if not m.name.endswith(("txt", "json"))]
    assert pl.read_parquet(part)["digest.digest"].to_list() == [blake3(image).digest(16) for image in images]
    assert "decode" not in log.tally.rows


def test_partial_tables_that_are_large_are_merged_as_they_come(pool, opened, monkeypatch):
    """The table is equal, and a task has at most two tables in memory."""
    session = compute(opened(), LocalExecutor()).session
    path = layout.stat("histogram", session.keys["histogram"])
    whole = session.store.read(path)
    held = []
    monkeypatch.setattr("pipeline.run.stats.MERGE_BYTES", 1)
    monkeypatch.setattr(
        StatTask,
        "merge",
        lambda self, parts, merge=StatTask.merge: held.append(len(parts)) or merge(self, parts),
    )
    assert reduced(LocalExecutor(), StatTask(session, "histogram"), session.shards).equals(whole)
    assert held == [2] * (len(session.shards) - 1) + [1]


def test_a_shard_that_is_missing_stays_pending_and_the_rest_is_complete(pool, opened, tmp_path):
    """The Stat covers the shards that can be read, and `keep` finds the columns that read it."""
    (tmp_path / "pool" / "2.tar").unlink()
    session = opened()
    log = compute(session, LocalExecutor())
    assert list(log.pending) == ["2"]
    assert log.pending["2"].startswith("FileNotFoundError: ")
    done = complete(opened())
    assert [shard.name for shard in done.shards] == ["0", "1"]
    table = done.store.read(layout.stat("histogram", done.keys["histogram"]))
    assert table.rows() == [(2.0, 2), (3.0, 1), (4.0, 1)]
    result = decide(done)
    assert (result.samples, result.kept, result.dropped) == (4, 2, 2)


def test_a_shard_that_comes_later_is_added(pool, opened, tmp_path):
    (tmp_path / "pool" / "2.tar").rename(tmp_path / "away.tar")
    compute(opened(), LocalExecutor())
    before = files(tmp_path)
    (tmp_path / "away.tar").rename(tmp_path / "pool" / "2.tar")
    log = compute(opened(), LocalExecutor())
    assert log.pending == {}
    assert (log.tally.rows["length"], log.tally.rows["frequency"]) == (1, 5)  # the Stat is another
    assert decide(complete(opened())).kept == 3
    assert {name: files(tmp_path)[name] for name in before} == before


def test_no_shard_can_be_read(opened, tmp_path):
    log = compute(opened(), LocalExecutor())
    assert list(log.pending) == ["0", "1", "2"]
    with pytest.raises(RecipeError, match=r"no shard has every column yet; run `winnow compute` first"):
        complete(opened())


def test_an_empty_tar_counts_as_done(pool, opened, tmp_path):
    pool([], shard="2")
    session = compute(opened(), LocalExecutor()).session
    assert session.store.row_counts(session.folder("more"), ["0", "1", "2"]) == {"0": 2, "1": 2, "2": 0}
    assert decide(complete(session)).samples == 4


def test_storage_that_recovers_is_read_again(pool, opened, monkeypatch):
    monkeypatch.setattr("pipeline.storage.retry.BACKOFF", 0)
    real, broken = tars.read_samples, iter([True, True, True, False])

    def flaky(shard, **options):
        yield next(iter(real(shard, **options)))  # the first batch comes, then the line goes dead
        if shard.name == "0" and next(broken, False):
            raise OSError("connection reset")

    monkeypatch.setattr("pipeline.pool.kinds.tars.read_samples", lambda *a, **k: Stream(flaky(*a, **k)))
    listed = opened()
    session = listed.over([replace(shard, state="") for shard in listed.shards])
    log = compute(session, LocalExecutor())
    assert log.pending == {}
    assert log.tally.rows["length"] == 5  # what had been handed out was not computed again
    assert session.store.row_counts("samples", ["0"]) == {"0": 2}


class Stream:
    """The result of read_samples: an iterable with `damage` and `seen`."""

    damage = None
    seen = Seen("", "c0")  # as of a file system that does not tell states

    def __init__(self, tables) -> None:
        self.tables = tables

    def __iter__(self):
        return iter(self.tables)


def test_storage_that_does_not_recover_leaves_the_shard(pool, opened, monkeypatch, caplog):
    waits = []
    monkeypatch.setattr(time, "sleep", waits.append)
    real = tars.read_samples

    def broken(shard, **options):
        if shard.name == "0":
            raise OSError("connection reset")
        return real(shard, **options)

    monkeypatch.setattr("pipeline.pool.kinds.tars.read_samples", broken)
    log = compute(opened(), LocalExecutor())
    assert log.pending == {"0": "OSError: connection reset (after 4 attempts)"}
    assert waits[:3] == [0.5, 1.0, 2.0]
    reset = "OSError: connection reset"
    assert [record.getMessage() for record in caplog.records] == [
        "attempt 1 of 4 failed, next in 0.5 s: shard 0: " + reset,
        "attempt 2 of 4 failed, next in 1 s: shard 0: " + reset,
        "attempt 3 of 4 failed, next in 2 s: shard 0: " + reset,
        "shard 0 failed: OSError: connection reset (after 4 attempts)",
    ]


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The log's messages, with every time in them as `T`."""
    return [re.sub(r"\b\d+\.\d s\b", "T", record.getMessage()) for record in caplog.records]


def test_a_pass_has_a_line_as_it_begins_and_one_when_it_is_done(write_pool, opened, tmp_path, caplog):
    """The second has rows, time, rows without a result and failed shards. A failed shard is a warning of
    its own."""
    write_pool(["aa", "bbb"], [picture(), b"garbage"], shard="0")
    write_pool(["cc"], shard="1")
    (tmp_path / "pool" / "1.tar").unlink()
    parts = {
        "length": {"use": "planted.Length"},
        "bright": {"use": "planted.Brightness"},
        "histogram": {"use": "planted.Histogram", "of": "length.value"},
    }
    session = opened("{0..1}.tar", parts, {})
    with caplog.at_level(logging.INFO, "winnow"):
        session = compute(session, LocalExecutor(2)).session
    missing = f"FileNotFoundError: [Errno 2] No such file or directory: '{tmp_path}/pool/1.tar'"
    assert lines(caplog) == [
        "pass begun: bright, length; shards: 2; workers: this process, 2 threads",
        f"shard 1 failed: {missing}",
        "pass done: bright, length; rows: 2; rows without a result: decode 1, bright 1; failed shards: 1; T",
        "pass begun: histogram (Stat); shards: 1",
        "pass done: histogram; rows of its table: 2; T",
    ]
    levels = {record.getMessage(): record.levelname for record in caplog.records}
    assert [message for message, level in levels.items() if level != "INFO"] == [f"shard 1 failed: {missing}"]
    assert {record.name for record in caplog.records} == {"winnow.run"}
    caplog.clear()
    with caplog.at_level(logging.INFO, "winnow"):
        compute(session.without(["1"]), LocalExecutor())
    assert lines(caplog) == []  # nothing is missing


@pytest.mark.parametrize(
    ("stat", "reason"),
    [
        ("NoPartial", "no attribute 'nonsense' ("),
        ("NoPartial", "plugins/faulty.py, line "),
        ("NoMerge", 'ColumnNotFoundError: unable to find column "m"'),
        ("NotATable", "partial() must return a polars DataFrame, got Series"),
        ("Renames", "merge() must give the same columns and types, got total Int64 after n Int64"),
        ("Uneven", "partial() and merge() must always give the same columns and types, got n "),
        ("Things", "partial() returned sum as Object, which no file can hold"),
    ],
)
def test_a_stat_that_fails_names_itself(pool, opened, stat, reason):
    session = opened(compute={"sum": {"use": f"faulty.{stat}"}}, keep={}, plugins=[str(PLUGINS)])
    with pytest.raises(OperatorError) as raised:
        compute(session, LocalExecutor())
    assert str(raised.value).startswith("sum")
    assert reason in str(raised.value)


@pytest.mark.parametrize(
    ("operator", "source", "reason"),
    [
        ("Broken", 'raise ValueError("no row is good enough")', "ValueError: no row is good enough"),
        ("Leaving", "sys.exit(0)", "SystemExit: 0"),
    ],
)
def test_an_operator_that_fails_everywhere_stops_the_pass(operator, source, reason, write_pool, opened):
    write_pool(["aa"] * 20, shard="0")
    session = opened("0.tar", {"bad": {"use": f"faulty.{operator}"}}, {}, [str(PLUGINS)])
    line = 1 + (PLUGINS / "faulty.py").read_text().splitlines().index(f"        {source}")
    with pytest.raises(OperatorError) as raised:
        compute(session, LocalExecutor())
    where = f"({PLUGINS}/faulty.py, line {line})"
    assert str(raised.value) == f"bad fails on every row of a batch: {reason} {where}"
    assert session.store.root.file_names(session.folder("bad"), ".parquet") == set()


def test_the_books_balance_on_a_messy_pool(write_pool, opened):
    images = [picture(0), b"garbage", None, picture(3)[:70], picture(4)]
    write_pool(["aa", "bb", "cc", "dd", None], images, shard="0")
    compute_ = {"length": {"use": "planted.Length"}, "bright": {"use": "planted.Brightness"}}
    session = opened("0.tar", compute_, {"bright.mean": {"top": 1.0}, "length.value": {"min": 2}})
    log = compute(session, LocalExecutor())
    balance = books(log.session, decide(complete(log.session)), log.pending)
    assert balance.samples == 5
    assert balance.samples == balance.kept + balance.dropped + balance.failed
    assert balance.rules["bright.mean"].failed == {"image cannot be decoded": 2, "no image": 1}
    assert balance.rules["length.value"].failed == {"no value": 1}
    assert (balance.kept, balance.dropped, balance.failed) == (1, 0, 4)


def test_only_what_is_asked_for(pool, opened):
    session = opened()
    compute(session, LocalExecutor(), ["plus"])
    assert session.store.row_counts(session.folder("plus"), ["0", "1", "2"]) == {"0": 2, "1": 2, "2": 1}
    assert session.store.row_counts(session.folder("frequency"), ["0", "1", "2"]) == {}


def test_meta_json_says_what_the_key_stands_for(write_pool, opened):
    write_pool(["aa"], shard="0")
    session = opened("0.tar", {"caption": {"use": "caption.Caption"}}, {}, [])
    compute(session, LocalExecutor())
    assert session.store.root.read_json(f"{session.folder('caption')}/meta.json") == {
        "name": "caption",
        "use": "caption.Caption",
        "version": 2,
        "fields": {},
        "inputs": {},
    }

"""Pools that change: what was rewritten is done anew, what was touched is not, and what changes while it is
read is read again."""

import io
import os
import shutil
from dataclasses import replace
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

from pipeline.errors import ShardError
from pipeline.plan.stored import complete
from pipeline.pool.kinds.tars import Tars
from pipeline.recipe.sections import Resources
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from tests.pipeline.plan.test_passes import CHAIN
from tests.pipeline.run.test_compute import files, opened, pool
from tests.support.samples import picture

__all__ = ["opened", "pool"]  # fixtures


WITH_IMAGES = {
    **CHAIN,
    "bright": {"use": "planted.Brightness"},
    "both": {"use": "planted.ImageAndColumn", "of": "length.value"},
}


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 300])
@pytest.mark.parametrize("later", [CHAIN, WITH_IMAGES])
def test_a_shard_that_was_rewritten_is_done_anew(pool, opened, tmp_path, rows, later):
    """Every column of it, every Stat and what reads it; the parts equal those of a new store."""
    compute(opened(), LocalExecutor())
    pool(["xx"] * rows, [picture()] * rows, shard="1")
    log = compute(opened(compute=later), LocalExecutor())
    assert (list(log.rewritten), log.changed, log.pending) == (["1"], {}, {})
    assert log.tally.rows["length"] == rows
    session = log.session
    current = {path for path in files(tmp_path) if path.startswith("store/samples")}
    current |= {
        str(f"store/{session.folder(n)}/{i}.parquet")
        for n in ("length", "plus", "frequency")
        for i in range(3)
    }
    renewed = {path: files(tmp_path)[path] for path in current}
    shutil.rmtree(tmp_path / "store")
    compute(opened(compute=later), LocalExecutor())
    fresh = files(tmp_path)
    assert {path: without_state(data) for path, data in renewed.items()} == {
        path: without_state(fresh[path]) for path in current
    }


def without_state(data: bytes) -> tuple[Any, ...]:
    """A part's rows, and the content of which they were computed."""
    return pl.read_parquet(data).rows(), pq.read_metadata(io.BytesIO(data)).metadata[b"content"]


def test_files_that_were_touched_are_identified_and_nothing_else(pool, opened, tmp_path):
    compute(opened(), LocalExecutor())
    before = files(tmp_path)
    for shard in range(3):
        os.utime(tmp_path / "pool" / f"{shard}.tar", (1, 1))
    assert [shard.differs for shard in opened().shards] == ["written since, of equal size"] * 3
    log = compute(opened(), LocalExecutor())
    assert (log.tally.rows, log.touched, log.rewritten) == ({}, 3, {})
    assert files(tmp_path) == before
    assert [shard.differs for shard in opened().shards] == [""] * 3  # the new states are noted


def test_a_shard_that_changes_while_it_is_read_is_read_again(pool, opened, tmp_path, monkeypatch, caplog):
    pool(["aaaa"] * 6, shard="1")
    real = Tars.read
    writes = [lambda: pool(["yyyy", "z"], shard="1")]

    def read(self, shard, rows, notes, images):
        for batch in real(self, shard, 1, notes, images):
            yield batch
            if shard.name == "1" and writes:
                writes.pop()()

    monkeypatch.setattr(Tars, "read", read)
    log = compute(opened(), LocalExecutor())
    assert (list(log.changed), log.pending) == (["1"], {})
    assert "changed while it was read" in log.changed["1"]
    assert log.session.columns.read("1", ["text", "length.value"]).rows() == [("yyyy", 4), ("z", 1)]
    assert any("shard 1 is read again" in record.getMessage() for record in caplog.records)


def test_a_shard_that_never_stands_still_is_given_up(pool, opened, tmp_path, monkeypatch):
    pool(["aaaa"] * 6, shard="1")
    real = Tars.read
    texts = (["y" * length] * 6 for length in range(1, 100))

    def read(self, shard, rows, notes, images):
        for batch in real(self, shard, 1, notes, images):
            yield batch
            if shard.name == "1":
                pool(next(texts), shard="1")

    monkeypatch.setattr(Tars, "read", read)
    log = compute(opened(), LocalExecutor())
    assert list(log.pending) == ["1"]
    assert [shard.name for shard in complete(log.session.without(log.pending)).shards] == ["0", "2"]


def test_a_file_that_an_operator_names_and_that_changes_meanwhile(pool, opened, tmp_path, monkeypatch):
    """What was computed with either content is not stored under the digest of the one."""
    words = tmp_path / "words.txt"
    words.write_text("aa\n")
    compute_ = {"entries": {"use": "metaclip.EntryMatch", "metadata": str(words)}}
    real = Tars.read

    def read(self, shard, rows, notes, images):
        yield from real(self, shard, rows, notes, images)
        words.write_text("bb\n")

    monkeypatch.setattr(Tars, "read", read)
    session = opened(compute=compute_, keep={})
    with pytest.raises(ShardError, match=r"rewritten while it was used.*run the command again"):
        compute(session, LocalExecutor())
    assert session.store.root.file_names(session.folder("entries"), ".parquet") == set()


def test_a_killed_shard_goes_on_where_its_pieces_end(pool, opened, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.run.collector.SECONDS", -1)  # a piece after each batch
    pool(["a" * length for length in range(1, 9)], shard="0")
    made = opened("0.tar", {"length": CHAIN["length"]}, {})
    small_batches = made.recipe.model_copy(update={"run": {"length": Resources(batch_size=1)}})
    session = replace(made, recipe=small_batches)
    seen = []

    def stop_after_five(event):
        seen.append(event.rows)
        if sum(seen) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compute(session, LocalExecutor(), observe=lambda planned: stop_after_five)
    log = compute(session.refreshed(), LocalExecutor())
    assert (log.tally.rows["length"], log.tally.rows["read"]) == (3, 8)
    assert log.session.columns.read("0", ["length.value"])["length.value"].to_list() == list(range(1, 9))
    assert session.store.root.file_names("pieces") == set()

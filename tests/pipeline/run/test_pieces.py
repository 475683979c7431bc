"""Pieces of shards: what a kill leaves is used again, and the parts have the same bytes."""

from dataclasses import dataclass, field

import polars as pl
import pytest

from pipeline.pool.shards import Shard
from pipeline.run import collector as module
from pipeline.run.batches import Batch
from pipeline.run.collector import Collector
from pipeline.run.pieces import folder_of, stored_pieces, write_piece
from pipeline.storage.store import Store
from tests.support.folders import tree

SHARD = Shard("a/s", "s.tar", state="5 1 1")


class Operator:
    writes = {"x": pl.Int64}


@dataclass
class Entry:
    operator: Operator = field(default_factory=Operator)


@dataclass
class FakeWork:
    """As much of batches.Work as a collector reads."""

    store: str
    pieces: dict
    states: dict
    names = ("op",)
    keys = {"op": "k"}
    entries = {"op": Entry()}
    pieces_folder = "pieces/p"
    on_gpu = ()


@pytest.fixture(autouse=True)
def operators_write(monkeypatch):
    monkeypatch.setattr(module, "Writer", Operator)


def batch(start: int, rows: int = 2) -> Batch:
    numbers = range(start, start + rows)
    frame = pl.DataFrame({"shard": ["a/s"] * rows, "row": pl.Series(numbers, dtype=pl.UInt32)})
    frame = frame.with_columns(pl.Series("op.x", [n * 10 for n in numbers]), pl.lit(None).alias("op.error"))
    return Batch("a/s", start, frame, None)


def collect(folder, starts, pieces=None, every=0.0, monkeypatch=None) -> Collector:
    """A collector that took these batches; `every`: seconds after which it writes pieces."""
    monkeypatch.setattr(module, "SECONDS", every)
    collector = Collector(FakeWork(str(folder), pieces or {}, {"a/s": "5 1 1"}))
    for start in starts:
        collector.add_batch(batch(start))
    return collector


def test_a_killed_pass_goes_on_with_its_pieces_and_ends_with_the_same_bytes(tmp_path, monkeypatch):
    whole = collect(tmp_path / "whole", (0, 2, 4, 6), every=60, monkeypatch=monkeypatch)
    whole.expect_rows("a/s", 8, "c0")

    collect(tmp_path / "killed", (0, 4, 2), every=-1, monkeypatch=monkeypatch)  # a piece after each batch
    assert sorted(n for n in tree(tmp_path / "killed") if n.startswith("pieces")) == [
        f"pieces/p/a/s/{start:09d}.parquet" for start in (0, 2, 4)
    ]
    pieces = stored_pieces(Store(str(tmp_path / "killed")), "pieces/p", [SHARD])
    again = collect(tmp_path / "killed", (2, 6), pieces, every=60, monkeypatch=monkeypatch)
    assert not tree(tmp_path / "killed").keys() & tree(tmp_path / "whole").keys()
    again.expect_rows("a/s", 8, "c0")
    left = {name: data for name, data in tree(tmp_path / "killed").items() if name.startswith("columns")}
    assert left == tree(tmp_path / "whole")
    assert Store(str(tmp_path / "killed")).root.file_names("pieces") == set()


def test_pieces_count_for_the_file_and_the_batches_that_they_were_made_of(tmp_path):
    store = Store(str(tmp_path))
    folder = folder_of(["columns/op-k"], 2)
    assert folder != folder_of(["columns/op-k"], 4) != folder_of(["columns/op-l"], 4)
    assert folder == folder_of(["columns/op-k"], 2, "") != folder_of(["columns/op-k"], 2, "other limits")
    write_piece(store, folder, "a/s", "5 1 1", {0: batch(0).frame, 2: batch(2).frame})
    write_piece(store, folder, "a/s", "5 1 1", {4: batch(4).frame})
    store.root.publish(f"{folder}/a/s/x.parquet", store.root.read(f"{folder}/a/s/000000004.parquet"))
    found = stored_pieces(store, folder, [SHARD])
    assert [(piece.rows, piece.starts) for piece in found["a/s"]] == [(4, (0, 2)), (2, (4,))]
    assert store.root.file_names(folder, ".parquet") == {"a/s/000000000", "a/s/000000004"}  # no batch twice
    assert stored_pieces(store, folder, [Shard("other", "o.tar", state="5 1 1")]) == {}
    assert stored_pieces(store, folder, [Shard("a/s", "s.tar", state="6 1 1")]) == {}
    assert store.root.file_names(folder, ".parquet") == set()


def test_no_piece_without_a_state(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SECONDS", -1)
    collector = Collector(FakeWork(str(tmp_path), {}, {}))
    collector.add_batch(batch(0))
    assert tree(tmp_path) == {}
    collector.expect_rows("a/s", 2, "c0")
    assert list(tree(tmp_path)) == ["columns/op-k/a/s.parquet"]

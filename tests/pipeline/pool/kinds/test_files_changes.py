"""Folders of files that change, and recipes that a folder of files cannot fulfil."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipeline.errors import RecipeError, ShardError
from pipeline.export.tars import export_shards
from pipeline.plan.session import Session
from pipeline.plan.stored import list_stored
from pipeline.pool.kinds import files as module
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from tests.pipeline.pool.kinds.made_files import decided, exported, ordinary, put, recipe
from tests.support.decided_pool import sample, write_tar

CHANGED = "does not have the {} samples that are in the store: it changed; use a new store"


# --- folders that change --------------------------------------------------------------------------


def rewrite(pool: Path) -> None:
    (pool / "00000" / "000000003.txt").write_bytes(b"caption number three")


def insert(pool: Path) -> None:
    put(pool / "00000", *sample(99, key="000000000a"))


def remove(pool: Path) -> None:
    for suffix in ("jpg", "txt", "json"):
        (pool / "00000" / f"000000003.{suffix}").unlink()


CHANGES = {
    rewrite: r"/pool/00000 has changed: the files of 000000003 have another size",
    insert: r"/pool/00000 has changed: sample 1 of 00000/00000 is not 000000001 there",
    remove: r"/pool/00000 has changed: sample 3 of 00000/00000 is not 000000003 there",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_folder_that_changed_is_not_exported(tmp_path, change):
    pool = ordinary(tmp_path / "pool")
    decided(tmp_path)
    change(pool)
    session = Session.open(recipe(tmp_path, {"shards": f"{tmp_path}/out"}))
    with pytest.raises(ShardError, match=CHANGES[change]):
        export_shards(session, LocalExecutor())
    assert exported(tmp_path / "out") == {}


@pytest.mark.parametrize("change", CHANGES)
def test_a_shard_that_changed_is_refused_by_a_later_pass(tmp_path, change):
    """Even if it has as many samples as before."""
    pool = ordinary(tmp_path / "pool")
    decided(tmp_path)
    change(pool)
    more = {"bright": {"use": "planted.Brightness"}}
    log = compute(Session.open(recipe(tmp_path, compute=more, keep={})), LocalExecutor())
    assert log.pending == {"00000/00000": CHANGED.format(7)}


def test_a_file_that_vanishes_leaves_its_shard_pending(tmp_path, monkeypatch):
    pool = ordinary(tmp_path / "pool")
    listed = module._list

    def list_then_remove(folder):
        found = listed(folder)
        if folder.endswith("00001"):
            (pool / "00001" / "000000009.jpg").unlink(missing_ok=True)
        return found

    session = Session.open(recipe(tmp_path))
    monkeypatch.setattr(module, "_list", list_then_remove)
    log = compute(session, LocalExecutor())
    assert list(log.pending) == ["00001/00000"]
    assert log.pending["00001/00000"].startswith("FileNotFoundError: ")


# --- the recipe -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        ({"kind": "photos"}, r"pool\.kind must be one of tars, tables, files, got 'photos'"),
        ({"kind": "datacomp"}, r"pool\.kind must be one of tars, tables, files, got 'datacomp'"),
        ({"columns": {"text": "a"}}, r"pool\.columns is for tables, and pool\.shards are files \(the first: .*/00000"),
        ({"kind": "tars"}, r"pool\.shards: no \*\.tar matches"),
    ],
)  # fmt: skip
def test_what_a_recipe_cannot_ask(tmp_path, pool, message):
    ordinary(tmp_path / "pool")
    with pytest.raises(RecipeError, match=message):
        Session.open(recipe(tmp_path, pool=pool))


def test_a_kind_that_the_names_of_the_files_deny(tmp_path):
    write_tar(tmp_path / "pool" / "0.tar", sample(1))
    pl.DataFrame({"text": ["a"]}).write_parquet(tmp_path / "0.parquet")
    assert len(Session.open(recipe(tmp_path, pool={"kind": "tars"})).shards) == 1
    with pytest.raises(RecipeError, match=r"pool\.kind is tables, and .*/pool/0\.tar is a tar"):
        Session.open(recipe(tmp_path, pool={"kind": "tables"}))
    with pytest.raises(RecipeError, match=r"pool\.kind is tars, and .*/0\.parquet is a table"):
        Session.open(recipe(tmp_path, pool={"kind": "tars", "shards": f"{tmp_path}/0.parquet"}))


def test_a_store_is_of_one_kind(tmp_path):
    ordinary(tmp_path / "pool", (2,))
    decided(tmp_path)
    write_tar(tmp_path / "pool" / "00000" / "00000.tar", sample(1))
    write_tar(tmp_path / "pool" / "1.tar", sample(2))
    with pytest.raises(RecipeError, match=r"holds samples of files, the recipe has tars; use a new store"):
        list_stored(Session.open(recipe(tmp_path, pool={"kind": "tars"})))


def test_operators_see_the_pictures(tmp_path):
    ordinary(tmp_path / "pool", (3,))
    session = decided(tmp_path)
    found = session.columns.read("00000/00000", ["vector.embedding", "uid"])
    assert found["vector.embedding"].null_count() == 0
    assert np.isfinite(found["vector.embedding"].to_numpy()).all()

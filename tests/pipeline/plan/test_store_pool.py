"""A store belongs to one pool, and says so."""

import json
import shutil

import pytest

from pipeline.decide.decide import decide
from pipeline.errors import RecipeError
from pipeline.plan.session import Session
from pipeline.recipe.load import parse
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from pipeline.storage.folder import Folder
from pipeline.storage.store import Store


@pytest.fixture
def opened(write_pool, tmp_path):
    """opened("one") -> a session over the pool in that folder; other keys of `pool` as given."""
    write_pool(["one two"], shard="0")
    shutil.copytree(tmp_path / "pool", tmp_path / "other")

    def build(pool: str = "pool", **keys: object) -> Session:
        settings = {"shards": str(tmp_path / pool), "store": str(tmp_path / "store"), **keys}
        return Session.open(parse({"pool": settings, "compute": {"caption": {"use": "caption.Caption"}}}))

    return build


def test_what_the_store_says(opened, tmp_path):
    compute(opened(), LocalExecutor())
    about = json.loads((tmp_path / "store/store.json").read_text())
    assert len(about.pop("seal")) == 32
    assert about == {"format": 2, "pool": {"root": "../pool", "kind": "tars"}}


def test_another_pool_in_it_is_refused_and_both_are_named(opened, tmp_path):
    compute(opened(), LocalExecutor())
    with pytest.raises(RecipeError) as error:
        opened("other")
    assert f"pool {tmp_path}/pool" in str(error.value)
    assert f"names {tmp_path}/other" in str(error.value)
    assert "pool.name" in str(error.value)


def test_a_pool_that_claims_the_store_first_is_seen_by_one_that_was_opened_before(opened, tmp_path):
    first, second, same = opened(), opened("other"), opened()
    compute(first, LocalExecutor())
    for step in (lambda: compute(second, LocalExecutor()), lambda: decide(second)):
        with pytest.raises(RecipeError, match=f"pool {tmp_path}/pool.* names {tmp_path}/other"):
            step()
    assert compute(same, LocalExecutor()).session.shards == first.refreshed().shards


def test_names_keep_pools_apart(opened, tmp_path):
    compute(opened(), LocalExecutor())
    compute(opened("other", name="second"), LocalExecutor())
    assert (tmp_path / "store/samples/0.parquet").exists()
    assert (tmp_path / "store/pools/second/samples/0.parquet").exists()
    assert opened("other", name="second").shards[0].rows == 1


def test_a_decision_reads_it_once(opened, monkeypatch):
    compute(opened(), LocalExecutor())
    read, reads = Folder.read_json, []
    monkeypatch.setattr(Folder, "read_json", lambda self, path: reads.append(path) or read(self, path))
    decide(opened())
    assert reads.count("store.json") == 1


def test_pool_and_store_may_move_together(opened, tmp_path):
    compute(opened(), LocalExecutor())
    (tmp_path / "moved").mkdir()
    shutil.move(tmp_path / "pool", tmp_path / "moved/pool")
    shutil.move(tmp_path / "store", tmp_path / "moved/store")
    (shard,) = opened("moved/pool", store=str(tmp_path / "moved/store")).shards
    assert shard.rows or shard.differs  # it is known: at most its content has to be compared


def test_a_pool_that_moved_is_told_to_its_store(opened, tmp_path):
    compute(opened(), LocalExecutor())
    shutil.move(tmp_path / "pool", tmp_path / "elsewhere")
    with pytest.raises(RecipeError, match=r"only moved, delete .*/store/store\.json"):
        opened("elsewhere")
    (tmp_path / "store/store.json").unlink()
    log = compute(opened("elsewhere"), LocalExecutor())
    assert (log.tally.rows, log.rewritten) == ({}, {})


def test_a_store_of_an_older_version_is_refused(opened, tmp_path):
    compute(opened(), LocalExecutor())
    store = Store(str(tmp_path / "store"))
    store.write("samples/0.parquet", store.read("samples/0.parquet"))  # without notes, as older versions did
    (tmp_path / "store/store.json").unlink()
    with pytest.raises(RecipeError, match=r"made by an older version of Winnow.*name a new store"):
        opened()


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"format": 2}'])
def test_a_file_that_is_lost_or_garbled_is_written_again(opened, tmp_path, content):
    compute(opened(), LocalExecutor())
    path = tmp_path / "store/store.json"
    before = path.read_text()
    path.unlink() if content is None else path.write_text(content)
    log = compute(opened(), LocalExecutor())
    assert log.tally.rows == {}
    assert path.read_text() == before

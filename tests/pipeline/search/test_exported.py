"""Hits as a training set: members byte for byte, scores beside them, a subset file; and what is refused."""

import json

import numpy as np
import polars as pl
import pytest

from pipeline.errors import RecipeError, ShardError
from pipeline.export.subset import read_subset, subset_uids
from pipeline.export.tars import export_shards
from pipeline.plan.session import Session
from pipeline.run.executor import LocalExecutor
from pipeline.search.exported import check_subset, check_tars, write_hits, write_subset_of
from pipeline.search.hits import Found
from pipeline.search.index import SearchIndex
from tests.pipeline.search.made_index import vector
from tests.support.decided_pool import decided, read_tar, sample, uid, write_tar
from tests.support.open_clip_loader import check_size_and_load


@pytest.fixture
def found(session, out):
    """The three samples nearest to sample 7, and the two nearest to 3 among them or not."""
    index = SearchIndex.open(str(out))
    return Found(["seven"], index.search(vector(7)[None], 3))


def test_members_are_copied_byte_for_byte_in_the_order_of_the_pool(session, found, tmp_path):
    done = write_hits(session, found, str(tmp_path / "hits"), LocalExecutor())
    assert (done.samples, done.shards) == (3, 1)
    rows = found.hits.rows.sort("shard", "row")
    members = read_tar(tmp_path / "hits" / "00000000.tar")
    numbers = [next(n for n in range(12) if uid(n) == name) for name in rows["uid"]]
    expected = [
        (f"{uid(n)}.{name.split('.')[1]}", data)
        for n in numbers
        for name, data in sorted(sample(n, caption=f"caption number {n}"), key=lambda file: file[0])
    ]
    assert members == expected
    table = pl.read_parquet(tmp_path / "hits" / "00000000.parquet")
    assert table["uid"].to_list() == rows["uid"].to_list()
    np.testing.assert_allclose(table["search_score"], rows["score"], atol=1e-6)
    assert table["caption.characters"].to_list() == [len(f"caption number {n}") for n in numbers]
    assert json.loads((tmp_path / "hits" / "sizes.json").read_bytes()) == {"00000000.tar": 3}
    manifest = json.loads((tmp_path / "hits" / "_winnow.json").read_bytes())
    assert (manifest["export"], manifest["queries"], manifest["complete"]) == ("search", ["seven"], True)


def test_a_sample_that_several_queries_found_is_written_once_with_its_best_score(session, out, tmp_path):
    hits = SearchIndex.open(str(out)).search(np.stack([vector(7), vector(3)]), 8)
    done = write_hits(session, Found(["seven", "three"], hits), str(tmp_path / "hits"), LocalExecutor())
    assert done.samples == 8
    table = pl.read_parquet(tmp_path / "hits" / "00000000.parquet")
    best = hits.rows.group_by("uid").agg(pl.max("score"))
    assert dict(table.select("uid", "search_score").iter_rows()) == pytest.approx(dict(best.iter_rows()))


def test_the_same_hits_again_write_nothing_and_others_take_their_place(session, out, found, tmp_path):
    folder = str(tmp_path / "hits")
    write_hits(session, found, folder, LocalExecutor())
    again = write_hits(session, found, folder, LocalExecutor())
    assert (again.written, again.skipped) == (0, 1)
    other = Found(["three"], SearchIndex.open(str(out)).search(vector(3)[None], 2))
    assert write_hits(session, other, folder, LocalExecutor()).samples == 2
    assert len(read_tar(tmp_path / "hits" / "00000000.tar")) == 6


@pytest.mark.filterwarnings("ignore")
def test_open_clip_trains_on_it(session, found, tmp_path, monkeypatch):
    """As tests/pipeline/export/test_tars_readers.py does with a whole export."""
    write_hits(session, found, str(tmp_path / "hits"), LocalExecutor())
    tars = str(tmp_path / "hits" / "{00000000..00000000}.tar")
    loader = check_size_and_load(monkeypatch, tars, batch_size=3, size=(3, 1))
    numbers = sorted(int(n) for _, batch in loader for n in batch)
    assert {uid(n) for n in numbers} == set(found.hits.rows["uid"])


def test_the_uids_as_a_subset_file(found, tmp_path):
    path = str(tmp_path / "hits.npy")
    assert write_subset_of(found, path).rows == 3
    assert subset_uids(read_subset(path)) == sorted(found.hits.rows["uid"])
    (tmp_path / "mine.npy").write_bytes(b"mine")
    with pytest.raises(RecipeError, match=r"--subset: .*mine\.npy exists and was not written by Winnow"):
        check_subset(str(tmp_path / "mine.npy"))


def test_the_folder_of_another_export(session, tmp_path):
    other = decided(tmp_path, {"shards": str(tmp_path / "tars")})
    export_shards(other, LocalExecutor())
    with pytest.raises(RecipeError) as error:
        check_tars(session, str(tmp_path / "tars"))
    assert str(error.value) == (
        f"--export: {tmp_path}/tars is an export of another kind (shards); name another folder, or empty this one"
    )


def test_an_ordinary_export_into_the_folder_of_a_search(session, found, tmp_path):
    write_hits(session, found, str(tmp_path / "hits"), LocalExecutor())
    other = decided(tmp_path, {"shards": str(tmp_path / "hits")})
    with pytest.raises(RecipeError, match=r"^export\.shards: .*/hits holds what a search wrote; name"):
        export_shards(other, LocalExecutor())


def test_nothing_found_is_not_written(session, found, tmp_path):
    none = Found(["seven"], found.hits.at_least(2.0))
    with pytest.raises(RecipeError, match="--export: nothing was found, so there is nothing to write"):
        write_hits(session, none, str(tmp_path / "hits"), LocalExecutor())
    assert not (tmp_path / "hits").exists()


def test_a_pool_that_holds_other_samples_now(session, found, tmp_path):
    """Rows are no longer those of the index."""
    write_tar(tmp_path / "pool" / "00000.tar", [*sample(20), *sample(21)])
    write_tar(tmp_path / "pool" / "00002.tar", [*sample(22)])
    reopened = Session.open(session.recipe)
    with pytest.raises(ShardError, match=r"3 of 3 samples: shard 0000\d was not read, or changed"):
        write_hits(reopened, found, str(tmp_path / "hits"), LocalExecutor())


@pytest.mark.parametrize("name", ["store", "pool", "mine"])
def test_where_tars_may_not_go(session, tmp_path, name):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(RecipeError, match=r"^--export: "):
        check_tars(session, str(tmp_path / name))

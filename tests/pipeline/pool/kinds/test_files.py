"""A folder of files as a pool: every command on it, resume, Ray, and folders that change meanwhile."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from jobs import steps
from pipeline.decide.books import losses
from pipeline.decide.decide import decide
from pipeline.decide.explain import explain
from pipeline.errors import RecipeError, ShardError
from pipeline.export.subset import read_subset, subset_uids
from pipeline.export.tars import export_shards
from pipeline.plan.session import Session
from pipeline.plan.stored import list_stored
from pipeline.pool.kinds import files as module
from pipeline.preflight.checks import check_storage
from pipeline.preflight.preview import preview
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from tests.pipeline.pool.kinds.made_folders import JPEG, decided, exported, ordinary, put, recipe
from tests.support.decided_pool import sample, uid, write_tar
from tests.support.folders import contents, tree
from tests.support.s3_server import s3


@pytest.mark.filterwarnings("ignore")
def test_everything_at_once(tmp_path):
    """`winnow run`: tars with the files byte for byte, a subset, an index, and books that balance."""
    pool = ordinary(tmp_path / "pool")
    out = {"shards": f"{tmp_path}/out", "subset": f"{tmp_path}/subset.npy", "samples_per_shard": 3}
    index = {"embedding": "vector.embedding", "path": f"{tmp_path}/index"}
    session = Session.open(recipe(tmp_path, {**out, "index": index}))
    assert [step.reads for step in preview(session).passes] == ["files, 0 MB"]
    result = steps.run_all(session, local=True, quiet=True)
    books = result.books
    assert (books.samples, books.kept, books.dropped, books.failed) == (12, 8, 4, 0)
    assert (books.listed, books.lost, books.damaged) == (16, {"HTTP 404": 4}, {})
    kept = [number for number in range(12) if number % 3 != 2]
    found = exported(tmp_path / "out")
    assert found == {
        f"{uid(number)}.{name.partition('.')[2]}": data
        for number in kept
        for name, data in sample(number, caption=f"caption number {number}")
    }
    sidecar = pl.concat(pl.read_parquet(path) for path in sorted((tmp_path / "out").glob("*.parquet")))
    assert sidecar["source_shard"].to_list() == ["00000/00000"] * 5 + ["00001/00000"] * 3
    assert sidecar["source_row"].to_list() == [0, 1, 3, 4, 6, 0, 2, 3]
    assert sidecar["source_key"].to_list() == [f"{number:09d}" for number in kept]
    assert sidecar["sha256"].to_list() == ["ab" * 32] * 8
    assert subset_uids(read_subset(out["subset"])) == sorted(uid(number) for number in kept)
    assert result.written["index"].rows == 8
    session = Session.open(session.recipe)
    assert preview(session).passes == []
    assert check_storage(session) == []
    assert len(list(pool.rglob("*"))) == 12 * 3 + 4  # nothing was written there


def test_explain(tmp_path):
    ordinary(tmp_path / "pool")
    session = decided(tmp_path)
    (entry,) = explain(session, [uid(8)])
    assert (entry.shard, entry.row, entry.key, entry.keep) == (
        "00001/00000",
        1,
        "000000008",
        False,
    )
    assert [(rule.value, rule.verdict) for rule in entry.rules] == [(2, "fails")]


def test_lost_urls_count_once_if_a_folder_is_several_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SAMPLES", 3)
    ordinary(tmp_path / "pool")
    session = decided(tmp_path)
    assert [shard.name for shard in session.shards] == [
        *(f"00000/{number:05d}" for number in range(3)),
        *(f"00001/{number:05d}" for number in range(2)),
    ]
    assert losses(session).lost == {"HTTP 404": 4}


def test_stopped_between_shards_and_started_again(tmp_path, monkeypatch):
    ordinary(tmp_path / "pool", (4, 3, 2))
    whole = decided(tmp_path, store="whole")
    session = Session.open(recipe(tmp_path))

    def stop_after_one(event):
        if event.read is not None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        session = compute(session, LocalExecutor(), observe=lambda todo: stop_after_one).session
    parts = sorted((tmp_path / "store" / "samples").rglob("*.parquet"))  # shards are read ahead
    assert parts[0].parent.name == "00000"
    written = [part.stat().st_mtime_ns for part in parts]
    again = decided(tmp_path)
    assert [part.stat().st_mtime_ns for part in parts] == written
    assert tree(tmp_path / "store", without=("runs", "footers")) == tree(
        tmp_path / "whole", without=("runs", "footers")
    )
    assert again.keys == whole.keys


def test_an_export_goes_on_to_the_same_bytes(tmp_path):
    ordinary(tmp_path / "pool")
    session = decided(tmp_path, {"shards": f"{tmp_path}/out", "samples_per_shard": 3})
    export_shards(session, LocalExecutor())
    before = contents(tmp_path / "out")
    for suffix in (".tar", ".parquet", "_stats.json"):
        (tmp_path / "out" / f"00000001{suffix}").unlink()
    assert export_shards(session, LocalExecutor()).written == 1
    assert contents(tmp_path / "out") == before


@pytest.mark.usefixtures("local_ray")
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_ray_equals_the_plain_loop_to_the_byte(tmp_path, monkeypatch):
    from pipeline.run.on_ray import RayExecutor

    put(ordinary(tmp_path / "pool") / "00000", (b"\xff.jpg", JPEG), "broken.json")
    local = decided(tmp_path, {"shards": f"{tmp_path}/out_local"}, store="local")
    export_shards(local, LocalExecutor())
    run = {name: {"workers": 2, "cpus": 0.5} for name in ("caption", "vector")}
    made = recipe(tmp_path, {"shards": f"{tmp_path}/out_ray"}, store="ray", run=run)
    executor = RayExecutor(made)
    session = Session.open(made)
    log = compute(session, executor)
    assert log.pending == {}
    session = log.session
    decide(session)
    export_shards(session, executor)
    for one, two in (("local", "ray"), ("out_local", "out_ray")):
        assert tree(tmp_path / one, without=("runs", "footers")) == tree(
            tmp_path / two, without=("runs", "footers")
        )


def test_object_storage_gives_the_same_export(tmp_path):
    """Also if the pictures lie in the root of a bucket, which has no place for a file of img2dataset's."""
    s3fs = pytest.importorskip("s3fs", reason="needs s3fs")
    pytest.importorskip("moto", reason="needs moto[s3], flask, flask-cors: the server")
    ordinary(tmp_path / "pool")
    local = decided(tmp_path, {"shards": f"{tmp_path}/out_local"}, store="local")
    export_shards(local, LocalExecutor())
    with s3():
        fs = s3fs.S3FileSystem()
        for bucket, folder in (("bucket/pool", "pool"), ("flat", "pool/00000")):
            fs.mkdir(bucket.partition("/")[0])
            fs.put(f"{tmp_path}/{folder}/", f"{bucket}/", recursive=True)
        remote = decided(
            tmp_path, {"shards": f"{tmp_path}/out_s3"}, store="s3", pool={"shards": "s3://bucket/pool"}
        )
        export_shards(remote, LocalExecutor())
        flat = decided(tmp_path, store="flat", pool={"shards": "s3://flat"})
        assert losses(remote).lost == losses(local).lost == {"HTTP 404": 4}
        assert losses(flat).lost == {}
    assert exported(tmp_path / "out_s3") == exported(tmp_path / "out_local")
    uids = flat.columns.read("00000", ["uid"])["uid"].to_list()
    assert uids == [uid(number) for number in range(7)]


# --- folders that change --------------------------------------------------------------------------


def rewrite(pool: Path) -> None:
    (pool / "00000" / "000000003.txt").write_bytes(b"caption number three")


def insert(pool: Path) -> None:
    put(pool / "00000", *sample(99, key="000000000a"))


def remove(pool: Path) -> None:
    for suffix in ("jpg", "txt", "json"):
        (pool / "00000" / f"000000003.{suffix}").unlink()


CHANGES = (rewrite, insert, remove)
CHANGED = r"pool/00000: files have changed since they were listed: run the command again"


@pytest.mark.parametrize("change", CHANGES)
def test_a_folder_that_changed_is_not_exported(tmp_path, change):
    pool = ordinary(tmp_path / "pool")
    session = decided(tmp_path, {"shards": f"{tmp_path}/out"})
    change(pool)
    with pytest.raises(ShardError, match=CHANGED):
        export_shards(session, LocalExecutor())
    assert exported(tmp_path / "out") == {}


@pytest.mark.parametrize("change", CHANGES)
def test_a_shard_that_changed_is_done_anew(tmp_path, change):
    """Even if it has as many samples as before."""
    pool = ordinary(tmp_path / "pool")
    decided(tmp_path)
    change(pool)
    more = {"bright": {"use": "planted.Brightness"}}
    log = compute(Session.open(recipe(tmp_path, compute=more, keep={})), LocalExecutor())
    assert (list(log.rewritten), log.pending) == (["00000/00000"], {})
    fresh = decided(tmp_path, store="fresh", compute=more, keep={})
    names = ["uid", "text", "length", "bright.mean"]
    assert log.session.columns.read("00000/00000", names).equals(fresh.columns.read("00000/00000", names))


def test_a_file_that_vanishes_leaves_its_shard_pending(tmp_path, monkeypatch):
    pool = ordinary(tmp_path / "pool")
    listed = module.list_folder

    def list_then_remove(folder):
        found = listed(folder)
        if folder.endswith("00001"):
            (pool / "00001" / "000000009.jpg").unlink(missing_ok=True)
        return found

    session = Session.open(recipe(tmp_path))
    monkeypatch.setattr(module, "list_folder", list_then_remove)
    log = compute(session, LocalExecutor())
    assert list(log.pending) == ["00001/00000"]
    assert log.pending["00001/00000"].startswith("FileNotFoundError: ")


# --- the recipe -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        ({"kind": "photos"}, r"pool\.kind must be one of tars, tables, files, image_tables, got 'photos'"),
        ({"kind": "datacomp"}, r"pool\.kind must be one of tars, tables, files, image_tables, got 'datacomp'"),
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
    with pytest.raises(RecipeError, match=r"read as files, and the recipe says tars; name another"):
        list_stored(Session.open(recipe(tmp_path, pool={"kind": "tars"})))


def test_operators_see_the_pictures(tmp_path):
    ordinary(tmp_path / "pool", (3,))
    session = decided(tmp_path)
    found = session.columns.read("00000/00000", ["vector.embedding", "uid"])
    assert found["vector.embedding"].null_count() == 0
    assert np.isfinite(found["vector.embedding"].to_numpy()).all()

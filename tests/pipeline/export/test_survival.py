"""An earlier export stays when a new one fails, and nothing that Winnow did not write is overwritten."""

import json
import os
import stat
import threading

import polars as pl
import pytest

from jobs import steps
from pipeline.errors import ChangedError, HeldError, RecipeError, ShardError
from pipeline.export.exporters import EXPORTERS
from pipeline.export.indexes.index_exporter import write_index
from pipeline.export.places.contents import sealed
from pipeline.export.subset import write_subset
from pipeline.export.table import write_table
from pipeline.export.tars import export_shards
from pipeline.export.urls import write_urls
from pipeline.plan.session import Session
from pipeline.pool.columns import Columns
from pipeline.run.executor import LocalExecutor
from pipeline.search.index import search
from pipeline.storage.folder import Folder
from pipeline.storage.locks.lock import held
from tests.pipeline.export.tar_exports import export
from tests.support.command import winnow
from tests.support.decided_pool import decided, ordinary, recipe, sample, write_tar
from tests.support.folders import contents

FEWER = {"keep": {"caption.characters": {"min": 17}}}  # `caption number 10` alone
WRITERS = {
    "shards": export,
    "urls": write_urls,
    "table": write_table,
    "subset": write_subset,
    "index": write_index,
}


def section(name: str, path) -> dict:
    """`export` with one export at a path."""
    if name == "index":
        return {"index": {"embedding": "vector.embedding", "path": str(path)}}
    return {name: str(path), "samples_per_shard": 3}


@pytest.fixture(params=list(WRITERS))
def name(request) -> str:
    return request.param


def at(tmp_path, name: str):
    """Where an export goes: a folder of its own, or a file in one."""
    return tmp_path / "out" / ("file" if name in ("table", "subset") else "")


def write_again(session) -> None:
    steps.write_exports(session, LocalExecutor())


def test_a_source_that_changed_leaves_the_earlier_tars(tar_session, tar_folder, tmp_path):
    export(tar_session)
    before = contents(tar_folder)
    other = decided(tmp_path, {"shards": str(tar_folder), "samples_per_shard": 2})
    source = tmp_path / "pool" / "00002.tar"
    kept = source.read_bytes()
    write_tar(source, [m for i in range(20, 25) for m in sample(i)])
    with pytest.raises(ShardError, match="has changed"):
        export(other)
    assert {n: data for n, data in contents(tar_folder).items() if not n.startswith(".winnow-next")} == before
    source.write_bytes(kept)
    again = decided(tmp_path, {"shards": str(tar_folder), "samples_per_shard": 2})
    assert export(again).skipped > 0
    assert sorted(p.name for p in tar_folder.glob("*.tar")) == [f"{i:08d}.tar" for i in range(4)]
    assert not (tar_folder / ".winnow-next").exists()


def test_a_store_that_changes_meanwhile_leaves_the_earlier_export(tmp_path, name, monkeypatch):
    """Another run writes the decision anew while an export reads it."""
    ordinary(tmp_path / "pool")
    WRITERS[name](decided(tmp_path, section(name, at(tmp_path, name))))
    before = contents(tmp_path / "out")
    other = decided(tmp_path, section(name, at(tmp_path, name)), **FEWER)
    rules = tmp_path / "store" / other.decisions / "rules.json"
    kept = rules.read_bytes()
    for method in ("read", "read_many", "batches"):
        original = getattr(Columns, method)

        def changing(*arguments, original=original):
            rules.write_bytes(kept + b" ")
            return original(*arguments)

        monkeypatch.setattr(Columns, method, changing)
    with pytest.raises(
        ChangedError, match=rf"^export\.{name}.*: the store has changed while this was written"
    ):
        WRITERS[name](other)
    found = contents(tmp_path / "out")
    assert {n: data for n, data in found.items() if not n.startswith(".winnow-next")} == before


def test_a_score_that_is_computed_anew_makes_a_new_export(tar_session, tar_folder, tmp_path):
    export(tar_session)
    part = f"{tar_session.folder('vector')}/00002.parquet"
    table = tar_session.store.read(part)
    tar_session.store.write(
        part, table.with_columns(pl.lit(1.0, pl.Float32).alias("vector.first")), {"new": 1}
    )
    assert export(tar_session).written == 3
    assert 1.0 in pl.read_parquet(tar_folder / "00000002.parquet")["vector.first"]


def test_a_decision_over_no_shards_writes_and_removes_nothing(tmp_path, name):
    ordinary(tmp_path / "pool")
    session = decided(tmp_path, section(name, at(tmp_path, name)))
    WRITERS[name](session)
    before = contents(tmp_path / "out")
    with pytest.raises(ShardError, match="nothing to export: no shard of the pool could be read"):
        WRITERS[name](session.over(()))
    assert steps.write_exports(session.over(()), LocalExecutor()) == {}
    assert contents(tmp_path / "out") == before


def test_the_second_of_two_at_once_is_refused(tmp_path, name):
    ordinary(tmp_path / "pool")
    session = decided(tmp_path, section(name, at(tmp_path, name)))
    lock = ".file.winnow.lock" if name in ("table", "subset") else ".winnow.lock"
    with (
        held(Folder(str(tmp_path / "out")), lock, "the first", wait=False),
        pytest.raises(HeldError, match=r"in use by .* \(the first\)"),
    ):
        WRITERS[name](session)
    WRITERS[name](session)


def test_two_decisions_at_once_end_as_one_of_them(tmp_path):
    """A mixture of both would be neither."""
    ordinary(tmp_path / "pool", (20, 20))
    out = {"shards": str(tmp_path / "out"), "samples_per_shard": 2}
    sessions = [decided(tmp_path, out, **more) for more in ({}, FEWER)]
    for _ in range(5):
        ended = list[str]()

        def one(session, ended=ended):
            try:
                export_shards(session, LocalExecutor())
                ended.append("written")
            except HeldError:
                ended.append("refused")

        threads = [threading.Thread(target=one, args=(session,)) for session in sessions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        manifest = json.loads((tmp_path / "out" / "_winnow.json").read_bytes())
        assert "written" in ended
        assert manifest["complete"]
        assert len(list((tmp_path / "out").glob("*.tar"))) == manifest["shards"]


def test_search_refuses_an_index_that_is_not_complete(tmp_path):
    ordinary(tmp_path / "pool")
    session = decided(tmp_path, section("index", tmp_path / "out"))
    write_index(session)
    about = tmp_path / "out" / "image.json"
    manifest = json.loads(about.read_bytes())
    del manifest["seal"]
    about.write_bytes(sealed({**manifest, "complete": False}))
    with pytest.raises(RecipeError, match="is not complete; run `winnow export` again"):
        search(str(tmp_path / "out"), [[0.0] * 8])


# --- before any work --------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    """Runs a recipe with one export through the command line, before anything is computed."""
    ordinary(tmp_path / "pool")

    def run(name, path, command="run"):
        made = recipe(tmp_path, section(name, path)).model_dump(mode="json", exclude_none=True)
        data = {key: made[key] for key in ("name", "pool", "plugins", "keep", "export")}
        data["keep"] = {"caption.characters": {"min": 3}}
        data["compute"] = {"caption": {"use": "caption.Caption"}, "vector": {"use": "vectors.Vector"}}
        (tmp_path / "r.yaml").write_text(json.dumps(data))
        return winnow(command, tmp_path / "r.yaml", *(() if command == "plan" else ("--local",)))

    return run


@pytest.mark.parametrize("command", ["run", "plan", "export"])
def test_a_slip_of_the_pen_does_not_cost_the_pool(tmp_path, name, run, command):
    tar = tmp_path / "pool" / "00000.tar"
    before = tar.read_bytes()
    done = run(name, tar, command)
    assert done.returncode == 2, done.stderr
    assert "00000.tar" in done.stderr
    assert tar.read_bytes() == before
    assert not (tmp_path / "store").exists()


def test_a_pipe_stays_a_pipe(tmp_path, name, run):
    os.mkfifo(tmp_path / "pipe")
    done = run(name, tmp_path / "pipe")
    assert done.returncode == 2, done.stderr
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)
    assert not (tmp_path / "store").exists()


def test_somebody_elses_files_beside_an_export_stay(tmp_path, name, run):
    out = tmp_path / "out"
    mine = [".tmp", "file.tmp", "x.tmp", ".winnow-next.tmp", ".file.tmp", "file.winnow.tmp"]
    assert run(name, at(tmp_path, name)).returncode == 0
    for left in mine:
        (out / left).mkdir()
        (out / left / "thesis.tex").write_text("dear")
    for more in (FEWER, {}):
        session = decided(tmp_path, section(name, at(tmp_path, name)), **more)
        write_again(session)
    assert all((out / left / "thesis.tex").read_text() == "dear" for left in mine)


def test_keep_does_not_overwrite(tmp_path, run):
    run("urls", tmp_path / "out")
    tar = tmp_path / "pool" / "00000.tar"
    before = tar.read_bytes()
    done = winnow("keep", tmp_path / "r.yaml", "--subset", tar)
    assert (done.returncode, tar.read_bytes()) == (2, before)
    assert "--subset: " in done.stderr
    for _ in range(2):
        assert winnow("keep", tmp_path / "r.yaml", "--subset", tmp_path / "kept.npy").returncode == 0


def test_every_exporter_checks(tmp_path):
    ordinary(tmp_path / "pool")
    for exporter in EXPORTERS:
        (tmp_path / exporter.name).touch()
        made = recipe(tmp_path, section(exporter.name, tmp_path / exporter.name))
        expected = rf"^export\.{exporter.name}.*: .* (exists and |is a file, not a folder)"
        with pytest.raises(RecipeError, match=expected):
            exporter.check(Session.open(made))

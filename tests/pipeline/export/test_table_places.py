"""Where the table is written: what it must not replace, other storage, other pools, the command."""

import json
import os
import socket
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from jobs.app import app
from jobs.datacomp.pool import Plan, make_pool
from pipeline.decide.decide import decide
from pipeline.errors import RecipeError
from pipeline.export import table
from pipeline.export.table import TableResult, write_table
from pipeline.plan.session import Session
from pipeline.recipe.load import parse
from pipeline.recipe.pool_section import Pool
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from pipeline.storage.folder import Folder
from tests.support.decided_pool import decided, ordinary, recipe, sample, uid
from tests.support.folders import contents

# --- what it must not replace -------------------------------------------------------------------------


def a_table(path: Path) -> None:
    pl.DataFrame({"uid": ["a"]}).write_parquet(path)


def a_table_with_another_note(path: Path) -> None:
    schema = pl.DataFrame({"uid": ["a"]}).to_arrow().replace_schema_metadata({"winnow": '{"export": "urls"}'})
    pq.write_table(schema, path)


def a_text(path: Path) -> None:
    path.write_text("dear")


def an_empty_file(path: Path) -> None:
    path.write_bytes(b"")


def a_torn_table(path: Path) -> None:
    path.write_bytes(b"PAR1")


@pytest.mark.parametrize("make", [a_table, a_table_with_another_note, a_text, an_empty_file, a_torn_table])
def test_a_file_of_something_else_is_left_alone(table_session, table_path, make):
    table_path.parent.mkdir()
    make(table_path)
    before = table_path.read_bytes()
    words = rf"export\.table: {table_path} exists and was not written by Winnow: move it"
    with pytest.raises(RecipeError, match=words):
        write_table(table_session)
    assert table_path.read_bytes() == before
    assert [path.name for path in table_path.parent.iterdir()] == ["kept.parquet"]


def test_a_folder_is_left_alone(table_session, table_path):
    (table_path / "more").mkdir(parents=True)
    with pytest.raises(RecipeError, match=r"kept\.parquet exists and was not written by Winnow"):
        write_table(table_session)
    assert (table_path / "more").is_dir()


def test_a_killed_export_leaves_the_old_table_and_is_done_again(
    table_session, table_path, tmp_path, monkeypatch
):
    write_table(table_session)
    before = table_path.read_bytes()
    fewer = decided(tmp_path, {"table": str(table_path)}, keep={"caption.characters": {"min": 17}})

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(table, "to_arrow", killed)
        with pytest.raises(KeyboardInterrupt):
            write_table(fewer)
    assert table_path.read_bytes() == before
    host = socket.gethostname().replace(".", "-")
    left = table_path.parent / f".winnow-tmp.{host}.4000000.1.kept.parquet"  # past the largest pid
    left.mkdir()
    (left / "table").write_bytes(b"half")  # as if the process had been killed outright
    assert write_table(fewer).rows == 1
    assert sorted(contents(table_path.parent)) == ["kept.parquet", "kept.parquet.winnow.json"]


def test_needs_a_decision_and_a_path(tmp_path, table_path):
    ordinary(tmp_path / "pool")
    with pytest.raises(RecipeError, match=r"nothing to export.*run `winnow keep` first"):
        write_table(Session.open(recipe(tmp_path, {"table": str(table_path)})))
    with pytest.raises(RecipeError, match=r"export\.table is missing"):
        write_table(decided(tmp_path, {}))
    assert not table_path.exists()


# --- other storage, other pools, the command ----------------------------------------------------------


def test_object_storage(table_session, table_path, tmp_path):
    write_table(table_session)
    remote = decided(tmp_path, {"table": "memory://table-test/kept.parquet"})
    assert write_table(remote) == TableResult("memory://table-test/kept.parquet", rows=8, written=True)
    assert write_table(remote).written is False
    fs = Folder("memory://table-test/kept.parquet").fs
    assert fs.cat_file("/table-test/kept.parquet") == table_path.read_bytes()
    fs.pipe_file("/table-test/kept.parquet", b"mine")
    fs.rm_file("/table-test/kept.parquet.winnow.json")
    fs.rm_file("/table-test/.kept.parquet.winnow-states.json")
    with pytest.raises(RecipeError, match="was not written by Winnow"):
        write_table(remote)


def test_a_pool_of_tables(tmp_path, table_path):
    (tmp_path / "pool").mkdir()
    frame = pl.DataFrame({"text": ["a dog on a lawn", "no"], "url": ["http://a/1", None]})
    frame.write_parquet(tmp_path / "pool" / "a.parquet")
    compute = {"caption": {"use": "caption.Caption"}}
    assert write_table(decided(tmp_path, {"table": str(table_path)}, compute=compute)).rows == 1
    row = pl.read_parquet(table_path).row(0, named=True)
    assert (row["caption"], row["url"], row["width"], row["caption.words"]) == (
        "a dog on a lawn",
        "http://a/1",
        None,
        5,
    )


def test_a_folder_of_files(tmp_path, table_path):
    (tmp_path / "pool").mkdir()
    for name, data in [*sample(1), *sample(2, caption="no")]:
        (tmp_path / "pool" / name).write_bytes(data)
    pool = {"shards": str(tmp_path / "pool"), "kind": "files", "store": str(tmp_path / "store")}
    table_session = Session.open(
        recipe(tmp_path, {"table": str(table_path)}).model_copy(update={"pool": Pool(**pool)})
    )
    table_session = compute(table_session, LocalExecutor()).session
    decide(table_session)
    assert write_table(table_session).rows == 1
    row = pl.read_parquet(table_path).row(0, named=True)
    assert (row["uid"], row["caption"], row["width"]) == (uid(1), "a caption long enough", 12)
    assert row["vector.first"] is not None


def test_a_datacomp_folder(tmp_path, table_path):
    """The score that a rule reads is in the table; the other one, which nothing reads, is not."""
    make_pool(Plan(tmp_path / "pool", 300, 100, (), None, 0), ["a red square", "a dog"], 1)
    data = {
        "pool": {"datacomp": str(tmp_path / "pool"), "store": str(tmp_path / "store")},
        "compute": {"caption": {"use": "caption.Caption"}},
        "keep": {"datacomp.l14_score": {"top": 0.5}},
        "export": {"table": str(table_path)},
    }
    table_session = Session.open(parse(data))
    compute(table_session, LocalExecutor())
    decide(table_session)
    assert write_table(table_session).rows == 150
    pool = pl.read_parquet(tmp_path / "pool" / "*.parquet")
    kept = pool.sort("clip_l14_similarity_score", descending=True).head(150)
    found = pl.read_parquet(table_path)
    assert found.columns[8] == "datacomp.l14_score"
    assert "datacomp.b32_score" not in found.columns
    assert sorted(found["uid"]) == sorted(kept["uid"])
    assert (
        found.join(pool, on="uid")
        .select((pl.col("datacomp.l14_score") == pl.col("clip_l14_similarity_score")).all())
        .item()
    )


def test_the_command(table_session, table_path, tmp_path):
    (tmp_path / "r.yaml").write_text(
        f"name: test\npool: {{shards: {tmp_path}/pool, store: {tmp_path}/store}}\n"
        "compute:\n  caption: {use: caption.Caption}\n"
        f"keep:\n  caption.characters: {{min: 3}}\nexport: {{table: {table_path}}}\n"
    )
    done = CliRunner().invoke(app, ["run", str(tmp_path / "r.yaml"), "--local", "--json"])
    assert json.loads(done.stdout)["written"] == {
        "table": {"path": str(table_path), "rows": 8, "written": True}
    }
    done = CliRunner().invoke(app, ["export", str(tmp_path / "r.yaml"), "--local"])
    assert done.stdout == f"{table_path}\n"


def test_a_pipe_is_not_read(tmp_path, table_path):
    """Reading it would wait for ever."""
    ordinary(tmp_path / "pool")
    session = decided(tmp_path, {"table": str(table_path)})
    table_path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(table_path)
    with pytest.raises(RecipeError, match=r"export\.table: .* was not written by Winnow"):
        write_table(session)

"""The table of the kept samples: its rows and columns, its bytes, and which files it replaces."""

import json
import os
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from jobs.__main__ import app
from jobs.datacomp.pool import Plan, make_pool
from pipeline.decide.decide import decide
from pipeline.errors import RecipeError
from pipeline.export import table
from pipeline.export.table import TableResult, write_table
from pipeline.plan.session import Session
from pipeline.recipe.load import parse
from pipeline.recipe.sections import Pool
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from tests.support.decided_pool import decided, ordinary, recipe, sample, uid, write_tar

KEPT = [0, 1, 3, 4, 6, 7, 9, 10]


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "out" / "kept.parquet"


@pytest.fixture
def session(tmp_path, out) -> Session:
    """8 of 12 samples kept, from two of three shards."""
    ordinary(tmp_path / "pool")
    return decided(tmp_path, {"table": str(out)})


def test_rows_are_the_kept_samples_with_every_score(session, out):
    assert write_table(session) == TableResult(str(out), rows=8, written=True)
    frame = pl.read_parquet(out)
    assert frame.columns[:8] == ["uid", "key", "caption", "url", "width", "height", "shard", "row"]
    writes = session.recipe.operator("caption").writes
    assert frame.columns[8:] == [*(f"caption.{name}" for name in writes), "vector.first"]
    assert frame["uid"].to_list() == [uid(i) for i in KEPT]
    assert frame["key"].to_list() == [f"{i:09d}" for i in KEPT]
    assert frame["caption"].to_list() == [f"caption number {i}" for i in KEPT]
    assert frame["url"].to_list() == [f"https://example.org/{i}" for i in KEPT]
    assert set(frame.select("width", "height").iter_rows()) == {(12, 8)}
    assert frame["shard"].to_list() == ["00000"] * 5 + ["00002"] * 3
    assert frame["row"].to_list() == [0, 1, 3, 4, 6, 0, 2, 3]
    assert frame["caption.words"].to_list() == [3] * 8
    for i, first in zip(KEPT, frame["vector.first"], strict=True):
        row = np.random.default_rng(int(uid(i)[:8], 16)).standard_normal(8)
        assert first == pytest.approx(row[0] / np.linalg.norm(row), abs=1e-6)
    dtypes = [frame.schema[name] for name in ("width", "row", "caption.words", "vector.first")]
    assert dtypes == [pl.Int32, pl.UInt32, pl.UInt32, pl.Float32]
    assert [path.name for path in out.parent.iterdir()] == ["kept.parquet"]


def test_again_is_left_alone_and_gone_gives_the_same_bytes(session, out):
    write_table(session)
    data, written = out.read_bytes(), out.stat().st_mtime_ns
    assert write_table(session) == TableResult(str(out), rows=8, written=False)
    assert out.stat().st_mtime_ns == written
    out.unlink()
    assert write_table(session).written is True
    assert out.read_bytes() == data


def test_another_decision_and_another_score_replace_it(session, out, tmp_path):
    write_table(session)
    fewer = decided(tmp_path, {"table": str(out)}, keep={"caption.characters": {"min": 17}})
    assert write_table(fewer) == TableResult(str(out), rows=1, written=True)
    assert pl.read_parquet(out)["caption"].to_list() == ["caption number 10"]
    compute = {"caption": {"use": "caption.Caption"}}
    assert write_table(decided(tmp_path, {"table": str(out)}, compute=compute)).written is True
    assert "vector.first" not in pl.read_parquet_schema(out)


def test_the_footer_says_what_it_is(session, out):
    write_table(session)
    note = json.loads(pq.read_metadata(out).metadata[b"winnow"])
    assert note == {
        "export": "table",
        "format": 1,
        "decision": session.decisions,
        "scores": {session.folder("caption"): 3, session.folder("vector"): 3},
        "pool_scores": [],
    }


def test_row_groups_are_full_whatever_the_shards(session, out, monkeypatch):
    monkeypatch.setattr(table, "ROW_GROUP", 3)
    write_table(session)
    metadata = pq.read_metadata(out)
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [3, 3, 2]
    assert pl.read_parquet(out)["uid"].to_list() == [uid(i) for i in KEPT]


def test_no_more_than_a_row_group_and_a_shard_is_held(tmp_path, out, monkeypatch):
    """Of 40 shards of 5 rows, in row groups of 7, never more rows wait to be written than both together have."""
    ordinary(tmp_path / "pool", (5,) * 40)
    monkeypatch.setattr(table, "ROW_GROUP", 7)
    session, read, written, most = decided(tmp_path, {"table": str(out)}), 0, 0, 0
    frames, writer = table._kept_frames, pq.ParquetWriter

    def counted(*arguments):
        nonlocal read, most
        for frame in frames(*arguments):
            read += len(frame)
            most = max(most, read - written)
            yield frame

    class Writer(writer):
        def write_table(self, group):
            nonlocal written
            super().write_table(group)
            written += len(group)

    monkeypatch.setattr(table, "_kept_frames", counted)
    monkeypatch.setattr(pq, "ParquetWriter", Writer)
    assert write_table(session).rows == read == written == 134
    assert 7 <= most < 7 + 5


def test_a_score_that_a_shard_lacks_is_null(session, out, tmp_path):
    (tmp_path / "store" / session.folder("vector") / "00002.parquet").unlink()
    write_table(session)
    first = pl.read_parquet(out)["vector.first"]
    assert first.is_null().to_list() == [False] * 5 + [True] * 3
    assert first.dtype == pl.Float32


def test_a_score_that_was_lacking_and_is_there_now_is_written(session, out, tmp_path):
    part = tmp_path / "store" / session.folder("vector") / "00002.parquet"
    data = part.read_bytes()
    part.unlink()
    write_table(session)
    part.write_bytes(data)
    assert write_table(session).written is True
    assert pl.read_parquet(out)["vector.first"].null_count() == 0


def test_repeats_change_nothing_but_their_column_is_there(tmp_path, out):
    ordinary(tmp_path / "pool")
    export = {"table": str(out), "repeats": "caption.words"}
    assert write_table(decided(tmp_path, export)).rows == 8
    assert pl.read_parquet(out)["caption.words"].to_list() == [3] * 8


def test_nothing_kept(tmp_path, out):
    write_tar(tmp_path / "pool" / "0.tar", sample(1, caption="no"))
    assert write_table(decided(tmp_path, {"table": str(out)})).rows == 0
    frame = pl.read_parquet(out)
    assert (len(frame), frame.schema["vector.first"], frame.schema["caption"]) == (0, pl.Float32, pl.String)


def test_without_any_score(tmp_path, out):
    ordinary(tmp_path / "pool")
    assert write_table(decided(tmp_path, {"table": str(out)}, compute={}, keep={})).rows == 12
    assert len(pl.read_parquet_schema(out)) == 8


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
def test_a_file_of_something_else_is_left_alone(session, out, make):
    out.parent.mkdir()
    make(out)
    before = out.read_bytes()
    words = rf"export\.table: {out} was not written by Winnow; name another file, or move this one"
    with pytest.raises(RecipeError, match=words):
        write_table(session)
    assert out.read_bytes() == before
    assert [path.name for path in out.parent.iterdir()] == ["kept.parquet"]


def test_a_folder_is_left_alone(session, out):
    (out / "more").mkdir(parents=True)
    with pytest.raises(RecipeError, match=r"kept\.parquet was not written by Winnow"):
        write_table(session)
    assert (out / "more").is_dir()


def test_a_killed_export_leaves_the_old_table_and_is_done_again(session, out, tmp_path, monkeypatch):
    write_table(session)
    before = out.read_bytes()
    fewer = decided(tmp_path, {"table": str(out)}, keep={"caption.characters": {"min": 17}})

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(table, "to_arrow", killed)
        with pytest.raises(KeyboardInterrupt):
            write_table(fewer)
    assert out.read_bytes() == before
    left = out.parent / "kept.parquet.tmp"
    left.mkdir()
    (left / "table").write_bytes(b"half")  # as if the process had been killed outright
    assert write_table(fewer).rows == 1
    assert os.listdir(out.parent) == ["kept.parquet"]


def test_needs_a_decision_and_a_path(tmp_path, out):
    ordinary(tmp_path / "pool")
    with pytest.raises(RecipeError, match=r"nothing to export.*run `winnow keep` first"):
        write_table(Session.open(recipe(tmp_path, {"table": str(out)})))
    with pytest.raises(RecipeError, match=r"export\.table is missing"):
        write_table(decided(tmp_path, {}))
    assert not out.exists()


# --- other storage, other pools, the command ----------------------------------------------------------


def test_object_storage(session, out, tmp_path):
    write_table(session)
    remote = decided(tmp_path, {"table": "memory://table-test/kept.parquet"})
    assert write_table(remote) == TableResult("memory://table-test/kept.parquet", rows=8, written=True)
    assert write_table(remote).written is False
    fs = table.Folder("memory://table-test/kept.parquet").fs
    assert fs.cat_file("/table-test/kept.parquet") == out.read_bytes()
    fs.pipe_file("/table-test/kept.parquet", b"mine")
    with pytest.raises(RecipeError, match="was not written by Winnow"):
        write_table(remote)


def test_a_pool_of_tables(tmp_path, out):
    (tmp_path / "pool").mkdir()
    frame = pl.DataFrame({"text": ["a dog on a lawn", "no"], "url": ["http://a/1", None]})
    frame.write_parquet(tmp_path / "pool" / "a.parquet")
    compute = {"caption": {"use": "caption.Caption"}}
    assert write_table(decided(tmp_path, {"table": str(out)}, compute=compute)).rows == 1
    row = pl.read_parquet(out).row(0, named=True)
    assert (row["caption"], row["url"], row["width"], row["caption.words"]) == (
        "a dog on a lawn",
        "http://a/1",
        None,
        5,
    )


def test_a_folder_of_files(tmp_path, out):
    (tmp_path / "pool").mkdir()
    for name, data in [*sample(1), *sample(2, caption="no")]:
        (tmp_path / "pool" / name).write_bytes(data)
    pool = {"shards": str(tmp_path / "pool"), "kind": "files", "store": str(tmp_path / "store")}
    session = Session.open(recipe(tmp_path, {"table": str(out)}).model_copy(update={"pool": Pool(**pool)}))
    compute(session, LocalExecutor())
    decide(session)
    assert write_table(session).rows == 1
    row = pl.read_parquet(out).row(0, named=True)
    assert (row["uid"], row["caption"], row["width"]) == (uid(1), "a caption long enough", 12)
    assert row["vector.first"] is not None


def test_a_datacomp_folder(tmp_path, out):
    """The score that a rule reads is in the table; the other one, which nothing reads, is not."""
    make_pool(Plan(tmp_path / "pool", 300, 100, (), None, 0), ["a red square", "a dog"], 1)
    data = {
        "pool": {"datacomp": str(tmp_path / "pool"), "store": str(tmp_path / "store")},
        "compute": {"caption": {"use": "caption.Caption"}},
        "keep": {"datacomp.l14_score": {"top": 0.5}},
        "export": {"table": str(out)},
    }
    session = Session.open(parse(data))
    compute(session, LocalExecutor())
    decide(session)
    assert write_table(session).rows == 150
    pool = pl.read_parquet(tmp_path / "pool" / "*.parquet")
    kept = pool.sort("clip_l14_similarity_score", descending=True).head(150)
    found = pl.read_parquet(out)
    assert found.columns[8] == "datacomp.l14_score"
    assert "datacomp.b32_score" not in found.columns
    assert sorted(found["uid"]) == sorted(kept["uid"])
    assert (
        found.join(pool, on="uid")
        .select((pl.col("datacomp.l14_score") == pl.col("clip_l14_similarity_score")).all())
        .item()
    )


def test_the_command(session, out, tmp_path):
    (tmp_path / "r.yaml").write_text(
        f"name: test\npool: {{shards: {tmp_path}/pool, store: {tmp_path}/store}}\n"
        "compute:\n  caption: {use: caption.Caption}\n"
        f"keep:\n  caption.characters: {{min: 3}}\nexport: {{table: {out}}}\n"
    )
    done = CliRunner().invoke(app, ["run", str(tmp_path / "r.yaml"), "--local", "--json"])
    assert json.loads(done.stdout)["written"] == {"table": {"path": str(out), "rows": 8, "written": True}}
    done = CliRunner().invoke(app, ["export", str(tmp_path / "r.yaml"), "--local"])
    assert done.stdout == f"{out}\n"

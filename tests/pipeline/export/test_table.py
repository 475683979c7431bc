"""One parquet of the kept samples with every score."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from pipeline.export import table
from pipeline.export.table import TableResult, write_table
from tests.support.decided_pool import decided, ordinary, sample, uid, write_tar
from tests.support.folders import contents

KEPT = [0, 1, 3, 4, 6, 7, 9, 10]


def test_rows_are_the_kept_samples_with_every_score(table_session, table_path):
    assert write_table(table_session) == TableResult(str(table_path), rows=8, written=True)
    frame = pl.read_parquet(table_path)
    assert frame.columns[:8] == ["uid", "key", "caption", "url", "width", "height", "shard", "row"]
    writes = table_session.recipe.operator("caption").writes
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
    assert sorted(contents(table_path.parent)) == ["kept.parquet", "kept.parquet.winnow.json"]


def test_an_embedding_stands_last_if_the_recipe_names_one(table_session, table_path, tmp_path):
    write_table(table_session)
    plain = pl.read_parquet(table_path)
    export = {"table": str(table_path), "table_embedding": "vector.embedding"}
    session = decided(tmp_path, export)
    assert write_table(session) == TableResult(str(table_path), rows=8, written=True)
    frame = pl.read_parquet(table_path)
    assert frame.columns == [*plain.columns, "vector.embedding"]
    assert frame.select(plain.columns).equals(plain)
    assert frame.schema["vector.embedding"] == pl.Array(pl.Float16, 8)
    assert frame["vector.embedding"].to_numpy()[:, 0] == pytest.approx(
        frame["vector.first"].to_numpy(), abs=1e-3
    )
    assert write_table(session).written is False
    assert json.loads(Path(f"{table_path}.winnow.json").read_bytes())["embedding"] == "vector.embedding"


def test_a_table_loses_its_embedding_with_the_key_and_a_note_that_says_nothing_means_none(
    table_session, table_path, tmp_path
):
    write_table(decided(tmp_path, {"table": str(table_path), "table_embedding": "vector.embedding"}))
    plain = decided(tmp_path, {"table": str(table_path)})
    assert write_table(plain).written is True
    assert "vector.embedding" not in pl.read_parquet(table_path).columns
    note = Path(f"{table_path}.winnow.json")
    said = json.loads(note.read_bytes())
    assert said.pop("embedding") is None
    note.write_text(json.dumps(said))
    assert write_table(plain).written is False


def test_a_table_of_nobody_has_an_embedding_column(table_path, tmp_path):
    ordinary(tmp_path / "pool", counts=(0, 3))
    export = {"table": str(table_path), "table_embedding": "vector.embedding"}
    keep = {"caption.characters": {"min": 1000}}
    assert write_table(decided(tmp_path, export, keep=keep)).rows == 0
    assert pl.read_parquet(table_path).columns[-1] == "vector.embedding"


def test_again_is_left_alone_and_gone_gives_the_same_bytes(table_session, table_path):
    write_table(table_session)
    data, written = table_path.read_bytes(), table_path.stat().st_mtime_ns
    assert write_table(table_session) == TableResult(str(table_path), rows=8, written=False)
    assert table_path.stat().st_mtime_ns == written
    table_path.unlink()
    assert write_table(table_session).written is True
    assert table_path.read_bytes() == data


def test_another_decision_and_another_score_replace_it(table_session, table_path, tmp_path):
    write_table(table_session)
    fewer = decided(tmp_path, {"table": str(table_path)}, keep={"caption.characters": {"min": 17}})
    assert write_table(fewer) == TableResult(str(table_path), rows=1, written=True)
    assert pl.read_parquet(table_path)["caption"].to_list() == ["caption number 10"]
    compute = {"caption": {"use": "caption.Caption"}}
    assert write_table(decided(tmp_path, {"table": str(table_path)}, compute=compute)).written is True
    assert "vector.first" not in pl.read_parquet_schema(table_path)


def test_the_note_says_what_it_is(table_session, table_path):
    write_table(table_session)
    note = json.loads(Path(f"{table_path}.winnow.json").read_bytes())
    inputs = note.pop("inputs")
    assert inputs.keys() == {"samples", table_session.folder("caption"), table_session.folder("vector")}
    assert {len(digest) for digest in [note.pop("verdicts"), *inputs.values()]} == {32}
    (file,) = note.pop("files")
    assert (file["size"], len(file["digest"]), len(note.pop("seal"))) == (table_path.stat().st_size, 32, 32)
    assert note == {
        "export": "table",
        "format": 1,
        "decision": table_session.decisions,
        "pool_scores": [],
        "rows": 8,
        "embedding": None,
    }


def test_row_groups_are_full_whatever_the_shards(table_session, table_path, monkeypatch):
    monkeypatch.setattr(table, "ROW_GROUP", 3)
    write_table(table_session)
    metadata = pq.read_metadata(table_path)
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [3, 3, 2]
    assert pl.read_parquet(table_path)["uid"].to_list() == [uid(i) for i in KEPT]


def test_no_more_than_a_row_group_and_a_shard_is_held(tmp_path, table_path, monkeypatch):
    """Of 40 shards of 5 rows, in row groups of 7, never more rows wait to be written than both together
    have."""
    ordinary(tmp_path / "pool", (5,) * 40)
    monkeypatch.setattr(table, "ROW_GROUP", 7)
    table_session, read, written, most = decided(tmp_path, {"table": str(table_path)}), 0, 0, 0
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
    assert write_table(table_session).rows == read == written == 134
    assert 7 <= most < 7 + 5


def test_a_score_that_a_shard_lacks_is_null(table_session, table_path, tmp_path):
    (tmp_path / "store" / table_session.folder("vector") / "00002.parquet").unlink()
    write_table(table_session)
    first = pl.read_parquet(table_path)["vector.first"]
    assert first.is_null().to_list() == [False] * 5 + [True] * 3
    assert first.dtype == pl.Float32


def test_a_score_that_was_lacking_and_is_there_now_is_written(table_session, table_path, tmp_path):
    part = tmp_path / "store" / table_session.folder("vector") / "00002.parquet"
    data = part.read_bytes()
    part.unlink()
    write_table(table_session)
    part.write_bytes(data)
    assert write_table(table_session).written is True
    assert pl.read_parquet(table_path)["vector.first"].null_count() == 0


def test_repeats_change_nothing_but_their_column_is_there(tmp_path, table_path):
    ordinary(tmp_path / "pool")
    export = {"table": str(table_path), "repeats": "caption.words"}
    assert write_table(decided(tmp_path, export)).rows == 8
    assert pl.read_parquet(table_path)["caption.words"].to_list() == [3] * 8


def test_nothing_kept(tmp_path, table_path):
    write_tar(tmp_path / "pool" / "0.tar", sample(1, caption="no"))
    assert write_table(decided(tmp_path, {"table": str(table_path)})).rows == 0
    frame = pl.read_parquet(table_path)
    assert (len(frame), frame.schema["vector.first"], frame.schema["caption"]) == (0, pl.Float32, pl.String)


def test_without_any_score(tmp_path, table_path):
    ordinary(tmp_path / "pool")
    assert write_table(decided(tmp_path, {"table": str(table_path)}, compute={}, keep={})).rows == 12
    assert len(pl.read_parquet_schema(table_path)) == 8

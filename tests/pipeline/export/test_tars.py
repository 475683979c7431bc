"""Filtered shards: the input's bytes, the files beside them, the same bytes every time."""

import json
import os
import pickle
import shutil
import tarfile

import numpy as np
import polars as pl
import pytest

from pipeline.errors import RecipeError
from pipeline.export.tar_writer import ShardRows
from pipeline.export.tars import TarsResult, cut_tars, export_shards
from pipeline.pool.shards import Shard
from pipeline.run.executor import LocalExecutor
from tests.pipeline.export.tar_exports import KEPT, export
from tests.support.decided_pool import decided, read_tar, uid
from tests.support.folders import contents


def test_the_cut_fills_all_but_the_last():
    a, b, c = (Shard(name, f"{name}.tar") for name in "abc")
    first, second, third = cut_tars([a, b, c], {"a": 5, "b": 0, "c": 3}, 3)
    assert first.runs == (ShardRows(a, 0, 3),)
    assert second.runs == (ShardRows(a, 3, 5), ShardRows(c, 0, 1))
    assert third.runs == (ShardRows(c, 1, 3),)
    assert [(o.name, o.rows) for o in (first, second, third)] == [
        ("00000000", 3),
        ("00000001", 3),
        ("00000002", 2),
    ]
    assert len(cut_tars([a], {"a": 6}, 3)) == 2
    assert cut_tars([a], {"a": 0}, 3) == []


def test_members_are_the_inputs_byte_for_byte(tar_session, tar_folder, tmp_path):
    result = export(tar_session)
    assert result == TarsResult(path=str(tar_folder), shards=3, samples=8, written=3, skipped=0)
    found = [member for i in range(3) for member in read_tar(tar_folder / f"{i:08d}.tar")]
    given = {name: data for i in (0, 2) for name, data in read_tar(tmp_path / "pool" / f"{i:05d}.tar")}
    assert found == [
        (f"{uid(i)}.{suffix}", given[f"{i:09d}.{suffix}"]) for i in KEPT for suffix in ("jpg", "json", "txt")
    ]


def test_headers_are_fixed_ustar(tar_session, tar_folder):
    export(tar_session)
    data = (tar_folder / "00000000.tar").read_bytes()
    assert data[257:265] == b"ustar\x0000"
    with tarfile.open(tar_folder / "00000000.tar") as tar:
        for info in tar:
            assert (info.mtime, info.uid, info.gid, info.mode) == (0, 0, 0, 0o644)
            assert (info.uname, info.gname, info.pax_headers) == ("", "", {})


def test_the_files_that_others_read(tar_session, tar_folder):
    export(tar_session)
    assert json.loads((tar_folder / "sizes.json").read_bytes()) == {
        "00000000.tar": 3,
        "00000001.tar": 3,
        "00000002.tar": 2,
    }
    assert json.loads((tar_folder / "meta.json").read_bytes()) == {
        "output_shard_count": 3,
        "output_shard_format": "{:08d}.tar",
    }
    assert json.loads((tar_folder / "00000002_stats.json").read_bytes()) == {
        "count": 2,
        "successes": 2,
        "failed_to_download": 0,
        "failed_to_resize": 0,
        "status_dict": {"success": 2},
    }


def test_rows_of_the_sidecar_are_the_samples(tar_session, tar_folder):
    export(tar_session)
    frame = pl.concat(pl.read_parquet(tar_folder / f"{i:08d}.parquet") for i in range(3))
    assert frame["uid"].to_list() == [uid(i) for i in KEPT]
    assert frame["key"].to_list() == frame["uid"].to_list()
    assert frame["source_shard"].to_list() == ["00000"] * 5 + ["00002"] * 3
    assert frame["source_row"].to_list() == [0, 1, 3, 4, 6, 0, 2, 3]
    assert frame["source_key"].to_list() == [f"{i:09d}" for i in KEPT]
    assert frame["caption"].to_list() == [f"caption number {i}" for i in KEPT]
    assert frame["caption.words"].to_list() == [3] * 8
    assert frame.row(0, named=True)["sha256"] == "ab" * 32
    assert frame.select("width", "height", "status").row(0) == (12, 8, "success")
    for i, first in zip(KEPT, frame["vector.first"], strict=True):
        row = np.random.default_rng(int(uid(i)[:8], 16)).standard_normal(8)
        assert first == pytest.approx(row[0] / np.linalg.norm(row), abs=1e-6)
    assert "vector.embedding" not in frame.columns
    assert frame.columns[:6] == ["uid", "key", "source_shard", "source_row", "source_key", "url"]
    assert frame["caption.words"].dtype == pl.UInt32


def test_two_runs_are_byte_identical(tar_session, tar_folder):
    export(tar_session)
    first = contents(tar_folder)
    shutil.rmtree(tar_folder)
    export(tar_session)
    assert contents(tar_folder) == first
    assert len(first) == 3 * 3 + 3


class Backwards(LocalExecutor):
    """Runs tasks in another order, and pickled, as they travel to workers."""

    def each(self, function, items):
        function, items = pickle.loads(pickle.dumps((function, list(items))))
        return super().each(function, items[::-1])


def test_the_order_of_tasks_changes_nothing(tar_session, tar_folder):
    export(tar_session)
    first = contents(tar_folder)
    shutil.rmtree(tar_folder)
    heard = []
    export_shards(tar_session, Backwards(), heard.append)
    assert contents(tar_folder) == first
    assert [(w.name, w.rows) for w in heard] == [("00000002", 2), ("00000001", 3), ("00000000", 3)]
    assert heard[0].bytes == len(first["00000002.tar"])


def test_a_killed_export_goes_on(tar_session, tar_folder):
    export(tar_session)
    whole = contents(tar_folder)
    (tar_folder / "sizes.json").unlink()
    (tar_folder / "meta.json").unlink()
    (tar_folder / "00000001_stats.json").unlink()  # killed after its tar and its table
    (tar_folder / "00000001.tar").write_bytes(b"torn")
    for suffix in (".tar", ".parquet", "_stats.json"):
        (tar_folder / f"00000002{suffix}").unlink()
    host = os.uname().nodename.replace(".", "-")
    (tar_folder / f".winnow-tmp.{host}.4000000.1.00000002.tar").write_bytes(b"half")  # past the largest pid
    untouched = (tar_folder / "00000000.tar").stat().st_mtime_ns
    assert (export(tar_session).written, export(tar_session).skipped) == (2, 3)
    assert contents(tar_folder) == whole
    assert (tar_folder / "00000000.tar").stat().st_mtime_ns == untouched


def test_another_decision_replaces_the_files(tar_session, tar_folder, tmp_path):
    export(tar_session)
    more = {"keep": {"caption.characters": {"min": 17}}}  # `caption number 10` alone
    other = decided(tmp_path, {"shards": str(tar_folder), "samples_per_shard": 3}, **more)
    assert export(other) == TarsResult(path=str(tar_folder), shards=1, samples=1, written=1, skipped=0)
    assert sorted(p.name for p in tar_folder.glob("*.tar")) == ["00000000.tar"]
    assert json.loads((tar_folder / "sizes.json").read_bytes()) == {"00000000.tar": 1}
    assert not (tar_folder / "00000001.parquet").exists()


def test_another_score_replaces_the_files(tar_session, tar_folder, tmp_path):
    export(tar_session)
    compute = {"caption": {"use": "caption.Caption"}}
    other = decided(tmp_path, {"shards": str(tar_folder), "samples_per_shard": 3}, compute=compute)
    assert export(other).written == 3
    assert "vector.first" not in pl.read_parquet(tar_folder / "00000000.parquet").columns


def test_a_score_that_a_shard_lacks_is_null(tar_session, tar_folder, tmp_path):
    (tmp_path / "store" / tar_session.folder("vector") / "00002.parquet").unlink()
    export(tar_session)
    frame = pl.concat(pl.read_parquet(tar_folder / f"{i:08d}.parquet") for i in range(3))
    assert frame["vector.first"].is_null().to_list() == [False] * 5 + [True] * 3
    assert frame["vector.first"].dtype == pl.Float32


def test_a_folder_of_something_else_is_left_alone(tar_session, tar_folder):
    tar_folder.mkdir()
    (tar_folder / "thesis.tex").write_text("dear")
    words = rf"export\.shards: {tar_folder} is not empty and was not written by Winnow \(it has thesis\.tex\)"
    with pytest.raises(RecipeError, match=words):
        export(tar_session)
    assert [p.name for p in tar_folder.iterdir()] == ["thesis.tex"]


def test_a_garbled_manifest(tar_session, tar_folder):
    tar_folder.mkdir()
    (tar_folder / "_winnow.json").write_text("[]")
    with pytest.raises(RecipeError, match=r"_winnow\.json is garbled"):
        export(tar_session)


def test_files_of_others_beside_ours_stay(tar_session, tar_folder, tmp_path):
    export(tar_session)
    (tar_folder / "notes.txt").write_text("mine")
    other = decided(tmp_path, {"shards": str(tar_folder), "samples_per_shard": 2})
    export(other)
    assert (tar_folder / "notes.txt").read_text() == "mine"

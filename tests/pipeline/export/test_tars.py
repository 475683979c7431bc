"""Exported shards: the bytes, the cut into tars, resuming, and the readers they are for."""

import functools
import inspect
import io
import json
import os
import pickle
import shutil
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from PIL import Image

from pipeline.errors import RecipeError, ShardError
from pipeline.export.tar_writer import ShardRows
from pipeline.export.tars import TarsResult, cut_tars, export_shards
from pipeline.plan.session import Session
from pipeline.pool.shards import Shard
from pipeline.run.executor import LocalExecutor
from tests.support.decided_pool import decided, jpeg, ordinary, read_tar, recipe, sample, uid, write_tar
from tests.support.folders import contents


def export(session) -> TarsResult:
    return export_shards(session, LocalExecutor())


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def session(tmp_path, out):
    """8 of 12 samples kept, from two of three shards, in tars of 3."""
    ordinary(tmp_path / "pool")
    return decided(tmp_path, {"shards": str(out), "samples_per_shard": 3})


PHOTOS = Path(__file__).parents[4] / "shared" / "data" / "photos"
KEPT = [0, 1, 3, 4, 6, 7, 9, 10]


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


def test_members_are_the_inputs_byte_for_byte(session, out, tmp_path):
    result = export(session)
    assert result == TarsResult(path=str(out), shards=3, samples=8, written=3, skipped=0)
    found = [member for i in range(3) for member in read_tar(out / f"{i:08d}.tar")]
    given = {name: data for i in (0, 2) for name, data in read_tar(tmp_path / "pool" / f"{i:05d}.tar")}
    assert found == [
        (f"{uid(i)}.{suffix}", given[f"{i:09d}.{suffix}"]) for i in KEPT for suffix in ("jpg", "json", "txt")
    ]


def test_headers_are_fixed_ustar(session, out):
    export(session)
    data = (out / "00000000.tar").read_bytes()
    assert data[257:265] == b"ustar\x0000"
    with tarfile.open(out / "00000000.tar") as tar:
        for info in tar:
            assert (info.mtime, info.uid, info.gid, info.mode) == (0, 0, 0, 0o644)
            assert (info.uname, info.gname, info.pax_headers) == ("", "", {})


def test_the_files_that_others_read(session, out):
    export(session)
    assert json.loads((out / "sizes.json").read_bytes()) == {
        "00000000.tar": 3,
        "00000001.tar": 3,
        "00000002.tar": 2,
    }
    assert json.loads((out / "meta.json").read_bytes()) == {
        "output_shard_count": 3,
        "output_shard_format": "{:08d}.tar",
    }
    assert json.loads((out / "00000002_stats.json").read_bytes()) == {
        "count": 2,
        "successes": 2,
        "failed_to_download": 0,
        "failed_to_resize": 0,
        "status_dict": {"success": 2},
    }


def test_rows_of_the_sidecar_are_the_samples(session, out):
    export(session)
    frame = pl.concat(pl.read_parquet(out / f"{i:08d}.parquet") for i in range(3))
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


def test_two_runs_are_byte_identical(session, out):
    export(session)
    first = contents(out)
    shutil.rmtree(out)
    export(session)
    assert contents(out) == first
    assert len(first) == 3 * 3 + 3


class Backwards(LocalExecutor):
    """Runs tasks in another order, and pickled, as they travel to workers."""

    def each(self, function, items):
        function, items = pickle.loads(pickle.dumps((function, list(items))))
        return super().each(function, items[::-1])


def test_the_order_of_tasks_changes_nothing(session, out):
    export(session)
    first = contents(out)
    shutil.rmtree(out)
    heard = []
    export_shards(session, Backwards(), heard.append)
    assert contents(out) == first
    assert [(w.name, w.rows) for w in heard] == [("00000002", 2), ("00000001", 3), ("00000000", 3)]
    assert heard[0].bytes == len(first["00000002.tar"])


def test_a_killed_export_goes_on(session, out):
    export(session)
    whole = contents(out)
    (out / "sizes.json").unlink()
    (out / "meta.json").unlink()
    (out / "00000001_stats.json").unlink()  # killed after its tar and its table
    (out / "00000001.tar").write_bytes(b"torn")
    for suffix in (".tar", ".parquet", "_stats.json"):
        (out / f"00000002{suffix}").unlink()
    host = os.uname().nodename.replace(".", "-")
    (out / f".tmp.{host}.4000000.1.00000002.tar").write_bytes(b"half")  # past the largest pid
    untouched = (out / "00000000.tar").stat().st_mtime_ns
    assert (export(session).written, export(session).skipped) == (2, 3)
    assert contents(out) == whole
    assert (out / "00000000.tar").stat().st_mtime_ns == untouched


def test_another_decision_replaces_the_files(session, out, tmp_path):
    export(session)
    more = {"keep": {"caption.characters": {"min": 17}}}  # `caption number 10` alone
    other = decided(tmp_path, {"shards": str(out), "samples_per_shard": 3}, **more)
    assert export(other) == TarsResult(path=str(out), shards=1, samples=1, written=1, skipped=0)
    assert sorted(p.name for p in out.glob("*.tar")) == ["00000000.tar"]
    assert json.loads((out / "sizes.json").read_bytes()) == {"00000000.tar": 1}
    assert not (out / "00000001.parquet").exists()


def test_another_score_replaces_the_files(session, out, tmp_path):
    export(session)
    compute = {"caption": {"use": "caption.Caption"}}
    other = decided(tmp_path, {"shards": str(out), "samples_per_shard": 3}, compute=compute)
    assert export(other).written == 3
    assert "vector.first" not in pl.read_parquet(out / "00000000.parquet").columns


def test_a_score_that_a_shard_lacks_is_null(session, out, tmp_path):
    (tmp_path / "store" / session.folder("vector") / "00002.parquet").unlink()
    export(session)
    frame = pl.concat(pl.read_parquet(out / f"{i:08d}.parquet") for i in range(3))
    assert frame["vector.first"].is_null().to_list() == [False] * 5 + [True] * 3
    assert frame["vector.first"].dtype == pl.Float32


def test_a_folder_of_something_else_is_left_alone(session, out):
    out.mkdir()
    (out / "thesis.tex").write_text("dear")
    words = rf"export\.shards: {out} is not empty and was not written by Winnow \(it has thesis\.tex\)"
    with pytest.raises(RecipeError, match=words):
        export(session)
    assert [p.name for p in out.iterdir()] == ["thesis.tex"]


def test_a_garbled_manifest(session, out):
    out.mkdir()
    (out / "_winnow.json").write_text("[]")
    with pytest.raises(RecipeError, match=r"_winnow\.json is garbled"):
        export(session)


def test_files_of_others_beside_ours_stay(session, out, tmp_path):
    export(session)
    (out / "notes.txt").write_text("mine")
    other = decided(tmp_path, {"shards": str(out), "samples_per_shard": 2})
    export(other)
    assert (out / "notes.txt").read_text() == "mine"


def test_nothing_kept(tmp_path, out):
    write_tar(tmp_path / "pool" / "0.tar", sample(1, caption="no"))
    session = decided(tmp_path, {"shards": str(out)})
    assert export(session).shards == 0
    assert sorted(contents(out)) == ["_winnow.json", "meta.json", "sizes.json"]
    assert (out / "sizes.json").read_bytes() == b"{}"


def test_a_shard_that_is_gone(session, out, tmp_path, caplog):
    gone = tmp_path / "pool" / "00002.tar"
    kept = gone.read_bytes()
    gone.unlink()
    with pytest.raises(ShardError, match=r"2 of 3 not written:\n  00000001\.tar: .*00002\.tar"):
        export(session)
    messages = [record.getMessage() for record in caplog.records if record.name == "winnow.export"]
    assert [message.split(": ")[0] for message in messages] == ["00000001.tar failed", "00000002.tar failed"]
    assert all("00002.tar" in message for message in messages)
    assert (out / "00000000_stats.json").exists()
    assert not (out / "sizes.json").exists()
    assert not list(out.glob(".tmp.*"))
    gone.write_bytes(kept)
    assert export(session).skipped == 1


def test_a_shard_that_was_replaced(session, tmp_path):
    write_tar(tmp_path / "pool" / "00002.tar", [m for i in range(20, 25) for m in sample(i)])
    with pytest.raises(ShardError, match=r"00002\.tar has changed: no 000000007 there"):
        export(session)


def test_equal_uids_and_keys_do_not_meet(tmp_path, out):
    files = [m for _ in range(3) for m in sample(5)]
    write_tar(tmp_path / "pool" / "a" / "0.tar", files)
    write_tar(tmp_path / "pool" / "b" / "0.tar", sample(5))
    export(decided(tmp_path, {"shards": str(out)}))
    names = [name for name, _ in read_tar(out / "00000000.tar") if name.endswith("jpg")]
    assert names == [f"{uid(5)}{end}.jpg" for end in ("-0", "-1", "-2", "-3")]
    frame = pl.read_parquet(out / "00000000.parquet")
    assert frame["key"].to_list() == [name.removesuffix(".jpg") for name in names]
    assert frame["uid"].to_list() == [uid(5)] * 4
    assert frame["source_shard"].to_list() == ["a/0"] * 3 + ["b/0"]


def test_odd_samples(tmp_path, out):
    """Unknown members, dotted keys, a caption in the json only, no json, names meant to do harm."""
    harm = [
        ("../../up.jpg", jpeg(3)),
        ("../../up.txt", b"caption"),
        ("../../up.a\x1b[2Jb", b"x"),
        ("../../up.__key__", b"y"),
    ]
    files = [
        *[
            ("one.jpg", jpeg(1)),
            ("one.txt", b"caption"),
            ("one.seg.png", b"mask"),
            ("one.npy", b"\x93NUMPY"),
        ],
        *[("v1.5_cat.jpg", jpeg(2)), ("v1.5_cat.json", b'{"caption": "a dotted cat", "x": NaN}')],
        *harm,
    ]
    write_tar(tmp_path / "pool" / "0.tar", files)
    export(decided(tmp_path, {"shards": str(out)}))
    one, cat, up = pl.read_parquet(out / "00000000.parquet")["uid"]
    assert read_tar(out / "00000000.tar") == [
        (f"{one}.jpg", jpeg(1)),
        (f"{one}.npy", b"\x93NUMPY"),
        (f"{one}.seg.png", b"mask"),
        (f"{one}.txt", b"caption"),
        (f"{cat}.jpg", jpeg(2)),
        (f"{cat}.json", b'{"caption": "a dotted cat", "x": NaN}'),
        (f"{cat}.txt", b"a dotted cat"),
        (f"{up}.jpg", jpeg(3)),
        (f"{up}.txt", b"caption"),
        (f"{up}.x-__key__", b"y"),
        (f"{up}.x-a__2Jb", b"x"),
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "pool", "store"]


def test_object_storage(tmp_path):
    import fsspec

    ordinary(tmp_path / "pool")
    local = decided(tmp_path, {"shards": str(tmp_path / "out"), "samples_per_shard": 3})
    export(local)
    remote = decided(tmp_path, {"shards": "memory://export-test/out", "samples_per_shard": 3})
    assert export(remote).written == 3
    memory = fsspec.filesystem("memory")
    found = {p.removeprefix("/export-test/out/"): memory.cat_file(p) for p in memory.find("/export-test/out")}
    assert found == contents(tmp_path / "out")
    assert export(remote).skipped == 3


def test_needs_decisions_and_a_path(tmp_path, out):
    ordinary(tmp_path / "pool")
    with pytest.raises(RecipeError, match="run `winnow keep` first"):
        export(Session.open(recipe(tmp_path, {"shards": str(out)})))
    with pytest.raises(RecipeError, match=r"export\.shards is missing"):
        export(decided(tmp_path, {}))
    assert not out.exists()


@pytest.mark.skipif(not PHOTOS.exists(), reason="no ../shared/data/photos")
def test_real_photos(tmp_path, out):
    compute = {"caption": {"use": "caption.Caption"}}
    more = {"compute": compute, "keep": {"caption.words": {"min": 12}}}
    session = decided(tmp_path, {"shards": str(out)}, pool=PHOTOS / "00001.tar", **more)
    assert 0 < export(session).samples < 500
    found, given = dict(read_tar(out / "00000000.tar")), dict(read_tar(PHOTOS / "00001.tar"))
    table = pl.read_parquet(out / "00000000.parquet")
    assert table["caption.words"].min() >= 12
    for key, source in table.select("key", "source_key").iter_rows():
        for suffix in ("jpg", "txt", "json"):
            assert found.pop(f"{key}.{suffix}") == given[f"{source}.{suffix}"]
    assert not found


# --- the readers it is for ----------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
def test_webdataset_reads_it(session, out):
    import webdataset

    export(session)
    urls = [str(out / f"{i:08d}.tar") for i in range(3)]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False))
    assert [s["__key__"] for s in samples] == [uid(i) for i in KEPT]
    assert [json.loads(s["json"])["uid"] for s in samples] == [uid(i) for i in KEPT]
    assert Image.open(io.BytesIO(samples[0]["jpg"])).size == (12, 8)


@pytest.mark.filterwarnings("ignore")
def test_open_clip_trains_on_it(session, out, monkeypatch):
    """open_clip's own loader: the size from sizes.json, every sample once. It is written for webdataset
    <= 0.2.86; later ones end each tar with a marker that it trips over (open_clip#935), hence the patch
    that its maintainers name."""
    data = pytest.importorskip("open_clip_train.data")
    if "eof_value" in inspect.signature(data.tar_file_expander).parameters:
        expand = functools.partial(data.tar_file_expander, eof_value=None)
        monkeypatch.setattr(data, "tar_file_expander", expand)
    export(session)
    arguments = SimpleNamespace(
        train_data=str(out / "{00000000..00000002}.tar"),
        train_num_samples=None,
        train_data_upsampling_factors=None,
        dataset_resampled=False,
        seed=0,
        batch_size=4,
        workers=1,
        world_size=1,
    )
    assert data.get_dataset_size(arguments.train_data) == (8, 3)
    loader = data.get_wds_dataset(
        arguments,
        lambda image: np.asarray(image).mean(),
        is_train=True,
        tokenizer=lambda text: [int(text.split()[-1])],
    ).dataloader
    assert loader.num_samples == 8
    batches = list(loader)
    assert sorted(int(n) for _, numbers in batches for n in numbers) == KEPT


def test_winnow_reads_it_again(session, out, tmp_path):
    """The same samples, the same uids: exports can be the pool of a second recipe."""
    export(session)
    again = tmp_path / "again"
    again.mkdir()
    second = decided(again, {"shards": str(again / "out")}, pool=out)
    assert export(second).samples == 8
    assert pl.read_parquet(again / "out" / "00000000.parquet")["uid"].to_list() == [uid(i) for i in KEPT]

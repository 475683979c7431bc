"""From a subset to shards: the resharder's contract, repeats, what link rot has lost, and open_clip's own
trainer."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from jobs.app import app
from jobs.toy.sample_pool import make_pool
from operators.subset import Copies
from pipeline.errors import RecipeError
from pipeline.export.subset import DTYPE, read_subset, subset_uids, write_subset
from pipeline.export.tars import export_shards
from pipeline.operator import Device
from pipeline.run.executor import LocalExecutor
from pipeline.storage.folder import Folder
from tests.support.decided_pool import decided, ordinary, read_tar, recipe, sample, uid, write_tar
from tests.support.folders import contents, is_states
from tests.support.tiny_clip import TINY

ASKED = [*(uid(i) for i in (0, 1, 2, 2, 2, 5, 9, 11)), uid("gone"), uid("gone"), uid("dead")]


def write_file(path: Path, uids) -> Path:
    rows = np.array([(int(u[:16], 16), int(u[16:], 16)) for u in uids], DTYPE)
    rows.sort()
    np.save(path, rows)
    return path


def winnow(*words, code: int = 0) -> dict:
    done = CliRunner().invoke(
        app, ["subset", "shards", *map(str, words), "--local", "--json"], catch_exceptions=False
    )
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


@pytest.fixture
def subset(tmp_path) -> Path:
    ordinary(tmp_path / "pool")
    return write_file(tmp_path / "subset.npy", ASKED)


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "out"


def uids_of(path) -> list[str]:
    return subset_uids(read_subset(str(path)))


def test_the_resharders_contract(subset, out, tmp_path):
    found = winnow(subset, tmp_path / "pool", out, "--samples-per-shard", 3)
    assert found == {
        "shards": {"path": str(out), "shards": 3, "samples": 8, "written": 3, "skipped": 0}
        | {"without_caption": 0},
        "asked": 11,
        "available": 8,
        "lost": {"path": str(out / "lost.npy"), "rows": 3, "distinct": 2},
        "pending": {},
    }
    assert (out / "sample_ids.npy").read_bytes() == subset.read_bytes()
    assert uids_of(out / "lost.npy") == sorted([uid("gone")] * 2 + [uid("dead")])
    assert uids_of(out / "available.npy") == sorted(ASKED[:8])
    assert json.loads((out / "meta.json").read_text()) == {
        "output_shard_count": 3,
        "output_shard_format": "{:08d}.tar",
    }
    sizes = [json.loads((out / f"{i:08d}_stats.json").read_text())["successes"] for i in range(3)]
    assert sizes == [3, 3, 2]
    assert sum(json.loads((out / "sizes.json").read_text()).values()) == 8


def test_members_are_the_pools_and_repeats_are_numbered(subset, out, tmp_path):
    winnow(subset, tmp_path / "pool", out, "--samples-per-shard", 4)
    members = [member for i in range(2) for member in read_tar(out / f"{i:08d}.tar")]
    given = {name: data for i in (0, 2) for name, data in read_tar(tmp_path / "pool" / f"{i:05d}.tar")}
    keys = [
        (0, ""),
        (1, ""),
        (2, "-0"),
        (2, "-1"),
        (2, ""),
        (5, ""),
        (9, ""),
        (11, ""),
    ]  # the second tar counts anew
    assert members == [
        (f"{uid(i)}{copy}.{suffix}", given[f"{i:09d}.{suffix}"])
        for i, copy in keys
        for suffix in ("jpg", "json", "txt")
    ]
    table = pl.concat(pl.read_parquet(out / f"{i:08d}.parquet") for i in range(2))
    assert table["uid"].to_list() == [uid(i) for i, _ in keys]
    assert table["subset.copies"].to_list() == [1, 1, 3, 3, 3, 1, 1, 1]
    assert [json.loads(data)["uid"] for name, data in members if name.endswith("json")] == table[
        "uid"
    ].to_list()


def test_again_and_after_a_kill(subset, out, tmp_path):
    words = (subset, tmp_path / "pool", out, "--samples-per-shard", 3)
    winnow(*words)
    first = contents(out)
    assert winnow(*words)["shards"]["skipped"] == 3
    (out / "00000001_stats.json").unlink()
    (out / "lost.npy").unlink()
    assert winnow(*words)["shards"]["written"] == 1
    assert contents(out) == first


def test_a_store_is_used_again(subset, out, tmp_path):
    winnow(subset, tmp_path / "pool", out, "--store", tmp_path / "store")
    index = tmp_path / "store" / "samples" / "00000.parquet"
    before = index.stat().st_mtime_ns
    other = write_file(tmp_path / "other.npy", [uid(3)])
    winnow(other, tmp_path / "pool", tmp_path / "other", "--store", tmp_path / "store")
    assert index.stat().st_mtime_ns == before
    assert uids_of(tmp_path / "other" / "available.npy") == [uid(3)]
    assert uids_of(tmp_path / "other" / "lost.npy") == []


def test_another_subset_replaces_the_shards(subset, out, tmp_path):
    winnow(subset, tmp_path / "pool", out, "--samples-per-shard", 3)
    other = write_file(tmp_path / "other.npy", [uid(3)] * 4)
    found = winnow(other, tmp_path / "pool", out, "--samples-per-shard", 3)
    assert found["shards"]["samples"] == 4
    assert sorted(p.name for p in out.glob("*.tar")) == ["00000000.tar", "00000001.tar"]
    assert uids_of(out / "sample_ids.npy") == [uid(3)] * 4


def test_a_pool_that_holds_a_uid_twice(out, tmp_path):
    """Both samples are written, as the resharder does; none is lost."""
    write_tar(tmp_path / "pool" / "0.tar", [*sample(1), *sample(2), *sample(1, key="again")])
    subset = write_file(tmp_path / "subset.npy", [uid(1)] * 2)
    found = winnow(subset, tmp_path / "pool", out)
    assert (found["asked"], found["available"], found["lost"]["rows"]) == (2, 2, 0)
    assert found["shards"]["samples"] == 4
    keys = [name for name, _ in read_tar(out / "00000000.tar") if name.endswith("jpg")]
    assert keys == [f"{uid(1)}{end}.jpg" for end in ("-0", "-1", "-2", "-3")]


def test_an_empty_subset_and_a_pool_without_any_of_it(out, tmp_path):
    ordinary(tmp_path / "pool")
    found = winnow(write_file(tmp_path / "a.npy", []), tmp_path / "pool", out)
    assert (found["asked"], found["shards"]["samples"], found["lost"]["rows"]) == (0, 0, 0)
    found = winnow(write_file(tmp_path / "b.npy", [uid("gone")]), tmp_path / "pool", out)
    assert (found["available"], found["lost"]["rows"]) == (0, 1)


def test_a_shard_that_is_not_there(subset, out, tmp_path):
    """The others are written; what is lost for want of it is told, and the status is 1."""
    (tmp_path / "pool" / "00002.tar").unlink()
    found = winnow(subset, f"{tmp_path}/pool/{{00000..00002}}.tar", out, code=1)
    assert list(found["pending"]) == ["00002"]
    assert found["available"] == 6
    assert set(uids_of(out / "lost.npy")) == {uid("gone"), uid("dead"), uid(9), uid(11)}


def test_files_that_will_not_do(out, tmp_path):
    ordinary(tmp_path / "pool")
    np.save(tmp_path / "floats.npy", np.zeros(2))
    for name, words in (("none.npy", "no such file"), ("floats.npy", "must be a list of u8,u8")):
        with pytest.raises(RecipeError, match=words):
            winnow(tmp_path / name, tmp_path / "pool", out)
    np.save(tmp_path / "unsorted.npy", np.array([(2, 0), (1, 0)], DTYPE))
    for name, words in (("floats.npy", "must be a list of u8,u8"), ("unsorted.npy", "must be sorted")):
        with pytest.raises(ValueError, match=words):
            Copies(file=str(tmp_path / name)).setup({}, Device())
    assert not out.exists()


def test_object_storage(subset, tmp_path):
    winnow(subset, tmp_path / "pool", tmp_path / "out", "--samples-per-shard", 3)
    Folder("memory://reshard").publish("subset.npy", subset.read_bytes())
    found = winnow(
        "memory://reshard/subset.npy", tmp_path / "pool", "memory://reshard/out", "--samples-per-shard", 3
    )
    assert found["available"] == 8
    memory = Folder("memory://reshard/out")
    names = {name for name in memory.file_names() if not is_states(name)}
    assert {name: memory.read(name) for name in names} == contents(tmp_path / "out")


# --- repeats, in any recipe -------------------------------------------------------------------------


def test_repeats_in_a_recipe(tmp_path, out):
    """Rules decide which, the column how often; a kept sample that has 0 or null is in neither."""
    ordinary(tmp_path / "pool")
    asked = write_file(tmp_path / "asked.npy", [uid(i) for i in (0, 0, 2, 2, 4, 10, 10, 10)])
    compute = {
        "caption": {"use": "caption.Caption"},
        "asked": {"use": "subset.Copies", "file": str(asked)},
    }
    export = {"shards": str(out), "subset": str(tmp_path / "out.npy"), "repeats": "asked.copies"}
    session = decided(tmp_path, export, compute=compute)  # captions of 2, 5, 8, 11 are too short
    assert write_subset(session, at_once=2).rows == 6
    expected = [uid(i) for i in (0, 0, 4, 10, 10, 10)]
    assert uids_of(tmp_path / "out.npy") == sorted(expected)
    assert export_shards(session, LocalExecutor()).samples == 6
    assert pl.read_parquet(out / "00000000.parquet")["uid"].to_list() == expected
    plain = decided(tmp_path, {"shards": str(out)}, compute=compute)
    assert export_shards(plain, LocalExecutor()).samples == 8  # the folder follows


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (
            "asked.copys",
            r"export\.repeats: asked\.copys is not a column of this recipe \(did you mean asked\.copies\?\)",
        ),
        ("caption.aspect", r"export\.repeats: caption\.aspect is Float32, must be whole numbers"),
    ],
)
def test_a_column_that_is_no_count(column, words, tmp_path):
    compute = {"caption": {"use": "caption.Caption"}, "asked": {"use": "subset.Copies", "file": "x.npy"}}
    with pytest.raises(RecipeError, match=words):
        recipe(tmp_path, {"repeats": column}, compute=compute)


# --- training ---------------------------------------------------------------------------------------


TRAIN = """
import sys, open_clip
from open_clip_train.main import main
open_clip.add_model_config(sys.argv[1])
main(sys.argv[2:])
"""


def test_open_clips_trainer_takes_it(tmp_path, out):
    """A subset of the sample pool, some of it twice, for four steps of open_clip's own entry point on a CPU,
    with the shards that meta.json names, as DataComp's train.py calls it."""
    pytest.importorskip("open_clip_train.main")
    make_pool(tmp_path / "pool", shards=2, per_shard=40, seed=0, image_size=64)
    tars = [member for path in sorted((tmp_path / "pool").glob("*.tar")) for member in read_tar(path)]
    chosen = [json.loads(data)["uid"] for name, data in tars if name.endswith("json")][::2]
    subset = write_file(tmp_path / "subset.npy", [*chosen, *chosen[:8], uid("gone")])
    found = winnow(subset, tmp_path / "pool", out, "--samples-per-shard", 16)
    assert (found["lost"]["rows"], found["shards"]["samples"]) == (1, len(chosen) + 8)
    meta = json.loads((out / "meta.json").read_text())
    first, last = (
        meta["output_shard_format"].format(n).removesuffix(".tar")
        for n in (0, meta["output_shard_count"] - 1)
    )
    config = tmp_path / "tiny-train-clip.json"
    config.write_text(json.dumps(TINY))
    arguments = {
        "--train-data": f"{out}/{{{first}..{last}}}.tar",
        "--train-num-samples": 32,
        "--dataset-type": "webdataset",
        "--model": config.stem,
        "--device": "cpu",
        "--precision": "fp32",
        "--batch-size": 8,
        "--workers": 1,
        "--epochs": 1,
        "--warmup": 1,
        "--lr": 1e-3,
        "--logs": tmp_path / "logs",
        "--name": "few",
        "--log-every-n-steps": 1,
    }
    words = [str(word) for pair in arguments.items() for word in pair]
    command = [sys.executable, "-c", TRAIN, str(config), *words, "--dataset-resampled", "--save-most-recent"]
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    log = (tmp_path / "logs" / "few" / "out.log").read_text()
    losses = [
        line.split("Contrastive_loss: ")[1].split()[0]
        for line in log.splitlines()
        if "Contrastive_loss: " in line
    ]
    assert len(losses) == 4
    assert all(0 < float(loss) < 10 for loss in losses)
    assert (tmp_path / "logs" / "few" / "checkpoints" / "epoch_latest.pt").exists()

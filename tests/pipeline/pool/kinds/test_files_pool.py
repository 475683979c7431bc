"""A pool of files from compute to export."""

import polars as pl
import pytest

from jobs import steps
from pipeline.decide.books import Losses, losses
from pipeline.decide.decide import decide
from pipeline.decide.explain import explain
from pipeline.export.subset import read_subset, subset_uids
from pipeline.export.tars import export_shards
from pipeline.plan.session import Session
from pipeline.pool.kinds import files as module
from pipeline.preflight.checks import check_storage
from pipeline.preflight.preview import preview
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from tests.pipeline.pool.kinds.made_files import JPEG, decided, exported, ordinary, put, recipe
from tests.support.decided_pool import sample, uid
from tests.support.folders import contents, tree


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
    assert losses(session) == Losses({}, {"HTTP 404": 4})


def test_stopped_between_shards_and_started_again(tmp_path, monkeypatch):
    ordinary(tmp_path / "pool", (4, 3, 2))
    whole = decided(tmp_path, store="whole")
    session = Session.open(recipe(tmp_path))

    def stop_after_one(event):
        if event.read is not None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compute(session, LocalExecutor(), observe=lambda todo: stop_after_one)
    first = tmp_path / "store" / "samples" / "00000" / "00000.parquet"
    written = first.stat().st_mtime_ns
    assert [path.parent.name for path in sorted((tmp_path / "store" / "samples").rglob("*.parquet"))] == [
        "00000"
    ]
    again = decided(tmp_path)
    assert first.stat().st_mtime_ns == written
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
    assert compute(session, executor).pending == {}
    decide(session)
    export_shards(session, executor)
    for one, two in (("local", "ray"), ("out_local", "out_ray")):
        assert tree(tmp_path / one, without=("runs", "footers")) == tree(
            tmp_path / two, without=("runs", "footers")
        )

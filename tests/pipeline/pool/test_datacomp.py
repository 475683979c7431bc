"""A DataComp folder: its columns as they lie there, and what works on them."""

import io
import pickle
import re
import shutil
import subprocess
import sys

import numpy as np
import orjson
import polars as pl
import pytest
from typer.testing import CliRunner

from jobs.app import app
from jobs.datacomp.pool import Plan, make_pool
from pipeline.decide.decide import decide
from pipeline.decide.explain import explain
from pipeline.errors import ShardError
from pipeline.export.indexes import index_exporter
from pipeline.plan.passes import plan
from pipeline.plan.session import Session
from pipeline.plan.stored import complete, list_stored
from pipeline.pool.datacomp.metadata import EMBEDDINGS, Metadata
from pipeline.pool.datacomp.npz import open_npz
from pipeline.recipe.load import parse
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from tests.pipeline.pool.made_datacomp import UIDS, kept, write
from tests.support.folders import contents, tree

GOLDEN = ("139e4a9b22a614771f06c700a8ebe150", "6e356964a967af455c8016b75d691203")


# --- columns --------------------------------------------------------------------------------------


def test_samples_scores_and_embeddings_are_read_where_they_lie(datacomp_folder, datacomp_session, tmp_path):
    columns = datacomp_session().columns
    table = pl.read_parquet(datacomp_folder / "00000001.parquet")
    names = [
        "shard",
        "row",
        "uid",
        "key",
        "text",
        "url",
        "original_width",
        "width",
        "datacomp.b32_score",
        *EMBEDDINGS,
    ]
    frame = columns.read("00000001", names)
    assert frame.columns == names
    assert frame["shard"].to_list() == ["00000001"] * 200
    assert frame["row"].to_list() == list(range(200))
    assert frame["key"][:2].to_list() == ["000000000", "000000001"]
    for name in ("uid", "text", "url"):
        assert frame[name].to_list() == table[name].to_list()
    assert frame["original_width"].to_list() == table["original_width"].to_list()
    assert frame["width"].null_count() == 200
    assert frame["datacomp.b32_score"].to_list() == table["clip_b32_similarity_score"].to_list()
    arrays = np.load(datacomp_folder / "00000001.npz")
    for name, array in EMBEDDINGS.items():
        assert frame[name].dtype == pl.Array(pl.Float16, 8)
        assert (frame[name].to_numpy() == arrays[array]).all()
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["datacomp.json"]  # no copy


def test_a_pair_of_made_up_embeddings_has_its_score_as_cosine(datacomp_folder):
    frame = Metadata(str(datacomp_folder)).read(["00000000"], ["datacomp.l14_score", *EMBEDDINGS])
    image, text = (
        frame[f"datacomp.l14_{side}_embedding"].to_numpy().astype(np.float32) for side in ("image", "text")
    )
    assert np.abs((image * text).sum(1) - frame["datacomp.l14_score"].to_numpy()).max() < 2e-3
    assert np.abs(np.linalg.norm(image, axis=1) - 1).max() < 2e-3


def test_made_up_scores_have_the_published_quantiles(tmp_path):
    make_pool(Plan(tmp_path, 20_000), ["a"])
    table = pl.read_parquet(tmp_path / "00000000.parquet")
    for model, cut in (("b32", 0.281), ("l14", 0.243)):
        assert (table[f"clip_{model}_similarity_score"] >= cut).mean() == pytest.approx(0.3, abs=1e-3)
    assert table["uid"].n_unique() == 20_000
    assert (
        0.3 < np.corrcoef(table["clip_b32_similarity_score"], table["clip_l14_similarity_score"])[0, 1] < 0.7
    )


def test_the_same_arguments_make_the_same_bytes(tmp_path):
    for name, workers in (("one", 1), ("two", 2)):
        make_pool(Plan(tmp_path / name, 50, 30, ("b32",), 4), ["a", "b"], workers)
    assert len(files := contents(tmp_path / "one")) == 5
    assert contents(tmp_path / "two") == files


@pytest.mark.parametrize("rows", [1, 7, 300, 1000])
def test_batches_are_the_rows_in_order(datacomp_folder, rows):
    names = ["uid", "row", "datacomp.b32_text_embedding"]
    metadata = Metadata(str(datacomp_folder))
    frames = list(metadata.batches("00000000", names, rows))
    assert max(map(len, frames)) == min(rows, 300)
    assert pl.concat(frames).equals(metadata.read(["00000000"], names))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_is_streamed_not_loaded(save, tmp_path):
    vectors = np.arange(4000, dtype=np.float32).reshape(500, 8)
    save(tmp_path / "a.npz", l14_img=vectors, words=np.array(["not", "floats"]))
    with open_npz(str(tmp_path / "a.npz")) as arrays:
        rows = arrays.array("l14_img")
        assert (rows.rows, rows.width) == (500, 8)
        assert (rows.take(499) == vectors[:499]).all()
        assert (rows.take(1) == vectors[499:]).all()
        with pytest.raises(ShardError, match="ends before its 500 rows"):
            rows.take(1)
    with (
        pytest.raises(ShardError, match="words holds dtype <U6, must hold numbers"),
        open_npz(str(tmp_path / "a.npz")) as arrays,
    ):
        arrays.array("words")


def test_an_npz_of_pickles_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", l14_img=np.array([[pickle.dumps(1), None]], object))
    with (
        pytest.raises(ShardError, match=r"l14_img holds Python objects \(a pickle\), must hold numbers"),
        open_npz(str(tmp_path / "a.npz")) as arrays,
    ):
        arrays.array("l14_img")


def test_object_storage(datacomp_folder):
    import fsspec

    there = fsspec.filesystem("memory")
    for path in datacomp_folder.iterdir():
        there.pipe_file(f"/datacomp-test/{path.name}", path.read_bytes())
    names = ["uid", "text", "datacomp.l14_score", "datacomp.l14_image_embedding"]
    remote, local = Metadata("memory://datacomp-test"), Metadata(str(datacomp_folder))
    sizes = {name: pair[:2] for name, pair in local.files().items()}
    assert {name: pair[:2] for name, pair in remote.files().items()} == sizes
    assert remote.read(["00000001"], names).equals(local.read(["00000001"], names))


def test_dataset2metadata_calls_the_caption_caption(tmp_path, datacomp_session):
    write(tmp_path / "metadata", text=None, caption=["a dog", "no"])
    assert datacomp_session().columns.read("a", ["text"])["text"].to_list() == ["a dog", "no"]


def test_scores_keep_their_precision(tmp_path, datacomp_session):
    """As DataComp compares them: a float32 just below 0.281 as a float64 passes `>= 0.281`."""
    score = np.array([0.281, 0.2809], np.float32)
    assert float(score[0]) < 0.281
    write(tmp_path / "metadata", clip_l14_similarity_score=score)
    assert kept(datacomp_session({"datacomp.l14_score": {"min": 0.281}})) == [UIDS[0]]


# --- work -----------------------------------------------------------------------------------------


def test_operators_read_captions_and_embeddings(datacomp_folder, datacomp_session):
    made = datacomp_session(
        {"length.value": {"min": 4}, "beside.value": {"min": 0.3}},
        compute={
            "length": {"use": "planted.Length"},
            "beside": {"use": "planted.Plus", "of": "datacomp.l14_score", "by": 0.05},
            "table": {"use": "planted.Histogram", "of": "datacomp.b32_score"},
            "often": {"use": "planted.Frequency", "of": "datacomp.b32_score", "table": "table"},
        },
        run={"length": {"batch_size": 64}},
    )
    assert [
        todo.reads_pool
        for todo in plan(made.recipe, made.shards, made.keys, list_stored(made))
        if hasattr(todo, "reads_pool")
    ] == [False] * 2
    assert not compute(made, LocalExecutor()).pending
    assert plan(made.recipe, made.shards, made.keys, list_stored(made)) == []
    table = pl.concat([pl.read_parquet(path) for path in sorted(datacomp_folder.glob("*.parquet"))])
    expected = table.filter(
        (pl.col("text").str.len_chars() >= 4) & (pl.col("clip_l14_similarity_score") + 0.05 >= 0.3)
    )
    assert kept(made) == expected["uid"].to_list()
    assert not made.store.root.exists("samples")
    assert not made.store.root.exists("columns/datacomp")


def test_a_stat_and_an_index_see_a_large_table_in_parts(
    datacomp_folder, datacomp_session, tmp_path, monkeypatch
):
    """And what comes out is what comes out of whole tables."""
    faiss = pytest.importorskip("faiss")
    found = []
    for rows in (37, 65_536):
        monkeypatch.setattr("pipeline.run.stats.ROWS_PER_PARTIAL", rows)
        monkeypatch.setattr("pipeline.export.kept_vectors.BATCH", rows)
        made = datacomp_session(
            {"datacomp.l14_score": {"top": 0.5}},
            compute={
                "table": {"use": "planted.Histogram", "of": "datacomp.b32_score"},
                "length": {"use": "planted.Length"},
                "lengths": {"use": "planted.Histogram", "of": "length.value"},
            },
            export={"index": {"embedding": "datacomp.l14_image_embedding", "path": f"{tmp_path}/{rows}"}},
            name=f"n{rows}",
        )
        shutil.rmtree(tmp_path / "store", ignore_errors=True)
        compute(made, LocalExecutor())
        decide(made)
        index_exporter.write_index(made)
        vectors = faiss.read_index(f"{tmp_path}/{rows}/image.index")
        stat = made.store.read(f"stats/table-{made.keys['table']}.parquet")
        lengths = made.store.read(f"stats/lengths-{made.keys['lengths']}.parquet")
        assert lengths["count"].sum() == 500  # of stored columns, too
        found.append((stat, vectors.reconstruct_n(0, vectors.ntotal)))
    assert found[0][0].equals(found[1][0])
    assert found[0][1].shape == (250, 8)
    assert (found[0][1] == found[1][1]).all()


@pytest.mark.usefixtures("local_ray")
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_ray_equals_the_plain_loop_to_the_byte(datacomp_folder, tmp_path, planted):
    from pipeline.run.on_ray import RayExecutor

    def made(store: str) -> Session:
        pool = {"datacomp": str(datacomp_folder), "store": f"{tmp_path}/{store}"}
        operators = {
            "length": {"use": "planted.Length"},
            "near": {
                "use": "datacomp.NearestCentroid",
                "embedding": "datacomp.l14_image_embedding",
                **places,
            },
            "table": {"use": "planted.Histogram", "of": "datacomp.b32_score"},
        }
        run = {name: {"workers": 2, "cpus": 0.5, "batch_size": 70} for name in ("length", "near")}
        return Session.open(parse({"pool": pool, "compute": operators, "run": run, "plugins": [planted]}))

    np.save(tmp_path / "c.npy", np.eye(8, dtype=np.float32))
    places = dict.fromkeys(("centroids", "targets"), f"{tmp_path}/c.npy")
    compute(made("local"), LocalExecutor())
    assert compute(made("ray"), RayExecutor(made("ray").recipe)).pending == {}
    assert tree(tmp_path / "ray") == tree(tmp_path / "local")
    # store.json, datacomp.json, two Scores of two shards with their meta.json, a Stat with its own
    assert len(tree(tmp_path / "ray")) == 2 + 2 * 3 + 2


def test_explain(datacomp_folder, datacomp_session):
    made = datacomp_session({"datacomp.l14_score": {"top": 0.5}})
    decide(complete(made))
    row = pl.read_parquet(datacomp_folder / "00000001.parquet").row(7, named=True)
    (entry,) = explain(made, [row["uid"].upper()])
    assert (entry.shard, entry.row, entry.text) == ("00000001", 7, row["text"])
    assert entry.rules[0].value == row["clip_l14_similarity_score"]


def test_keep_writes_the_golden_subset(tmp_path):
    write(
        tmp_path / "metadata",
        uid=[GOLDEN[1].upper(), GOLDEN[0], "f" * 32],
        clip_l14_similarity_score=[0.3, 0.4, 0.1],
    )
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        f"pool: {{datacomp: {tmp_path}/metadata, store: {tmp_path}/store}}\n"
        "keep: {datacomp.l14_score: {top: 0.5, ties: datacomp}}\n"
    )
    subset = tmp_path / "out" / "subset.npy"
    done = CliRunner().invoke(app, ["keep", str(recipe), "--subset", str(subset)])
    assert done.exit_code == 0, done.output
    rows = [(1413649363202610295, 2235693070683988304), (7941369398997528389, 6665352425310327299)]
    sink = io.BytesIO()
    np.save(sink, np.array(rows, "u8,u8"))
    assert subset.read_bytes() == sink.getvalue()
    assert len(sink.getvalue()) == 160


def test_overlap(tmp_path):
    write(tmp_path / "metadata", clip_b32_similarity_score=np.arange(10)[::-1] / 10)
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        f"pool: {{datacomp: {tmp_path}/metadata, store: {tmp_path}/store}}\n"
        "keep: {datacomp.l14_score: {min: 0.25}, datacomp.b32_score: {min: 0.45}}\n"
    )
    numbers = orjson.loads(CliRunner().invoke(app, ["keep", str(recipe), "--json"]).stdout)
    assert numbers["rules"]["datacomp.l14_score"]["passes_with"] == {
        "datacomp.b32_score": 2
    }  # 3, 4 of 3..9, 0..4
    shown = subprocess.run(
        [sys.executable, "-m", "jobs", "keep", str(recipe), "--overlap"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert re.search(r"1 +datacomp\.l14_score +100\.0% +28\.6%", shown)
    assert re.search(r"2 +datacomp\.b32_score +40\.0% +100\.0%", shown)

"""DataComp metadata folders as pools: what becomes a column, what is an error, and that npz files are streamed."""

import io
import pickle
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from jobs.__main__ import app
from jobs.datacomp.pool import Plan, make_pool
from pipeline.decide.cuts import Selection, rank_from_top
from pipeline.decide.decide import decide
from pipeline.decide.explain import explain
from pipeline.errors import RecipeError, ShardError
from pipeline.export import faiss_index
from pipeline.export.kept import written_uids
from pipeline.plan.passes import plan
from pipeline.plan.session import Session
from pipeline.plan.stored import complete, list_stored
from pipeline.pool.columns import Columns
from pipeline.pool.datacomp_reader import EMBEDDINGS, Metadata
from pipeline.pool.kinds.datacomp import InPlace
from pipeline.pool.npz import open_npz
from pipeline.recipe.load import parse
from pipeline.rule import Rule
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from pipeline.storage.store import Store
from tests.support.folders import tree

GOLDEN = ("139e4a9b22a614771f06c700a8ebe150", "6e356964a967af455c8016b75d691203")
UIDS = tuple(f"{number:032x}" for number in range(10))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files of 300 and 200 rows, with embeddings of 8 numbers."""
    make_pool(
        Plan(tmp_path / "metadata", 500, 300, ("b32", "l14"), 8), ["a dog", "ein Hund", "", "a beach\n"]
    )
    return tmp_path / "metadata"


@pytest.fixture
def session(tmp_path: Path, planted: str) -> Callable[..., Session]:
    """session(keep, compute) over tmp_path/metadata."""

    def opened(keep: Any = None, **more: Any) -> Session:
        pool = {"datacomp": f"{tmp_path}/metadata", "store": f"{tmp_path}/store"}
        return Session.open(parse({"pool": pool, "keep": keep or {}, "plugins": [planted], **more}))

    return opened


def write(folder: Path, name: str = "a", **columns: Any) -> None:
    """One parquet; a uid, a caption and scores unless told otherwise."""
    rows = next((len(values) for values in columns.values() if values is not None), len(UIDS))
    whole = {
        "uid": UIDS[:rows],
        "text": ["a dog"] * rows,
        "clip_l14_similarity_score": np.arange(rows) / 10,
        **columns,
    }
    folder.mkdir(parents=True, exist_ok=True)
    kept = {name: values for name, values in whole.items() if values is not None}
    pl.DataFrame(kept).write_parquet(folder / f"{name}.parquet")


def kept(session: Session) -> list[str]:
    decide(complete(session))
    return [uid for shard in session.shards for uid in _kept(session, shard.name)]


def _kept(session: Session, shard: str) -> list[str]:
    return pl.concat(written_uids(session, [shard])).to_list()


# --- columns --------------------------------------------------------------------------------------


def test_samples_scores_and_embeddings_are_read_where_they_lie(folder, session, tmp_path):
    columns = session().columns
    table = pl.read_parquet(folder / "00000001.parquet")
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
    arrays = np.load(folder / "00000001.npz")
    for name, array in EMBEDDINGS.items():
        assert frame[name].dtype == pl.Array(pl.Float16, 8)
        assert (frame[name].to_numpy() == arrays[array]).all()
    assert not (tmp_path / "store").exists()


def test_a_pair_of_made_up_embeddings_has_its_score_as_cosine(folder):
    frame = Metadata(str(folder)).read(["00000000"], ["datacomp.l14_score", *EMBEDDINGS])
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
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert len(files) == 4
    assert all((tmp_path / "one" / n).read_bytes() == (tmp_path / "two" / n).read_bytes() for n in files)


@pytest.mark.parametrize("rows", [1, 7, 300, 1000])
def test_batches_are_the_rows_in_order(folder, rows):
    names = ["uid", "row", "datacomp.b32_text_embedding"]
    metadata = Metadata(str(folder))
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
        with pytest.raises(ShardError, match="must be rows of floats"):
            arrays.array("words")


def test_an_npz_of_pickles_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", l14_img=np.array([[pickle.dumps(1), None]], object))
    with (
        open_npz(str(tmp_path / "a.npz")) as arrays,
        pytest.raises(ShardError, match="must be rows of floats"),
    ):
        arrays.array("l14_img")


def test_object_storage(folder):
    import fsspec

    there = fsspec.filesystem("memory")
    for path in folder.iterdir():
        there.pipe_file(f"/datacomp-test/{path.name}", path.read_bytes())
    names = ["uid", "text", "datacomp.l14_score", "datacomp.l14_image_embedding"]
    remote, local = Metadata("memory://datacomp-test"), Metadata(str(folder))
    assert remote.files() == local.files()
    assert remote.read(["00000001"], names).equals(local.read(["00000001"], names))


def test_dataset2metadata_calls_the_caption_caption(tmp_path, session):
    write(tmp_path / "metadata", text=None, caption=["a dog", "no"])
    assert session().columns.read("a", ["text"])["text"].to_list() == ["a dog", "no"]


def test_scores_keep_their_precision(tmp_path, session):
    """As DataComp compares them: a float32 just below 0.281 as a float64 passes `>= 0.281`."""
    score = np.array([0.281, 0.2809], np.float32)
    assert float(score[0]) < 0.281
    write(tmp_path / "metadata", clip_l14_similarity_score=score)
    assert kept(session({"datacomp.l14_score": {"min": 0.281}})) == [UIDS[0]]


# --- work -----------------------------------------------------------------------------------------


def test_operators_read_captions_and_embeddings(folder, session):
    made = session(
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
    table = pl.concat([pl.read_parquet(path) for path in sorted(folder.glob("*.parquet"))])
    expected = table.filter(
        (pl.col("text").str.len_chars() >= 4) & (pl.col("clip_l14_similarity_score") + 0.05 >= 0.3)
    )
    assert kept(made) == expected["uid"].to_list()
    assert not made.store.root.exists("samples")
    assert not made.store.root.exists("columns/datacomp")


def test_a_stat_and_an_index_see_a_large_table_in_parts(folder, session, tmp_path, monkeypatch):
    """And what comes out is what comes out of whole tables."""
    faiss = pytest.importorskip("faiss")
    found = []
    for rows in (37, 65_536):
        monkeypatch.setattr("pipeline.run.stats.ROWS_PER_PARTIAL", rows)
        monkeypatch.setattr("pipeline.export.faiss_index.BATCH", rows)
        made = session(
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
        faiss_index.write_index(made)
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
def test_ray_equals_the_plain_loop_to_the_byte(folder, tmp_path, planted):
    from pipeline.run.on_ray import RayExecutor

    def made(store: str) -> Session:
        pool = {"datacomp": str(folder), "store": f"{tmp_path}/{store}"}
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
    assert len(tree(tmp_path / "ray")) == 1 + 2 * 3 + 1  # the index, two Scores with meta.json, a Stat


def test_explain(folder, session):
    made = session({"datacomp.l14_score": {"top": 0.5}})
    decide(complete(made))
    row = pl.read_parquet(folder / "00000001.parquet").row(7, named=True)
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
    ).stderr
    assert re.search(r"1 +datacomp\.l14_score +100\.0% +28\.6%", shown)
    assert re.search(r"2 +datacomp\.b32_score +40\.0% +100\.0%", shown)


# --- DataComp's cut -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "share", "expected"),
    [
        (np.arange(10) / 10, 0.3, 4),  # element 3, from 0, of the descending sort
        (np.arange(10) / 10, 0.29, 3),
        (np.r_[np.arange(5) / 10, [0.9] * 5], 0.3, 5),  # ties
        (np.r_[[np.nan] * 5, np.arange(5) / 10], 0.3, 4),  # NaN sorts last but counts
        (np.r_[[np.nan] * 7, [0.1, 0.2, 0.3]], 0.3, 0),  # the cut is NaN
        (np.r_[[np.nan] * 7, [0.1, 0.2, 0.3]], 0.2, 3),
        ([None, None, *np.arange(8) / 10], 0.5, 6),
        ([None] * 10, 0.1, 0),
    ],
)
def test_the_cut_of_a_fraction(scores, share, expected, tmp_path, session):
    write(tmp_path / "metadata", clip_l14_similarity_score=pl.Series(list(scores), dtype=pl.Float64))
    made = session({"datacomp.l14_score": {"top": share, "ties": "datacomp"}})
    assert len(kept(made)) == expected
    values = np.array([np.nan if s is None else s for s in scores])
    assert int((values >= -np.sort(-values)[int(len(values) * share)]).sum()) == expected


@given(
    scores=st.lists(
        st.sampled_from([None, float("nan"), -0.1, 0.0, 0.2, 0.281, 0.5]), min_size=1, max_size=60
    ),
    share=st.floats(0.001, 0.999),
    split=st.integers(0, 60),
)
def test_any_cut_is_datacomps(scores, share, split):
    rule = Rule(column="x", top=share, ties="datacomp")
    values, selection = pl.Series("x", scores, dtype=pl.Float64), Selection(rule)
    none = pl.Series([], dtype=pl.String)
    while selection.cut is None:
        selection.settle_digit(
            [selection.count_rows(part, none) for part in (values[:split], values[split:])]
        )
    numbers = np.array([np.nan if s is None else s for s in scores])
    expected = numbers >= -np.sort(-numbers)[int(len(numbers) * share)]
    assert rule.verdict(values, none, selection.cut).fill_null(False).to_list() == expected.tolist()


def test_the_share_is_cut_off_as_an_int():
    assert (
        rank_from_top(Rule(column="x", top=0.29, ties="datacomp"), 100, 100) == 29
    )  # 100 * 0.29 = 28.999...


@pytest.mark.parametrize("bound", [{"top": 1.0}, {"top": "5 samples"}, {"bottom": 0.3}])
def test_what_datacomp_cannot_cut(bound, folder, session):
    with pytest.raises(RecipeError, match=r"ties: datacomp, which is for `top` with a share below 1"):
        session({"datacomp.l14_score": {**bound, "ties": "datacomp"}})


# --- errors ---------------------------------------------------------------------------------------


def test_a_missing_partner(folder, session):
    (folder / "00000001.npz").unlink()
    with pytest.raises(RecipeError, match=r"00000001\.parquet has no 00000001\.npz"):
        session()
    (folder / "00000000.npz").rename(folder / "b.npz")
    with pytest.raises(
        RecipeError, match=r"b\.npz has no b\.parquet; 00000000\.parquet has no 00000000\.npz"
    ):
        session()


def test_without_any_npz_scores_can_be_read_and_embeddings_not(tmp_path, session):
    write(tmp_path / "metadata")
    assert kept(session({"datacomp.l14_score": {"min": 0.85}})) == [UIDS[9]]
    with pytest.raises(
        RecipeError, match=r"holds no npz files, and datacomp\.b32_image_embedding lies in them"
    ):
        session(export={"index": {"embedding": "datacomp.b32_image_embedding", "path": "index"}})


def test_unequal_lengths(folder, session):
    arrays = dict(np.load(folder / "00000001.npz"))
    np.savez(folder / "00000001.npz", **{**arrays, "l14_txt": arrays["l14_txt"][:-1]})
    with pytest.raises(RecipeError, match=r"00000001\.npz: l14_txt has 199 rows, the parquet 200"):
        complete(session())


@pytest.mark.parametrize("bad", ["a" * 31, "g" * 32, "a" * 33, "", None, "é" * 16])
def test_a_uid_that_is_not_hex(bad, tmp_path, session):
    write(tmp_path / "metadata", uid=[UIDS[0], UIDS[1], bad])
    with pytest.raises(ShardError, match=rf"a\.parquet: row 2: uid {bad!r} must be 32 hex digits"):
        kept(session({"datacomp.l14_score": {"min": 0}}))


def test_a_missing_column(tmp_path, session):
    write(tmp_path / "metadata", text=None)
    made = session({"length.value": {"min": 1}}, compute={"length": {"use": "planted.Length"}})
    assert (
        "no column text or caption (for text); there are: uid" in compute(made, LocalExecutor()).pending["a"]
    )
    with pytest.raises(ShardError, match="no column clip_b32_similarity_score"):
        decide(complete(session({"datacomp.b32_score": {"min": 0}})))


def test_a_garbled_npz(folder, session):
    whole = (folder / "00000000.npz").read_bytes()
    (folder / "00000000.npz").write_bytes(whole[:-100])
    with pytest.raises(RecipeError, match=r"00000000\.npz is not a whole \.npz"):
        complete(session())


def test_a_garbled_row_of_an_npz(folder, session):
    """A member's checksum is that of all its rows, so a shard with one wrong bit stays pending."""
    path = folder / "00000000.npz"
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("l14_img.npy").header_offset
    data = bytearray(path.read_bytes())
    data[start + 2000] ^= 1
    path.write_bytes(data)
    with pytest.raises(ShardError, match=r"Bad CRC-32"):
        session().columns.read("00000000", ["datacomp.l14_image_embedding"])


def test_no_parquet(tmp_path, session):
    (tmp_path / "metadata").mkdir()
    with pytest.raises(RecipeError, match=r"pool\.datacomp: .* holds no \*\.parquet"):
        session()
    (tmp_path / "metadata").rmdir()
    with pytest.raises(RecipeError, match=r"pool\.datacomp: FileNotFoundError"):
        session()


def test_a_store_is_of_one_folder(tmp_path, session):
    write(tmp_path / "metadata")
    complete(session())
    write(tmp_path / "metadata", name="b")
    assert len(complete(session()).shards) == 2  # more files are more shards
    write(tmp_path / "metadata", uid=UIDS[:5])
    with pytest.raises(RecipeError, match=r"a\.parquet or its npz is not what the store was made from"):
        complete(session())


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        ({"datacomp": "a", "shards": "b.tar"}, "must have exactly one of shards .* got both"),
        ({}, "must have exactly one of shards .* got none"),
        ({"datacomp": "a", "columns": {"text": "b"}}, "has columns, which only the tables"),
    ],
)
def test_a_pool_is_of_one_kind(pool, message):
    with pytest.raises(RecipeError, match=message):
        parse({"pool": {**pool, "store": "store"}})


def test_images_are_not_there(folder, session):
    with pytest.raises(RecipeError, match=r"compute\.image reads images, and pool\.datacomp are tables"):
        session(compute={"image": {"use": "planted.Brightness"}})


def test_the_name_is_taken(folder, session):
    with pytest.raises(
        RecipeError,
        match=r"compute\.datacomp: this name is reserved for the columns of pool\.datacomp; choose another",
    ):
        session(compute={"datacomp": {"use": "planted.Length"}})


def test_only_such_pools_have_such_columns(planted):
    with pytest.raises(RecipeError, match=r"datacomp\.l14_score is not a column of this recipe"):
        parse({"pool": {"shards": "a.tar", "store": "s"}, "keep": {"datacomp.l14_score": {"min": 0}}})


def test_columns_travel(folder, tmp_path):
    store = Store(f"{tmp_path}/store")
    columns = pickle.loads(pickle.dumps(Columns(store, {}, InPlace(str(folder), store))))
    assert len(columns.read("00000000", ["uid"])) == 300

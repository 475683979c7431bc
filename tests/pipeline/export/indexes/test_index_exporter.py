"""The index's folder: rows and ids, equal bytes. test_faiss_build.py tests the factories."""

import json
import os
import shutil

import faiss
import numpy as np
import polars as pl
import pytest

from pipeline.errors import RecipeError
from pipeline.export import kept_vectors
from pipeline.export.indexes import index_exporter as module
from pipeline.export.indexes.index_exporter import IndexExporter, IndexResult, write_index
from pipeline.export.kept_vectors import KeptVectors
from pipeline.export.places.contents import sealed
from pipeline.plan.session import Session
from pipeline.search.index import search
from tests.support.decided_pool import decided, ordinary, recipe, sample, uid, write_tar
from tests.support.folders import contents

KEPT = [0, 1, 3, 4, 6, 7, 9, 10]


def vector(number: int) -> np.ndarray:
    """What the plug-in gives for a sample, as it is stored: float16."""
    row = np.random.default_rng(int(uid(number)[:8], 16)).standard_normal(8)
    row = (row / np.linalg.norm(row)).astype(np.float16).astype(np.float32)
    return row / np.linalg.norm(row)


def section(out, **more) -> dict:
    return {"index": {"embedding": "vector.embedding", "path": str(out), **more}}


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def session(tmp_path, out):
    ordinary(tmp_path / "pool")
    return decided(tmp_path, section(out))


def test_faiss_reads_it_and_rows_are_ids(session, out):
    about = write_index(session)
    assert (about.rows, about.missing, about.dimension, about.key) == (8, 0, 8, "Flat")
    index = faiss.read_index(str(out / "image.index"))
    assert (index.ntotal, index.metric_type) == (8, faiss.METRIC_INNER_PRODUCT)
    expected = np.stack([vector(i) for i in KEPT])
    np.testing.assert_allclose(index.reconstruct_n(0, 8), expected, atol=1e-6)
    table = pl.read_parquet(out / "metadata" / "metadata_0.parquet")
    assert table.columns == ["id", "uid", "shard", "row", "key", "caption", "url"]
    assert table["id"].to_list() == list(range(8))
    assert table["uid"].to_list() == [uid(i) for i in KEPT]
    assert table["shard"].to_list() == ["00000"] * 5 + ["00002"] * 3
    assert table["row"].to_list() == [0, 1, 3, 4, 6, 0, 2, 3]
    assert table["caption"].to_list() == [f"caption number {i}" for i in KEPT]
    assert table["url"].to_list() == [f"https://example.org/{i}" for i in KEPT]


def test_about(session, out):
    about = write_index(session)
    stored = json.loads((out / "image.json").read_bytes())
    assert stored["complete"] is True
    assert stored["inputs"].keys() == {"samples", session.folder("vector")}
    shown = {name: stored[name] for name in module._ABOUT_KEYS}
    assert about == IndexResult(**shown, parts=0, path=str(out), written=True)
    assert stored["metric"] == "inner_product"
    assert stored["columns"] == session.folder("vector")
    assert stored["decision"].startswith("decisions/test-")


def test_rows_without_an_embedding_are_left_out_and_counted(tmp_path, out):
    broken = [("b.jpg", b"no image"), ("b.txt", b"long enough"), ("b.json", b'{"url": "u"}')]
    write_tar(tmp_path / "pool" / "0.tar", [*sample(1), *broken, *sample(2)])
    about = write_index(decided(tmp_path, section(out)))
    assert (about.rows, about.missing) == (2, 1)
    table = pl.read_parquet(out / "metadata" / "metadata_0.parquet")
    assert table["uid"].to_list() == [uid(1), uid(2)]
    assert table["row"].to_list() == [0, 2]


def test_vectors_of_no_length_or_not_finite_are_left_out(session, out, monkeypatch):
    rows = [[1.0] + [0.0] * 7, [0.0] * 8, [float("nan")] * 8, [float("inf")] * 8, None]
    series = pl.Series("vector.embedding", rows, pl.Array(pl.Float16, 8))
    whole = KeptVectors.of(session, "vector.embedding")
    vectors, frame = whole._valid(pl.DataFrame([pl.Series("uid", list("abcde")), series]))
    assert vectors.tolist() == [[1.0] + [0.0] * 7]
    assert (frame["uid"].to_list(), frame.columns, whole.missing) == (["a"], ["uid"], 4)


def test_nothing_kept(tmp_path, out):
    write_tar(tmp_path / "pool" / "0.tar", sample(1, caption="no"))
    about = write_index(decided(tmp_path, section(out)))
    assert (about.rows, about.dimension) == (0, 8)
    assert pl.read_parquet(out / "metadata" / "metadata_0.parquet").columns[:2] == ["id", "uid"]
    assert search(str(out), vector(0)[None], k=2).ids.tolist() == [[-1, -1]]


@pytest.mark.parametrize("factory", ["auto", "IVF2,Flat", "IVF2,SQ8", "PCA4,Flat"])
def test_equal_bytes_whatever_the_threads_and_batches(session, out, tmp_path, monkeypatch, factory):
    session = decided(tmp_path, section(out, factory=factory))
    threads, found = faiss.omp_get_max_threads(), []
    try:
        for number in (1, 2):
            faiss.omp_set_num_threads(number)
            write_index(session)
            found.append(contents(out))
            shutil.rmtree(out)
    finally:
        faiss.omp_set_num_threads(threads)
    assert found[0] == found[1]
    beside = ["recall.npz", "sources.parquet"]
    assert sorted(found[0]) == ["image.index", "image.json", "metadata/metadata_0.parquet", *beside]


def test_batches_do_not_change_the_answers(session, out, monkeypatch):
    write_index(session)
    whole = (out / "image.index").read_bytes()
    shutil.rmtree(out)
    monkeypatch.setattr(kept_vectors, "BATCH", 2)
    write_index(session)
    assert (out / "image.index").read_bytes() == whole
    assert pl.read_parquet(out / "metadata" / "metadata_0.parquet")["id"].to_list() == list(range(8))


def test_auto_trains_lists_past_the_limit(tmp_path, out, monkeypatch):
    ordinary(tmp_path / "pool", (15, 0, 9))
    monkeypatch.setattr("pipeline.plan.index_choice.FLAT", 15)
    about = write_index(decided(tmp_path, section(out)))
    assert (about.rows, about.key) == (16, "IVF16,Flat")  # 4 * sqrt(16)
    index = faiss.read_index(str(out / "image.index"))
    assert (index.nlist, index.ntotal) == (16, 16)
    assert index.nprobe == about.measured["probes"]
    assert search(str(out), vector(7)[None], k=1).rows["uid"].to_list() == [uid(7)]


def test_auto_goes_by_the_rows_that_have_an_embedding(tmp_path, out, monkeypatch):
    broken = [(f"b{i}.{s}", d) for i in range(4) for s, d in (("jpg", b"x"), ("txt", b"long enough"))]
    write_tar(tmp_path / "pool" / "0.tar", [*sample(1), *broken, *sample(2)])
    monkeypatch.setattr("pipeline.plan.index_choice.FLAT", 3)
    assert write_index(decided(tmp_path, section(out))).key == "Flat"


def test_the_same_again_is_left_alone(session, out, tmp_path):
    write_index(session)
    before = (out / "image.index").stat().st_mtime_ns
    assert write_index(session).written is False
    assert (out / "image.index").stat().st_mtime_ns == before
    other = decided(tmp_path, section(out, factory="IVF1,Flat"))
    assert write_index(other).written is True


def test_an_index_of_an_earlier_version_is_written_anew(session, out):
    write_index(session)
    whole = contents(out)
    earlier = json.loads(whole["image.json"])
    for key in ("format", "measured", "operator", "pool", "memory", "recall", "seal"):
        del earlier[key]
    (out / "image.json").write_bytes(sealed(earlier))
    assert write_index(session).written is True
    assert contents(out) == whole


def test_a_killed_build_is_done_again(session, out):
    write_index(session)
    whole = contents(out)
    begun = {**json.loads(whole["image.json"]), "complete": False}
    (out / "image.json").write_text(json.dumps(begun))
    (out / "image.index").write_bytes(b"torn")
    host = os.uname().nodename.replace(".", "-")
    (out / f".winnow-tmp.{host}.4000000.1.image.index").write_bytes(b"half")
    assert write_index(session).written is True
    assert contents(out) == whole


def test_object_storage(session, tmp_path):
    remote = decided(tmp_path, section("memory://index-test/out"))
    assert write_index(remote).written is True
    assert search("memory://index-test/out", vector(9)[None], k=1).rows["uid"].to_list() == [uid(9)]
    assert write_index(remote).written is False


def test_the_index_of_another_program_is_left_alone(session, out):
    out.mkdir()
    (out / "image.json").write_text('{"index_key": "HNSW32"}')
    with pytest.raises(RecipeError, match=r"image\.json is garbled, or that of something else"):
        write_index(session)
    assert [p.name for p in out.iterdir()] == ["image.json"]


@pytest.mark.parametrize("manifest_lost", [False, True])
def test_the_folder_of_an_index_of_another_kind_is_refused(session, out, tmp_path, manifest_lost):
    """Both kinds would write metadata/metadata_0.parquet."""
    write_index(session)
    if manifest_lost:
        (out / "image.json").unlink()
    before = contents(out)
    other = decided(tmp_path, section(out, kind="text"))
    kinds = f"^export.index.path: {out} holds an index of another kind"
    told = r"garbled, or that of something else" if manifest_lost else kinds
    for refused in (lambda: IndexExporter().check(other), lambda: write_index(other)):
        with pytest.raises(RecipeError, match=told):
            refused()
    assert contents(out) == before


def test_an_index_without_a_manifest_is_somebody_elses(session, out):
    out.mkdir()
    (out / "image.index").write_bytes(b"mine")
    with pytest.raises(
        RecipeError, match=r"^export\.index\.path: .* not written by Winnow \(it has image\.index\)"
    ):
        write_index(session)
    assert contents(out) == {"image.index": b"mine"}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"factory": "IVF9,Flat"}, "IVF9,Flat cannot be trained on 8 vectors"),
        ({"factory": "flat!"}, r"export\.index\.factory must be auto or .* got 'flat!'"),
        (
            {"embedding": "caption.words"},
            r"export\.index\.embedding: caption\.words is UInt32",
        ),
    ],
)
def test_mistakes(tmp_path, session, out, more, message):
    with pytest.raises(RecipeError, match=message):
        write_index(decided(tmp_path, section(out, **more)))
    assert not (out / "image.index").exists()


def test_needs_decisions_and_a_section(tmp_path, out):
    ordinary(tmp_path / "pool")
    with pytest.raises(RecipeError, match="run `winnow keep` first"):
        write_index(Session.open(recipe(tmp_path, section(out))))
    with pytest.raises(RecipeError, match=r"export\.index is missing"):
        write_index(decided(tmp_path, {}))

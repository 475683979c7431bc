"""NormSim: a golden value (GOLDENS.md), the ways a target's embeddings may come, and odd rows."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from operators.normsim import NormSim
from pipeline.operator import Device
from pipeline.plan.session import Session
from pipeline.storage.folder import Folder
from tests.support.decided_pool import recipe

G, F = np.array([[1, 0], [0.8, 0.6]]), np.array([[1, 0], [0, 1], [0.6, 0.8]])
TWO, MOST = [1.280625, 0.6, 1.132078], [1, 0.6, 0.96]


def scored(vectors, proxy, threads=1, device="cpu", **parameters) -> pl.DataFrame:
    operator = NormSim(image_embedding="c.image", proxy=proxy, **parameters)
    operator.setup({}, Device(device, threads))
    column = vectors if isinstance(vectors, pl.Series) else pl.Series(vectors.astype(np.float16))
    return operator.score(pl.DataFrame({"c.image": column}))


@pytest.fixture
def save(tmp_path):
    def save(vectors, name="g.npy") -> str:
        path = str(tmp_path / name)
        np.save(path, vectors)
        return path

    return save


@pytest.mark.parametrize(("p", "expected"), [(2, TWO), ("inf", MOST)])
def test_golden(p, expected, save):
    found = scored(pl.Series(F.astype(np.float32)), save(G), p=p)
    np.testing.assert_allclose(found["score"], expected, atol=5e-7)
    assert found["score"].dtype == pl.Float32


@pytest.mark.parametrize("p", [2, "inf"])
def test_lengths_do_not_count(p, save):
    """Embeddings as a model gives them, not scaled yet, on either side."""
    plain = scored(pl.Series(F), save(G), p=p)["score"]
    long = scored(pl.Series(F * [[3], [0.5], [7]]), save(G * [[2], [30]]), p=p)["score"]
    np.testing.assert_allclose(long, plain, atol=1e-6)


@pytest.mark.parametrize("p", [2, "inf"])
def test_it_is_the_norm(p, save):
    """Against the definition, over several blocks, in any batch, on any number of threads."""
    rng = np.random.default_rng(0)
    proxies, images = rng.standard_normal((9000, 24)), rng.standard_normal((1500, 24)).astype(np.float16)
    path = save(proxies.astype(np.float32))
    g, f = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (proxies, images.astype(np.float64)))
    expected = np.linalg.norm(g @ f.T, axis=0) if p == 2 else (g @ f.T).max(0)
    found = scored(images, path, p=p)
    np.testing.assert_allclose(
        found["score"],
        expected,
        rtol=2e-6,
    )
    assert scored(images, path, threads=3, p=p).equals(found)
    assert scored(images, path, device="cpu:0", p=p).equals(found)  # the way of a GPU: all proxies placed
    assert pl.concat([scored(images[a : a + 333], path, p=p) for a in range(0, 1500, 333)]).equals(found)


def test_the_nearest_may_be_far(save):
    """p inf is the highest cosine, not the largest in size: an image opposite to the target is no match."""
    assert scored(np.array([[-1.0, 0.0]]), save(G), p="inf")["score"][0] == pytest.approx(-0.8)


def test_every_kind_of_file(save, tmp_path):
    expected = scored(F, save(G))["score"].to_list()
    np.savez(tmp_path / "one.npz", l14_img=G)
    np.savez(tmp_path / "two.npz", l14_img=G, l14_txt=-G[:1])
    vectors = pl.Series("v", G.tolist())
    pl.DataFrame({"v": vectors, "uid": ["a", "b"]}).write_parquet(tmp_path / "list.parquet")
    pl.DataFrame({"v": vectors.cast(pl.Array(pl.Float32, 2))}).write_parquet(tmp_path / "array.parquet")
    torch.save({"image_features": torch.tensor(G)}, tmp_path / "in1k.pt")
    torch.save(torch.tensor(G), tmp_path / "plain.pt")
    for name, array in [
        ("one.npz", ""),
        ("two.npz", "l14_img"),
        ("list.parquet", "v"),
        ("array.parquet", ""),
        ("in1k.pt", "image_features"),
        ("plain.pt", ""),
    ]:
        assert scored(F, str(tmp_path / name), array=array)["score"].to_list() == pytest.approx(expected), (
            name
        )
    Folder("memory://normsim").publish("g.npy", Path(save(G)).read_bytes())
    assert scored(F, "memory://normsim/g.npy")["score"].to_list() == pytest.approx(expected)
    parts = {"a": save(G[:1], "a.npy"), "b": save(G[1:], "b.npy")}
    assert scored(F, parts)["score"].to_list() == pytest.approx(expected)


def test_a_table_without_rows_is_told_before_the_start_and_at_it(tmp_path):
    path = f"{tmp_path}/evaluation.parquet"
    pl.DataFrame(schema={"v": pl.Array(pl.Float16, 2)}).write_parquet(path)
    reason = "evaluation.parquet has no rows"
    assert reason in NormSim(image_embedding="c.image", proxy=path).why_broken("proxy", path)
    with pytest.raises(ValueError, match=reason):
        scored(F, path)


def test_files_that_will_not_do(save, tmp_path):
    np.savez(tmp_path / "two.npz", a=G, b=G)
    np.save(tmp_path / "pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "g.csv").write_text("1,0")
    pl.DataFrame({"v": [[1.0, 0.0], [1.0]]}).write_parquet(tmp_path / "ragged.parquet")
    pl.DataFrame({"v": [[1.0, 0.0], None]}).write_parquet(tmp_path / "hole.parquet")
    for path, words in [
        (tmp_path / "two.npz", r"array must name one of a, b of .*two\.npz, got ''"),
        (tmp_path / "pickled.npy", "Python objects"),
        (tmp_path / "g.csv", r"must be one of \.npy, \.npz, \.parquet, \.pt"),
        (tmp_path / "ragged.parquet", "vectors of one length"),
        (tmp_path / "hole.parquet", "vectors of one length|a vector in each row"),
        (save(np.zeros(3), "flat.npy"), r"must hold \(m, d\) floats, got float64 \(3,\)"),
        (save(np.zeros((0, 3)), "none.npy"), r"got float64 \(0, 3\)"),
        (save(np.array([[1.0, 0], [0, 0]]), "zero.npy"), "zero or a value that is not finite in row 1"),
        (save(np.array([[1.0, np.nan]]), "nan.npy"), "not finite in row 0"),
        ({"a": save(G, "a.npy"), "b": save(np.ones((1, 3)), "b.npy")}, r"one width, got \[2, 3\]"),
    ]:
        with pytest.raises(ValueError, match=words):
            scored(F, path if isinstance(path, dict) else str(path))
    with pytest.raises(ValueError, match="has 3 numbers per row, each proxy has 2"):
        scored(np.ones((1, 3)), save(G))
    with pytest.raises(ValueError, match="p"):
        NormSim(image_embedding="c.image", proxy="g.npy", p=3)


@pytest.mark.parametrize("p", [2, "inf"])
def test_rows_without_a_direction(p, save):
    column = pl.Series(
        [[1.0, 0.0], [0.0, 0.0], None, [float("inf"), 0.0], [0.6, 0.8]], dtype=pl.Array(pl.Float16, 2)
    )
    found = scored(column, save(G), p=p)
    assert found["score"].is_null().to_list() == [False, True, True, True, False]
    bad = "image embedding is zero or not finite"
    assert found["error"].to_list() == [None, bad, None, bad, None]


def test_the_key_follows_what_the_file_holds(save, tmp_path):
    def key() -> str:
        compute = {
            "vector": {"use": "vectors.Vector"},
            "norm": {"use": "normsim.NormSim", "image_embedding": "vector.embedding", "proxy": path},
        }
        (tmp_path / "pool").mkdir(exist_ok=True)
        (tmp_path / "pool" / "0.tar").touch()
        return Session.open(recipe(tmp_path, {}, compute=compute, keep={})).keys["norm"]

    path = save(G)
    first = key()
    assert key() == first
    save(G * 2)
    assert key() != first

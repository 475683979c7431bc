"""Centroids of what a recipe keeps: DataComp's k-means, its draws, and the whole way to image_based."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from jobs.app import app
from jobs.datacomp.centroids import Clustering, write_centroids
from jobs.datacomp.pool import Plan, make_pool
from operators.datacomp import NearestCentroid
from pipeline.errors import RecipeError
from pipeline.operator import Device
from pipeline.plan.session import Session
from pipeline.recipe.load import parse

COLUMN = "datacomp.l14_image_embedding"


@pytest.fixture
def session(tmp_path: Path) -> Callable[..., Session]:
    """Over 600 samples in two files, a quarter of which is kept."""
    make_pool(Plan(tmp_path / "metadata", 600, 400, ("l14",), 8), ["a dog"])

    def opened(**keep: object) -> Session:
        pool = {"datacomp": f"{tmp_path}/metadata", "store": f"{tmp_path}/store"}
        return Session.open(parse({"pool": pool, "keep": {"datacomp.b32_score": keep or {"top": 0.25}}}))

    return opened


def kept_vectors(session: Session) -> np.ndarray:
    both = session.columns.read_many(["00000000", "00000001"], [COLUMN, "datacomp.b32_score"])
    return both.sort("datacomp.b32_score").tail(150)[COLUMN].to_numpy().astype(np.float32)


def test_as_many_clusters_as_samples_are_the_samples(session, tmp_path):
    found = write_centroids(session(), f"{tmp_path}/c.npy", Clustering(clusters=150))
    made = np.load(tmp_path / "c.npy")
    assert (made.shape, made.dtype) == ((150, 8), np.float32)
    assert (found["rows"], found["clusters"]) == (150, 150)
    assert np.allclose(np.sort(made, 0), np.sort(kept_vectors(session()), 0))


def test_centres_are_the_means_of_what_is_nearest(session, tmp_path):
    write_centroids(session(), f"{tmp_path}/c.npy", Clustering(clusters=2))
    centres, vectors = np.load(tmp_path / "c.npy"), kept_vectors(session())
    distances = ((vectors[:, None] - centres) ** 2).sum(2)
    nearest = distances.argmin(1)
    means = np.stack([vectors[nearest == k].mean(0) for k in range(2)])
    assert np.abs(means - centres).max() < 1e-3


def test_a_sample_is_drawn_with_replacement_and_a_seed(session, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        asked = Clustering(clusters=3, sample=0.5, seed=seed)
        assert write_centroids(session(), f"{tmp_path}/{name}.npy", asked)["rows"] == pytest.approx(75, abs=1)
    a, b, c = ((tmp_path / f"{name}.npy").read_bytes() for name in "abc")
    assert a == b != c


def test_errors(session, tmp_path):
    with pytest.raises(
        RecipeError, match=r"--clusters must be at most 150, the number of embeddings; got 1,000$"
    ):
        write_centroids(session(), f"{tmp_path}/c.npy", Clustering(clusters=1000))
    with pytest.raises(RecipeError, match=r"--embedding: x\.y is not a column"):
        write_centroids(session(), f"{tmp_path}/c.npy", Clustering("x.y"))


def test_the_commands(tmp_path):
    (tmp_path / "captions.txt").write_text("a dog\na beach\n")
    made = [
        "datacomp",
        "pool",
        f"{tmp_path}/metadata",
        "--captions",
        f"{tmp_path}/captions.txt",
        "--rows",
        "300",
    ]
    done = CliRunner().invoke(app, [*made, "--embeddings", "l14", "--width", "8"])
    assert done.exit_code == 0, done.output
    recipe = tmp_path / "r.yaml"
    recipe.write_text(f"pool: {{datacomp: {tmp_path}/metadata, store: {tmp_path}/store}}\n")
    done = CliRunner().invoke(
        app, ["datacomp", "centroids", str(recipe), f"{tmp_path}/c.npy", "--clusters", "4"]
    )
    assert done.exit_code == 0, done.output
    vectors = np.load(tmp_path / "metadata" / "00000000.npz")["l14_img"]
    np.save(tmp_path / "targets.npy", vectors[:1])
    operator = NearestCentroid(
        embedding=COLUMN, centroids=f"{tmp_path}/c.npy", targets=f"{tmp_path}/targets.npy"
    )
    operator.setup({}, Device())
    result = operator.score(pl.DataFrame({COLUMN: pl.Series(vectors)}))
    assert result["target"][0]
    nearest = (vectors.astype(np.float32) @ np.load(tmp_path / "c.npy").T).argmax(1)
    assert result["centroid"].to_list() == nearest.tolist()
    assert result["target"].to_list() == (nearest == nearest[0]).tolist()

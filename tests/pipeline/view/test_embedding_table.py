"""The table for other people's tools: which samples, their pictures, and the projection."""

import io
import json

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.decide.decide import decide
from pipeline.errors import RecipeError
from pipeline.plan.session import Session
from pipeline.recipe.load import load
from pipeline.uids import draw
from pipeline.view import embedding_table
from pipeline.view.cards import Cost
from pipeline.view.embedding_table import choose, embedding_column, principal_plane, write_table
from tests.support.opened_pool import computed, opened, write_recipe
from tests.support.samples import picture


@pytest.fixture
def session(tmp_path):
    opened_session = Session.open(load(str(opened(tmp_path))))
    decide(opened_session)
    return opened_session


def test_it_has_a_row_per_sample_with_picture_scores_verdicts_and_projection(session, tmp_path):
    cost = Cost()
    path = str(tmp_path / "look.parquet")
    result = write_table(session, path, side=6, cost=cost)
    assert (result.rows, result.embedding) == (12, "vector.embedding")
    assert cost.pictures == 12
    table = pl.read_parquet(path)
    assert table.columns == [
        *("uid", "caption", "image", "key", "url", "fate", "rule:caption.characters"),
        *("caption.characters", "caption.words", "caption.language", "caption.language_probability"),
        *("caption.side", "caption.aspect", "vector.first", "projection_x", "projection_y"),
        *("width", "height", "shard", "row"),
    ]
    assert table["shard"].to_list() == ["00000"] * 7 + ["00002"] * 5
    assert table["row"].to_list() == [*range(7), *range(5)]
    assert table["caption"].to_list()[:3] == ["caption number 0", "caption number 1", "no"]
    assert table["fate"].value_counts().sort("count").rows() == [("dropped", 4), ("kept", 8)]
    assert (table["rule:caption.characters"] == (table["fate"] == "kept")).all()
    assert table["projection_x"].is_finite().all()
    sizes = {Image.open(io.BytesIO(image["bytes"])).size for image in table["image"]}
    assert sizes == {(6, 4)}  # the pictures have 12 x 8 pixels


def test_hugging_face_knows_the_pictures(session, tmp_path):
    path = str(tmp_path / "look.parquet")
    write_table(session, path)
    schema = pq.read_schema(path)
    assert json.loads(schema.metadata[b"huggingface"])["info"]["features"] == {"image": {"_type": "Image"}}
    assert str(schema.field("image").type) == "struct<bytes: binary, path: string>"
    assert str(schema.field("fate").type) in ("string", "large_string")


def test_equal_runs_write_equal_bytes_and_a_seed_chooses(session, tmp_path):
    first, second = (tmp_path / name for name in ("a.parquet", "b.parquet"))
    write_table(session, str(first), rows=5, seed=1)
    write_table(session, str(second), rows=5, seed=1)
    assert first.read_bytes() == second.read_bytes()
    write_table(session, str(second), rows=5, seed=2)  # a table of Winnow's own may be replaced
    assert first.read_bytes() != second.read_bytes()
    assert len(pl.read_parquet(second)) == 5


def test_the_samples_with_the_lowest_draws_are_chosen_in_pool_order(session):
    everything = session.columns.read_many(["00000", "00001", "00002"], ["shard", "row", "uid"])
    lowest = everything.with_columns(draw=pl.Series(draw(3, everything["uid"]))).sort("draw").head(4)
    chosen = choose(session, 4, 3)
    assert chosen.rows() == lowest.sort("shard", "row").drop("draw").rows()
    assert choose(session, 99, 3).equals(everything)


def test_pictures_are_written_in_small_groups(session, tmp_path, monkeypatch):
    monkeypatch.setattr(embedding_table, "ROW_GROUP", 3)
    path = str(tmp_path / "look.parquet")
    write_table(session, path)
    file = pq.ParquetFile(path)
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [3, 3, 1, 3, 2]


def test_the_plane_is_that_of_the_largest_variances():
    rng = np.random.default_rng(0)
    spread = rng.standard_normal((500, 3)) * [1, 5, 20] + 7
    plane = principal_plane(spread.astype(np.float32))
    assert np.abs(np.corrcoef(plane[:, 0], spread[:, 2])[0, 1]) > 0.999
    assert np.abs(np.corrcoef(plane[:, 1], spread[:, 1])[0, 1]) > 0.999
    np.testing.assert_allclose(plane.mean(axis=0), 0, atol=1e-4)
    _, _, axes = np.linalg.svd(spread - spread.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(plane), np.abs((spread - spread.mean(axis=0)) @ axes[:2].T), atol=1e-3)
    assert plane.dtype == np.float32


@pytest.mark.parametrize(
    ("vectors", "shape"), [(np.zeros((0, 4)), (0, 2)), (np.ones((3, 4)), (3, 2)), (np.ones((1, 1)), (1, 2))]
)
def test_a_plane_of_nothing_is_zero(vectors, shape):
    plane = principal_plane(vectors.astype(np.float32))
    assert plane.shape == shape
    assert not plane.any()


def test_embeddings_that_are_not_finite_have_no_place_in_the_plane(session, tmp_path, monkeypatch):
    """bf16 may overflow, and a float64 be too large for float32. The others are projected without them."""
    given = pl.Series([[1.0, 0.0], [float("nan"), 1.0], [3.0, 0.0], [1e300, 0.0], [None, 1.0], None])
    parts = iter(given.cast(pl.Array(pl.Float64, 2)).to_frame("v").iter_slices(1))
    monkeypatch.setattr(type(session.columns), "rows_at", lambda *_: next(parts))
    chosen = pl.DataFrame({"shard": list("abcdef"), "row": [0] * 6})
    found = embedding_table._projected(session, chosen, "v")
    assert found["projection_x"].to_list() == [-1.0, None, 1.0, None, None, None]


def test_samples_without_an_embedding_or_a_picture_have_null(tmp_path, write_pool):
    write_pool(["one", "two", "three"], images=[None, b"no picture", picture(1)])
    session = Session.open(load(str(computed(write_recipe(tmp_path)))))
    path = str(tmp_path / "look.parquet")
    write_table(session, path)
    table = pl.read_parquet(path)
    assert table["image"].is_null().to_list() == [True, True, False]
    assert table["projection_x"].is_null().to_list() == [True, True, False]


def test_the_embedding_can_be_named(session):
    assert embedding_column(session) == "vector.embedding"
    assert embedding_column(session, "vector.embedding") == "vector.embedding"
    with pytest.raises(RecipeError, match=r"vector.first is not an embedding.*there are: vector.embedding"):
        embedding_column(session, "vector.first")


def test_other_files_are_left_alone(session, tmp_path):
    path = tmp_path / "mine.parquet"
    pl.DataFrame({"a": [1]}).write_parquet(path)
    with pytest.raises(RecipeError, match="was not written by Winnow"):
        write_table(session, str(path))
    with pytest.raises(RecipeError, match=r"--table must end in .parquet"):
        write_table(session, str(tmp_path / "look.csv"))
    with pytest.raises(RecipeError, match="store"):
        write_table(session, f"{tmp_path}/store/look.parquet")

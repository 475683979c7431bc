"""search.Query: cosines by hand, against brute force, of texts, pictures and files; what it refuses."""

import io

import numpy as np
import polars as pl
import pytest
from PIL import Image
from pydantic import ValidationError

from operators.algorithms.clip.model import load
from operators.algorithms.embeddings.queries import Asked, directions
from operators.search import Query
from pipeline.operator import Device
from tests.support.samples import picture

COLUMN = "c.image"


def found(stored, **parameters) -> pl.DataFrame:
    """The columns of a query over some embeddings."""
    operator = Query(embedding=COLUMN, **parameters)
    operator.setup({}, Device())
    column = stored if isinstance(stored, pl.Series) else pl.Series(COLUMN, np.asarray(stored, np.float16))
    return operator.score(pl.DataFrame({COLUMN: column}))


@pytest.fixture
def save(tmp_path):
    def save(vectors, name="q.npy") -> str:
        np.save(tmp_path / name, np.asarray(vectors, np.float32))
        return str(tmp_path / name)

    return save


def test_the_nearest_query_counts(save):
    rows = found([[1, 0], [0.6, 0.8], [-1, 0]], vectors=save([[2, 0], [0, 5]]))
    assert rows["cosine"].to_list() == pytest.approx([1, 0.8, 0], abs=1e-3)
    assert rows["query"].to_list() == ["row 0", "row 1", "row 1"]


def test_the_mean_of_several_queries_is_one_query(save):
    """Of (2, 0) and (0, 5), lengths do not count: the direction is (1, 1) / sqrt 2."""
    rows = found([[1, 0], [0.6, 0.8]], vectors=save([[2, 0], [0, 5]]), mean=True)
    assert rows["cosine"].to_list() == pytest.approx([0.70711, 0.98995], abs=1e-3)
    assert rows["query"].to_list() == ["mean", "mean"]


def test_what_is_not_wanted_is_taken_away(save):
    """(1, 0) - (0.6, 0.8) / 2 = (0.7, -0.4), of length sqrt 0.65."""
    rows = found([[1, 0], [0, 1]], vectors=save([[3, 0]]), not_vectors=save([[6, 8]], "not.npy"))
    assert rows["cosine"].to_list() == pytest.approx([0.86824, -0.49614], abs=1e-3)


def test_several_things_that_are_not_wanted_count_as_their_mean():
    unlike = Asked(vectors=np.array([[1.0, 0.0], [0.0, 1.0]]))
    rows = directions(Asked(vectors=np.array([[1.0, 0.0]])), unlike, False, None)
    half = np.sqrt(0.5) / 2
    expected = np.array([1 - half, -half]) / np.linalg.norm([1 - half, -half])
    np.testing.assert_allclose(rows[0], expected, atol=1e-6)


def test_texts_and_pictures_as_the_model_gives_them(tiny_clip, tmp_path):
    clip = load(tiny_clip.config, tiny_clip.weights, Device())
    pixels = np.asarray(Image.open(io.BytesIO(picture(3))).convert("RGB"))
    (tmp_path / "three.png").write_bytes(picture(3))
    texts = clip.texts(["a dog", "two dogs", "a cat"])[0]
    images = clip.images([pixels])
    stored = pl.Series(COLUMN, np.concatenate([texts, images]).astype(np.float16))
    rows = found(
        stored,
        texts=["a dog", "two dogs"],
        images={"three": str(tmp_path / "three.png")},
        model=tiny_clip.config,
        pretrained=tiny_clip.weights,
    )
    assert rows["query"].to_list()[:2] == ["a dog", "two dogs"]
    assert rows["query"][3] == "three"
    assert rows["cosine"].to_list() == pytest.approx([1, 1, rows["cosine"][2], 1], abs=2e-3)
    units = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (texts[:2], images)]
    best = max(float(texts[2] / np.linalg.norm(texts[2]) @ q) for u in units for q in u)
    assert rows["cosine"][2] == pytest.approx(best, abs=2e-3)


def test_it_equals_brute_force(save):
    """1,500 embeddings, 20 queries, 7 that are not wanted: the highest cosine, and which query it is of."""
    rng = np.random.default_rng(0)
    stored, queries, unlike = (rng.standard_normal((n, 64)).astype(np.float32) for n in (1500, 20, 7))
    stored = stored.astype(np.float16)
    rows = found(stored, vectors=save(queries), not_vectors=save(unlike, "not.npy"))
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (stored.astype(float), queries, unlike)]
    away = unit[2].mean(0) / np.linalg.norm(unit[2].mean(0))
    asked = unit[1] - away / 2
    cosines = unit[0] @ (asked / np.linalg.norm(asked, axis=1, keepdims=True)).T
    np.testing.assert_allclose(rows["cosine"], cosines.max(1), atol=2e-6)
    assert rows["query"].to_list() == [f"row {row}" for row in cosines.argmax(1)]


def test_rows_without_a_direction(save):
    column = pl.Series(COLUMN, [[1.0, 0.0], [0.0, 0.0], None], dtype=pl.Array(pl.Float16, 2))
    rows = found(column, vectors=save([[1, 0]]))
    assert rows["cosine"].to_list() == [1, None, None]
    assert rows["query"].to_list() == ["row 0", None, None]
    assert rows["error"].to_list() == [None, "embedding is zero or not finite", None]


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({}, "needs something to ask for: `texts`, `images` or `vectors`"),
        ({"not_texts": ["a cat"]}, "needs something to ask for"),
        ({"texts": [""], "model": "m", "pretrained": "p"}, "must not have an empty text in `texts`"),
        ({"vectors": "q.npy", "not_texts": ["a", " \n"]}, "must not have an empty text in `not_texts`"),
        ({"texts": ["a dog"]}, "needs `model` and `pretrained`, those of the embedding"),
        ({"vectors": "q.npy", "not_images": "x.jpg"}, "needs `model` and `pretrained`"),
        ({"texts": ["a dog"], "model": "ViT-B-32"}, "needs `pretrained`"),
    ],
)
def test_what_a_recipe_must_say(parameters, words):
    with pytest.raises(ValidationError, match=words):
        Query(embedding=COLUMN, **parameters)


def test_what_it_refuses(save, tmp_path, monkeypatch):
    (tmp_path / "no.jpg").write_bytes(b"not a picture")
    one = save([[1, 0]])
    for parameters, words in [
        ({"vectors": save([[0, 0]], "zero.npy")}, "a query is zero or not finite"),
        ({"vectors": save([[1, 0], [-1, 0]], "two.npy"), "mean": True}, "point in opposite directions"),
        ({"vectors": one, "not_vectors": save([[1, 0, 0]], "w.npy")}, r"must be of one width, got \[2, 3\]"),
        (
            {"vectors": save([[1, 0, 0]], "three.npy")},
            "has 2 numbers per row, each query has 3: give `model` the model of",
        ),
        ({"images": f"{tmp_path}/no.jpg", "model": "m", "pretrained": "p"}, r"no\.jpg is not a picture"),
    ]:
        with pytest.raises(ValueError, match=words):
            found([[1, 0]], **parameters)
    monkeypatch.setattr("operators.search.MOST", 1)
    with pytest.raises(ValueError, match=r"has 2 rows, must have at most 1: see normsim\.NormSim"):
        found([[1, 0]], vectors=save([[1, 0], [0, 1]], "many.npy"))


def test_a_wrong_file_is_said_before_the_start(save, tmp_path):
    np.save(tmp_path / "flat.npy", np.zeros(3))
    operator = Query(embedding=COLUMN, vectors=save([[1, 0]]))
    assert operator.why_missing("images", "car") == "there is no file car"
    assert operator.why_broken("vectors", save([[1, 0]])) == ""
    assert "must hold (m, d) floats" in operator.why_broken("vectors", str(tmp_path / "flat.npy"))
    assert operator.lacks() == []

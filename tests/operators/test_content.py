"""Q16's two vectors: values by hand, the published files, and embeddings of another model."""

import numpy as np
import polars as pl
import pytest

from operators.content import Inappropriate
from pipeline.errors import RecipeError
from pipeline.operator import Device
from pipeline.recipe.load import parse
from tests.support.paths import DATA

needs_vectors = pytest.mark.skipif(
    not (DATA / "heads").is_dir(), reason="needs LAION's vectors in shared/data"
)


def scored(vectors: object, rows: object, **fields) -> pl.DataFrame:
    made = Inappropriate(image_embedding="c.image", vectors=str(vectors), **fields).model_copy()
    made.setup({}, Device())
    column = rows if isinstance(rows, pl.Series) else pl.Series(np.asarray(rows, np.float32))
    return made.score(pl.DataFrame({"c.image": column}))


def test_values_by_hand(tmp_path):
    """cos (.8, .936): margin .136, p sigmoid(13.6). Lengths of the vectors and of the embedding do not
    count. Half way between the two p is .5."""
    np.save(tmp_path / "two.npy", np.array([[2, 0], [0.96, 0.28]]))
    rows = pl.Series([[0.8, 0.6], [8, 6], None, [0, 0], [np.nan, 1]], dtype=pl.Array(pl.Float64, 2))
    found = scored(tmp_path / "two.npy", rows, model="mine")
    assert found["margin"].to_list() == pytest.approx([0.136, 0.136, None, None, None])
    assert found["p"].to_list() == pytest.approx([1 / (1 + np.exp(-13.6))] * 2 + [None] * 3)
    assert found["error"].to_list() == [None] * 3 + ["image embedding is zero or not finite"] * 2
    assert scored(tmp_path / "two.npy", [[1.96, 0.28]], model="mine")["p"][0] == pytest.approx(0.5)


def test_a_row_is_scored_by_itself(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "two.npy", rng.standard_normal((2, 512)))
    rows = rng.standard_normal((2500, 512)).astype(np.float16)
    together = scored(tmp_path / "two.npy", pl.Series(rows), model="mine")
    for start, stop in ((0, 1), (1, 8), (1023, 1025), (2499, 2500)):
        alone = scored(tmp_path / "two.npy", pl.Series(rows[start:stop]), model="mine")
        assert alone.equals(together[start:stop])


@needs_vectors
def test_the_published_vectors_give_the_golden_values():
    """Q16's own file gives these values; LAION's holds its vectors at unit length, rounded to float16."""
    path = DATA / "heads/violence_detection_vit_l_14.npy"
    first, second = np.load(path)
    rows = [np.full(768, 768**-0.5), np.eye(768)[0], first, second, first + second]
    found = scored(path, rows)["p"].to_list()
    assert found == pytest.approx([0.404200, 0.036935, 0.000013, 0.999987, 0.5], abs=3e-4)
    assert found == pytest.approx([0.403932, 0.036961, 0.000013, 0.999987, 0.500043], abs=1e-6)


@needs_vectors
def test_real_features_as_in_numpy():
    path = DATA / "heads/violence_detection_vit_b_32.npy"
    features = np.load(DATA / "embeddings/coco500_clip_vit_b16.npy")[0].astype(np.float16)
    x, two = features.astype(np.float64), np.load(path).astype(np.float64)
    cosines = (
        x / np.linalg.norm(x, axis=1, keepdims=True) @ (two / np.linalg.norm(two, axis=1, keepdims=True)).T
    )
    found = scored(path, pl.Series(features))
    assert np.abs(found["margin"].to_numpy() - (cosines[:, 1] - cosines[:, 0])).max() < 1e-6
    powers = np.exp(100 * cosines)
    assert np.abs(found["p"].to_numpy() - powers[:, 1] / powers.sum(1)).max() < 1e-5


@pytest.mark.parametrize(
    ("vectors", "part"),
    [
        (np.ones((3, 2)), "must hold 2 vectors, got 3"),
        (np.array([[0.0, 0], [1, 0]]), "zero or not finite"),
        (np.array([[np.inf, 0], [1, 0]]), "zero or not finite"),
    ],
)
def test_files_that_are_no_two_vectors(tmp_path, vectors, part):
    np.save(tmp_path / "two.npy", vectors)
    with pytest.raises(ValueError, match=part):
        scored(tmp_path / "two.npy", [[1.0, 0]], model="mine")


def test_a_local_file_of_any_other_number_of_vectors_is_told_by_its_header(tmp_path):
    for rows, reason in ((2, ""), (3, "two.npy must hold 2 vectors, got 3")):
        np.save(tmp_path / "two.npy", np.ones((rows, 2)))
        made = Inappropriate(image_embedding="c.image", vectors=f"{tmp_path}/two.npy", model="mine")
        assert made.why_broken("vectors", f"{tmp_path}/two.npy").endswith(reason)
        assert bool(made.why_broken("vectors", made.vectors)) == bool(reason)


def test_embeddings_of_another_width(tmp_path):
    np.save(tmp_path / "two.npy", np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"c\.image has 2 numbers per row, .* has 3"):
        scored(tmp_path / "two.npy", [[1.0, 0]], model="mine")


def test_a_file_with_a_published_name_must_be_the_published_one(tmp_path):
    np.save(tmp_path / "violence_detection_vit_l_14.npy", np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"has the sha256 .*, must have cc08f81e"):
        scored(tmp_path / "violence_detection_vit_l_14.npy", [[1.0, 0]])


def recipe(clip_model: str, tag: str, **fields) -> None:
    content = {"use": "content.Inappropriate", "image_embedding": "clip.image_embedding", **fields}
    clip = {"use": "clip.ClipScore", "model": clip_model, "pretrained": tag}
    parse({"pool": {"shards": "pool", "store": "store"}, "compute": {"clip": clip, "content": content}})


def test_vectors_are_tied_to_the_model_that_they_were_trained_with():
    recipe("ViT-L-14", "openai", vectors="violence_detection_vit_l_14.npy")
    recipe("ViT-B/32", "openai", vectors="violence_detection_vit_b_32.npy")
    recipe("ViT-B-16", "openai", vectors="mine.npy", model="ViT-B-16", pretrained="openai")
    for model, tag, name in (("ViT-B-32", "openai", "l_14"), ("ViT-L-14", "laion400m_e32", "l_14")):
        with pytest.raises(
            RecipeError, match=r"compute\.content\.vectors: .* was made for embeddings of ViT-L"
        ):
            recipe(model, tag, vectors=f"violence_detection_vit_{name}.npy")
    with pytest.raises(RecipeError, match="must have `model`, the CLIP that the vectors were trained with"):
        recipe("ViT-B-16", "openai", vectors="mine.npy")

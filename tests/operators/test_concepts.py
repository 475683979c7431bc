"""Zero-shot classes, and what a decision did to frequent and rare ones."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from operators.algorithms.balance import tail_parts
from operators.algorithms.clip.model import ClipModel, unit
from operators.clusters import Nearest, Sizes
from operators.concepts import ZeroShot
from pipeline.operator import Device
from tests.support.tiny_clip import TinyClip

NAMES = ["a", "dog", "beach"]


@pytest.fixture
def names(tmp_path: Path) -> str:
    (tmp_path / "names.txt").write_text("a\n\n dog\nbeach\n")
    return str(tmp_path / "names.txt")


@pytest.fixture
def vectors(tiny_clip: TinyClip) -> np.ndarray:
    """(3, d) the names, as the model has them."""
    clip = ClipModel(tiny_clip.config, tiny_clip.weights, Device())
    return unit(clip.texts([f"a photo of a {name}." for name in NAMES])[0])


def scored(tiny_clip: TinyClip, names: str, images: object, texts: object = None, **fields) -> pl.DataFrame:
    columns = {"image_embedding": "c.i", **({} if texts is None else {"text_embedding": "c.t"})}
    made = ZeroShot(model=tiny_clip.config, pretrained=tiny_clip.weights, names=names, **columns, **fields)
    made = made.model_copy()
    made.setup({}, Device())
    return made.score(pl.DataFrame({"c.i": images, **({} if texts is None else {"c.t": texts})}))


def test_classes_by_hand(tiny_clip, names, vectors):
    a, dog, beach = vectors
    found = scored(tiny_clip, names, vectors[[2, 0, 1]], vectors[[0, 0, 2]])
    assert found["label"].to_list() == [2, 0, 1]
    assert found["similarity"].to_list() == pytest.approx([1, 1, 1], abs=1e-5)
    others = [max(beach @ a, beach @ dog), max(a @ dog, a @ beach), max(dog @ a, dog @ beach)]
    assert found["margin"].to_list() == pytest.approx([1 - other for other in others], abs=1e-5)
    assert found["caption_similarity"].to_list() == pytest.approx([beach @ a, 1, dog @ beach], abs=1e-5)


def test_without_captions_and_with_one_class(tiny_clip, names, vectors, tmp_path):
    assert scored(tiny_clip, names, vectors)["caption_similarity"].null_count() == 3
    (tmp_path / "one.txt").write_text("dog")
    found = scored(tiny_clip, f"{tmp_path}/one.txt", vectors)
    assert found["label"].to_list() == [0, 0, 0]
    assert found["margin"].null_count() == 3
    assert found["similarity"].to_list() == pytest.approx((vectors @ vectors[1]).tolist(), abs=1e-5)


def test_rows_without_an_image_or_a_caption(tiny_clip, names, vectors):
    width = vectors.shape[1]
    rows = [None, [0.0] * width, [np.nan] * width, vectors[1].tolist()]
    images = pl.Series(rows, dtype=pl.Array(pl.Float32, width))
    texts = pl.Series([vectors[0].tolist()] * 3 + [None], dtype=pl.Array(pl.Float32, width))
    found = scored(tiny_clip, names, images, texts)
    assert found["label"].to_list() == [None, None, None, 1]
    assert found["caption_similarity"].null_count() == 4
    assert found["error"].to_list() == [
        None,
        "a zero vector has no direction",
        "the embedding is not finite",
        None,
    ]


def test_embeddings_of_another_width(tiny_clip, names):
    with pytest.raises(ValueError, match=r"c\.i has 2 numbers per row, .* it must be of the same model"):
        scored(tiny_clip, names, np.eye(2, dtype=np.float32))


def test_a_file_without_names(tiny_clip, tmp_path):
    (tmp_path / "empty.txt").write_text(" \n\n")
    with pytest.raises(ValueError, match="must have 1 to 1,000,000 lines, got 0"):
        scored(tiny_clip, f"{tmp_path}/empty.txt", np.eye(2, dtype=np.float32))


@pytest.mark.parametrize("template", ["a photo", "{} {}"])
def test_a_template_has_one_place(template):
    with pytest.raises(ValidationError, match="once in `template`"):
        ZeroShot(
            model="ViT-B-32", pretrained="openai", names="n.txt", template=template, image_embedding="c.i"
        )


# --- frequent and rare concepts --------------------------------------------------------------------


def test_head_torso_and_tail_by_hand():
    """100 occurrences: 50 of the first is half, 30 + 10 are the next 40, the last ten are of three."""
    before = np.array([4, 50, 3, 30, 10, 3])
    found = tail_parts(before, np.array([4, 10, 0, 15, 5, 2]))
    assert found.rows() == [
        ("head", 1, 50, 10, 0.2),
        ("torso", 2, 40, 20, 0.5),
        ("tail", 3, 10, 6, 0.6),
    ]
    assert tail_parts(np.array([7]), np.array([7])).rows()[0] == ("head", 1, 7, 7, 1.0)
    assert tail_parts(np.zeros(0, int), np.zeros(0, int))["kept"].to_list() == [None] * 3


def test_effects_name_the_classes(names):
    before = pl.DataFrame({"cluster": [0, 1, 2], "count": [10, 70, 20]})
    after = pl.DataFrame({"cluster": [1, 2], "count": [7, 20]})
    zero_shot = ZeroShot(model="m", pretrained="p", names=names, image_embedding="c.i")
    stat = Sizes(cluster="class.label")
    found = stat.compare(before, after, {"class": zero_shot})
    assert found["clusters"].rows() == [
        (1, "dog", 70, 7, 0.1),
        (2, "beach", 20, 20, 1.0),
        (0, "a", 10, 0, 0.0),
    ]
    assert found["parts"].row(0) == ("head", 1, 70, 7, 0.1)
    nearest = Nearest(embedding="c.i", centroids="centroids")
    assert stat.compare(before, after, {"class": nearest})["clusters"].columns == [
        "cluster",
        "before",
        "after",
        "kept",
    ]

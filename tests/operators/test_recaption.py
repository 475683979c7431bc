"""What a person sees of the choice among a sample's captions, and RefCLIPScore. The choice itself:
export/test_captions.py."""

import numpy as np
import polars as pl
import pytest

from operators.algorithms.clip.model import ClipModel, unit
from operators.recaption import BestCaption, RefClipScore, ref_clip_score
from pipeline.operator import Device

TYPES = {"captions": pl.List(pl.String), "clip.image_embedding": pl.Array(pl.Float16, 2)}
OWN = {".scores": pl.List(pl.Float32)}


@pytest.mark.parametrize(
    ("captions", "scores", "table"),
    [
        (["a", "b", "a"], [0.25, None, 0.5], [("a", 0.25), ("b", None), ("a", 0.5)]),
        (["a", "b"], None, [("a", None), ("b", None)]),  # without an image embedding
        ([], None, []),
        (None, None, []),
    ],
)
def test_the_evidence_is_all_captions_in_order_with_their_cosines(captions, scores, table):
    made = BestCaption(model="ViT-B-32", pretrained="openai", image_embedding="clip.image_embedding")
    row = pl.DataFrame(
        {"captions": [captions], "clip.image_embedding": [[1.0, 0.0]], ".scores": [scores]}, {**TYPES, **OWN}
    )
    found = made.evidence(row, {}, {})
    assert found.schema == {"caption": pl.String, "cosine": pl.Float32}
    assert found.rows() == table


def test_ref_clip_score_of_published_values():
    """GOLDENS.md; nothing that agrees gives 0, and what is not known stays so."""
    clip, score = ref_clip_score(
        np.array([0.30, 0.35, -0.10, -0.1, np.nan, 0.3]), np.array([0.8, 0.6, 0.7, -0.2, 0.5, np.nan])
    )
    np.testing.assert_allclose(clip, [0.75, 0.875, 0, 0, np.nan, 0.75])
    np.testing.assert_allclose(score, [0.774194, 0.711864, 0, 0, np.nan, np.nan], atol=5e-7)


def test_ref_clip_score_is_of_the_caption_the_image_and_the_other_captions(tiny_clip):
    """Restated: each text by itself, behind the prompt; equal captions are no references."""
    clip = ClipModel(tiny_clip.config, tiny_clip.weights, Device(), text_only=True)
    texts = ["a red dog", "two blue cats", "a red dog", "a house"]
    images = unit(np.random.default_rng(0).standard_normal((5, clip.width)).astype(np.float32))
    rows = pl.DataFrame(
        {
            "text": ["a red dog", None, "a house", "a red dog", "a house"],
            "captions": [texts, texts, texts, ["a red dog"], None],
            "clip.image_embedding": pl.Series(
                [*images[:4].tolist(), None], dtype=pl.Array(pl.Float16, clip.width)
            ),
        }
    )
    fields = {"model": tiny_clip.config, "pretrained": tiny_clip.weights}
    made = RefClipScore(image_embedding="clip.image_embedding", **fields).model_copy()
    made.setup({}, Device())
    found = made.score(rows)
    vectors = {text: unit(clip.texts([f"A photo depicts {text}"])[0])[0] for text in texts}
    pictures = rows["clip.image_embedding"].to_list()
    for row, others in ((0, ("two blue cats", "a house")), (2, ("a red dog", "two blue cats"))):
        text = vectors[rows["text"][row]]
        score = max(2.5 * float(text @ np.array(pictures[row], np.float32)), 0)
        nearest = max(float(text @ vectors[other]) for other in others)
        both = 2 * score * max(nearest, 0) / max(score + max(nearest, 0), 1e-9)
        assert found.row(row)[:3] == pytest.approx((score, nearest, both), abs=1e-5)
    assert found.row(1) == (None, None, None, "no caption")
    assert found["clip"][3] is not None
    assert found.row(3)[1:] == (None, None, None)
    assert found.row(4) == (None, None, None, None)

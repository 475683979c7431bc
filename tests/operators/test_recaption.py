"""What a person sees of the choice among a sample's captions. The choice itself: export/test_captions.py."""

import polars as pl
import pytest

from operators.recaption import BestCaption

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

"""What is searched for, as directions in the space of an embedding.

    clip = load_for([wanted, unlike], "ViT-B-32", "openai", Device())
    directions(Asked(["a red car"]), Asked(["a toy car"]), mean=True, clip=clip)     # (1, d)

`search.Query` and `winnow search` both ask in this way: a search shows what a rule would keep.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from operators.algorithms.clip.model import ClipModel
from operators.algorithms.clip.network import Precision
from operators.algorithms.embeddings.vectors import unit
from pipeline.operator import Device

NONE = np.empty((0, 0), np.float32)
# The share of the direction of what is not wanted that is taken away. 120 searches of the demo's index, for a
# thing in a colour and not on a background, with 0, 0.5 and 1: of the ten nearest, 98, 99 and 93 % had the
# colour, and 7.8, 0.9 and 0 % had the background.
AWAY = 0.5
UNLIKE = "what is not wanted"


class Asked(NamedTuple):
    """Texts; pictures, (h, w, 3) uint8 each; and embeddings, (n, d) of any lengths."""

    texts: Sequence[str] = ()
    pictures: Sequence[np.ndarray] = ()
    vectors: np.ndarray = NONE


def load_for(
    sides: Sequence[Asked], model: str, pretrained: str, device: Device, precision: Precision = "auto"
) -> ClipModel | None:
    """The CLIP that encodes what is asked for, without its image tower if there are texts alone; None if
    nothing must be encoded. Raises what loading a model raises."""
    pictures = any(side.pictures for side in sides)
    if not pictures and not any(side.texts for side in sides):
        return None
    return ClipModel(model, pretrained, device, precision, text_only=not pictures)


def directions(wanted: Asked, unlike: Asked, mean: bool, clip: ClipModel | None) -> np.ndarray:
    """(q, d) float32 of unit norm: what to compare embeddings with; texts first, then pictures, then vectors.

    unlike  may be empty: half the direction of the mean of all that is in it is taken away from each query
    mean    whether all that is wanted is one query, in the direction of its mean; else each is one by itself

    Raises ValueError for vectors of several widths or without a direction."""
    asked, away = _vectors(wanted, clip, "a query"), _vectors(unlike, clip, UNLIKE)
    if mean:
        asked = _mean(asked, "the queries")
    if len(away):
        _check_width(asked, away)
        asked = asked - AWAY * _mean(away, UNLIKE)  # of unit norm both: never zero
    return unit(asked)[0]


def _vectors(asked: Asked, clip: ClipModel | None, what: str) -> np.ndarray:
    """(n, d) float32 of unit norm."""
    parts = [asked.vectors] if len(asked.vectors) else []
    if clip is not None and asked.pictures:
        parts.insert(0, clip.images(asked.pictures))
    if clip is not None and asked.texts:
        parts.insert(0, clip.texts(asked.texts)[0])
    if not parts:
        return NONE
    _check_width(*parts)
    found, directed = unit(np.concatenate(parts))
    if not directed.all():
        raise ValueError(f"{what} is zero or not finite (number {np.flatnonzero(~directed)[0]})")
    return found


def _check_width(*parts: np.ndarray) -> None:
    """Raises ValueError."""
    if len(widths := sorted({part.shape[1] for part in parts})) > 1:
        raise ValueError(f"queries must be of one width, got {widths}: are they of the same model?")


def _mean(vectors: np.ndarray, what: str) -> np.ndarray:
    """(1, d): the direction of the mean. Raises ValueError if there is none."""
    found, directed = unit(vectors.mean(0, dtype=np.float64)[None])
    if not directed.all():
        raise ValueError(f"the mean of {what} is zero: they point in opposite directions")
    return found

"""What is asked of an index: texts, pictures and samples of it, as one query or as one each.

queries = queries_of(target, Question(texts=["a red car"], unlike=["a toy car"]))
queries.names, queries.vectors
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jobs.search.target import Target
from operators.algorithms.embeddings.queries import NONE, Asked, directions, load_for
from pipeline.assets import read_bytes
from pipeline.errors import RecipeError, shortened
from pipeline.operator import Device
from pipeline.progress import begun
from pipeline.run.decode import decode

LARGEST = 256 << 20  # bytes of a picture's file


@dataclass(frozen=True)
class Question:
    """What is asked.

    texts, images, like  each text, each picture's file, each uid of a sample in the index
    unlike               texts of what is not wanted
    each                 whether each is a query by itself; else all are one, in the direction of their mean
    """

    texts: Sequence[str] = ()
    images: Sequence[str] = ()
    like: Sequence[str] = ()
    unlike: Sequence[str] = ()
    each: bool = False

    def check(self) -> None:
        """Raises RecipeError if nothing is asked, or with an empty text."""
        if not (self.texts or self.images or self.like):
            raise RecipeError("nothing to search for: give --text, --image or --like")
        for flag, texts in (("--text", self.texts), ("--not", self.unlike)):
            if any(not text.strip() for text in texts):
                raise RecipeError(f"{flag}: must not be empty")

    @property
    def names(self) -> list[str]:
        """A name for each query."""
        found = [*self.texts, *map(os.path.basename, self.images), *(f"like {uid}" for uid in self.like)]
        without = "".join(f" - {text}" for text in self.unlike)
        return [f"{name}{without}" for name in (found if self.each else [" + ".join(found)])]


class Queries(NamedTuple):
    """Their names, and (q, d) float32 vectors of unit norm."""

    names: Sequence[str]
    vectors: np.ndarray


def queries_of(target: Target, question: Question) -> Queries:
    """Ask the model for the vectors of a question. Raises RecipeError."""
    question.check()
    like = [target.index.vectors_of(target.index.find(uid)[:1]) for uid in question.like]
    wanted = Asked(
        question.texts, [picture(path) for path in question.images], np.concatenate(like) if like else NONE
    )
    unlike = Asked(question.unlike)
    clip = None
    if question.texts or question.images or question.unlike:
        weights = target.weights()
        begun(f"loading {os.path.basename(weights.model)}")
        device = Device("cpu", os.cpu_count() or 1)
        try:
            clip = load_for([wanted, unlike], weights.model, weights.pretrained, device)
        except Exception as error:  # of any reader of weights: a file may be garbled in many ways
            raise RecipeError(
                f"{weights.pretrained or weights.model} cannot be loaded as {weights.model} ({type(error).__name__}): "
                "check both, or give other weights"
            ) from error
        if clip is not None and clip.width != target.index.about.dimension:
            raise RecipeError(
                f"{weights.model} gives {clip.width} numbers, and {target.index.path} holds vectors of "
                f"{target.index.about.dimension}: the model does not match"
            )
    try:
        return Queries(question.names, directions(wanted, unlike, not question.each, clip))
    except ValueError as error:
        raise RecipeError(str(error)) from None


def picture(path: str) -> np.ndarray:
    """(h, w, 3) uint8 of a file, within the limits of pools. Raises RecipeError."""
    try:
        data = read_bytes(path, LARGEST)
    except (FileNotFoundError, ValueError) as error:
        raise RecipeError(f"--image: {shortened(str(error))}") from None
    pixels, why = decode(data)
    if pixels is None:
        raise RecipeError(f"--image: {path}: {why}")
    return pixels

"""Concepts: which of some class names fits a picture best, by how much, and how well its caption fits it.

    clip:    {use: clip.ClipScore, model: ViT-B-32, pretrained: openai}
    class:   {use: concepts.ZeroShot, model: ViT-B-32, pretrained: openai, names: imagenet_classes.txt,
              image_embedding: clip.image_embedding}
    sizes:   {use: clusters.Sizes, cluster: class.label}
    balance: {use: clusters.Balance, cluster: class.label, sizes: sizes, target: 40000000, alpha: 0.5}
    keep:
      class.similarity:    {min: 0.2}
      balance.probability: {chance: true}

Classes are as good a key as clusters wherever an operator asks for one, and have names. `winnow effects` says
how often each occurs before and after a decision, and what it did to frequent and to rare ones.

Columns
    ZeroShot  label               Int32    the number of the class name that fits the picture best, from 0;
                                           null without an image embedding, or if it is zero or not finite
              similarity          Float32  cosine of the picture and that class name, in [-1, 1], higher fits
                                           better; null with `label`
              margin              Float32  that cosine less the next best class's, in [0, 2], higher is
                                           surer; null with `label`, or if there is but one class
              caption_similarity  Float32  cosine of the caption and that class name, in [-1, 1], higher fits
                                           better; null without either embedding
Errors: `the embedding is not finite`; `a zero vector has no direction`.
Source: zero-shot classification with CLIP (Radford et al. 2021, arXiv 2103.00020, section 3.1).
Differs: one template per name, where CLIP's best figures average over eighty.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
from pydantic import PrivateAttr, model_validator

from operators.algorithms.clip.model import ClipModel, unit
from operators.algorithms.embeddings.neighbours import Points
from operators.algorithms.embeddings.vectors import check_width, features
from operators.clip import ClipWeights
from pipeline.assets import read_bytes
from pipeline.operator import Device, Embedding, File, Score

MOST_NAMES = 1_000_000


class ZeroShot(ClipWeights, Score):
    """Which of some class names fits a picture best, and by how much.

    Use it to balance a pool by the classes of a benchmark (`clusters.Balance`), to take as many of each
    (`clipcov.Cover`), or to look at a class: `winnow gallery --where "class.label == 7"`.

    names            a text file of class names, one a line, such as ImageNet's
    template         the sentence that a name is put into at {}
    image_embedding  of the same model, such as clip.image_embedding
    text_embedding   of the same model, such as clip.text_embedding, for `caption_similarity`

    Cost: cheap; no image is read. The names are encoded once per worker, then 2 d FLOP per row and name:
    57,000 rows per second on a CPU core with 1,000 names and 512 numbers (measured).
    """

    names: File
    image_embedding: Embedding
    text_embedding: Embedding = ""
    template: str = "a photo of a {}."

    version = 2
    writes: ClassVar[Mapping[str, Any]] = {
        "label": pl.Int32,
        "similarity": pl.Float32,
        "margin": pl.Float32,
        "caption_similarity": pl.Float32,
    }
    _points: Any = PrivateAttr(None)

    @model_validator(mode="after")
    def _has_a_place(self) -> Self:
        """Refuse a template that makes all names equal."""
        if self.template.count("{}") != 1:
            raise ValueError("must have {} once in `template`, where the name goes")
        return self

    def class_names(self) -> list[str]:
        """The names in the file. Raises ValueError for a file without names, or with too many."""
        lines = read_bytes(self.names).decode("utf-8", "replace").splitlines()
        names = [name for line in lines if (name := " ".join(line.split()))]
        if not 0 < len(names) <= MOST_NAMES:
            raise ValueError(f"names: {self.names} must have 1 to {MOST_NAMES:,} lines, got {len(names):,}")
        return names

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Encode the names."""
        names = self.class_names()
        clip = ClipModel(self.model, self.pretrained, device, self.precision, text_only=True)
        vectors = unit(clip.texts([self.template.replace("{}", name) for name in names])[0])
        self._points = Points(vectors, np.arange(len(vectors)), device)

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n,) embeddings -> (n,) labels and cosines."""
        images, has_image, error = self._features(batch, "image_embedding")
        nearest = min(2, len(self._points.vectors))
        labels, cosines = np.zeros(len(batch), np.int64), np.full((len(batch), 2), np.nan)
        if len(images):
            at = has_image.to_numpy()
            distances, ids = self._points.nearest(images, np.full(len(images), -1), nearest)
            labels[at] = ids[:, 0]
            cosines[at, :nearest] = (1 - np.square(distances) / 2).clip(-1, 1)  # of unit vectors
        return pl.select(
            label=pl.when(has_image).then(pl.Series(labels)).cast(pl.Int32),
            similarity=pl.Series(cosines[:, 0], dtype=pl.Float32).fill_nan(None),
            margin=pl.Series(cosines[:, 0] - cosines[:, 1], dtype=pl.Float32).fill_nan(None),
            caption_similarity=self._captions(batch, labels, has_image.to_numpy()),
            error=error,
        )

    def _captions(self, batch: pl.DataFrame, labels: np.ndarray, has_image: np.ndarray) -> pl.Series:
        """(n,) cosines of the captions and the class names of these labels."""
        cosines = np.full(len(batch), np.nan, np.float32)
        if self.text_embedding:
            texts, has_text, _ = self._features(batch, "text_embedding")
            both = has_text.to_numpy() & has_image
            cosines[both] = (texts[both[has_text.to_numpy()]] * self._points.vectors[labels[both]]).sum(1)
        return pl.Series(cosines).fill_nan(None)

    def _features(self, batch: pl.DataFrame, field: str) -> tuple[np.ndarray, pl.Series, pl.Series]:
        """See `vectors.features`. Raises ValueError for embeddings of another width than the names'."""
        column, width = batch[getattr(self, field)], self._points.vectors.shape[1]
        check_width(field, column, width, self.model, ": it must be of the same model")
        return features(column, None, True)

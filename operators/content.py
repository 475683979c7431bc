"""Inappropriate content: how much nearer a picture is to one of two learned vectors than to the other.

    clip:    {use: clip.ClipScore, model: ViT-L-14, pretrained: openai}
    content: {use: content.Inappropriate, image_embedding: clip.image_embedding,
              vectors: violence_detection_vit_l_14.npy}
    keep:
      content.p: {max: 0.9, missing: keep}

Q16 asks CLIP whether "this image is about something negative": the texts of the two answers were replaced by
two vectors that were trained on pictures which people had rated by how moral they are. So it finds war,
wounds, dirt and protest, and also medicine; it does not look for nudity.

Columns
    p       Float32  probability of the second answer, "negative", in [0, 1], higher is less appropriate; null
                     without an embedding, or if it is zero or not finite
    margin  Float32  cosine with the second vector less that with the first, in [-2, 2], higher is less
                     appropriate; null with `p`
Errors: `image embedding is zero or not finite`.
Source: Q16 (Schramowski et al. 2022, arXiv 2202.06675): p = sigmoid(100 (cos(x, P1) - cos(x, P0))); the
    paper's own runs call a picture inappropriate from p 0.9 on, which is a margin of 0.022. The vectors are
    `violence_detection_vit_l_14.npy` and `..._b_32.npy` of LAION's CLIP-based-NSFW-Detector (MIT), Q16's at
    unit length; they are checked against their sha256.
Differs: both vectors are taken at unit length. Q16's script for embeddings does not, by which its boundary
    of 0.5 is at 0.69 (ViT-L-14); its script for pictures does.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
from pydantic import PrivateAttr, model_validator

from operators.algorithms.embeddings.vectors import check_width, projected
from operators.algorithms.files.published import models_of
from operators.algorithms.files.vector_files import read_vectors, rows_of, why_not_vectors
from operators.algorithms.reasons import no_direction
from operators.heads import Fitted, MadeForOneClip
from pipeline.operator import Device, Embedding, File, Score

SCALE = 100.0  # of the cosines: CLIP's own


class Inappropriate(MadeForOneClip, Score):
    """How likely a picture shows something inappropriate, in the sense of Q16.

    Use it to look at what a pool holds, and to drop the worst of it. The scale of 100 makes most values of p
    nearly 0 or 1: choose a threshold by `margin`, with `winnow columns` and `winnow gallery`. A model for
    adult content belongs beside it.

    image_embedding  of the model that the vectors were trained with, such as clip.image_embedding
    vectors          (2, d) numbers: the positive answer, then the negative one; .npy, .npz, .parquet, .pt.
                     LAION's files know their model; for others say `model`

    Cost: very cheap; no image is read. 790,000 rows of 512 numbers per second on a CPU core (measured).
    """

    image_embedding: Embedding
    vectors: File

    writes: ClassVar[Mapping[str, Any]] = {"p": pl.Float32, "margin": pl.Float32}
    _difference: Any = PrivateAttr(None)

    @model_validator(mode="after")
    def _tied_to_a_model(self) -> Self:
        """Refuse vectors whose model nobody names."""
        if not self.model and models_of(self.vectors) is None:
            raise ValueError(
                "must have `model`, the CLIP that the vectors were trained with, such as ViT-L-14, and "
                f"`pretrained`: {self.vectors} is not one of LAION's files"
            )
        return self

    def fitted(self) -> Fitted:
        """See MadeForOneClip."""
        return Fitted(self.image_embedding, "vectors", self.vectors)

    def why_broken(self, field: str, value: str) -> str:
        """See Operator."""
        reason = why_not_vectors(value)
        if not reason and (rows := rows_of(value)) not in (None, 2):
            return f"{value} must hold 2 vectors, got {rows}"
        return reason

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Read the vectors. Raises ValueError for any other number than two."""
        vectors = np.array(read_vectors(self.vectors), np.float64)
        if len(vectors) != 2:
            raise ValueError(f"vectors: {self.vectors} must hold 2 vectors, got {len(vectors)}")
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not (np.isfinite(lengths) & (lengths > 0)).all():
            raise ValueError(f"vectors: {self.vectors} has a vector that is zero or not finite")
        positive, negative = vectors / lengths
        self._difference = negative - positive

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n, d) embeddings -> (n,) probabilities and margins."""
        column = batch[self.image_embedding]
        check_width("image_embedding", column, len(self._difference), self.vectors)
        margin, directed = projected(column, self._difference)
        known = pl.Series(directed)
        return pl.select(
            p=pl.when(known).then(pl.Series(np.exp(-np.logaddexp(0, -SCALE * margin)), dtype=pl.Float32)),
            margin=pl.when(known).then(pl.Series(margin, dtype=pl.Float32)),
            error=no_direction({"image": column}, {"image": known}),
        )

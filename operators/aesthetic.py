"""Aesthetic score: how much people would like a picture, by a linear head on its CLIP embedding.

    clip:      {use: clip.ClipScore, model: ViT-L-14, pretrained: openai}
    aesthetic: {use: aesthetic.AestheticScore, image_embedding: clip.image_embedding,
                weights: sac+logos+ava1-l14-linearMSE.pth}
    keep:
      aesthetic.score: {min: 4.5}

Columns
    score  Float32  about 1 to 10, higher is more pleasing; null without an embedding
Errors: none of its own.
Source: LAION-Aesthetics predictor V2 (Schuhmann 2022, improved-aesthetic-predictor), five linear layers on
    unit ViT-L/14 image embeddings of OpenAI's CLIP, without or with ReLUs between them (`linearMSE`,
    `reluMSE`), and V1, one layer; `weights` is their checkpoint.
Differs: nothing; the stored embedding is float16, which moves a score by less than 0.01.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import PrivateAttr

from operators.algorithms.embeddings.vectors import check_width
from operators.algorithms.files.linear_heads import Layer, outputs, product, read_head, why_not_head
from operators.heads import Fitted, MadeForOneClip
from pipeline.operator import Device, Embedding, File, Score

# The places of the linear layers among all modules of LAION's heads: ReLU and dropout take the others
LINEAR_MSE = (0, 2, 4, 6, 7)
RELU_MSE = (0, 3, 6, 9, 11)
FOR_L14 = "; V2's head is for ViT-L-14, pretrained openai"

Activation = Literal["auto", "none", "relu"]


class AestheticScore(MadeForOneClip, Score):
    """How pleasing a picture is, as people rated pictures.

    Use it for training sets of image generators, or to rank pictures for people. It needs the embeddings of
    the very CLIP that the head was trained on: ViT-L-14 with pretrained openai for LAION's.

    image_embedding  unit embeddings, such as clip.image_embedding
    weights          a checkpoint of linear layers: .safetensors, or .pth read with weights_only, its tensors
                     named `layers.0.weight`, `layers.0.bias`, ... (or `weight`, `bias`)
    activation       what stands between the layers: `none`, `relu`, or `auto`: as the numbers of the layers
                     tell. LAION's checkpoints do; a head of your own that leaves out numbers may not, since
                     a ReLU and a dropout leave the same gap

    Cost: very cheap: one dot product per row, or 0.9 million multiplications with ReLUs. No image is read.
    """

    image_embedding: Embedding
    weights: File
    activation: Activation = "auto"

    version = 2
    writes: ClassVar[Mapping[str, Any]] = {"score": pl.Float32}
    _layers: list[Layer] = PrivateAttr(default_factory=list)

    def fitted(self) -> Fitted:
        """See MadeForOneClip."""
        return Fitted(self.image_embedding, "weights", self.weights)

    def why_broken(self, field: str, value: str) -> str:
        """See Operator."""
        return why_not_head(value)

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Read the layers. Without ReLUs they are multiplied into one: dropout does nothing here."""
        layers, places = read_head(self.weights)
        if len(layers[-1][0]) != 1:
            raise ValueError(
                f"weights: {self.weights} must be linear layers that end in one number, got {len(layers[-1][0])}"
            )
        relu = _activation(places, self.activation, self.weights) == "relu"
        self._layers = layers if relu else [product(layers)]

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n, d) embeddings -> (n,) scores."""
        embedding = batch[self.image_embedding]
        present = embedding.is_not_null()
        check_width("image_embedding", embedding, self._layers[0][0].shape[1], self.weights, FOR_L14)
        vectors = embedding.drop_nulls().to_numpy()
        for layer in self._layers[:-1]:
            vectors = np.maximum(outputs(vectors, *layer), 0)
        scores = np.full(len(batch), np.nan)
        scores[present.to_numpy()] = outputs(vectors, *self._layers[-1])[:, 0]
        return pl.DataFrame({"score": pl.Series(scores, dtype=pl.Float32).fill_nan(None)})


def _activation(places: Sequence[int], said: Activation, path: str) -> Activation:
    """What stands between the layers at these places. Raises ValueError if the file does not tell and the
    recipe does not say, or if they disagree."""
    known: Activation = "auto"
    if tuple(places) == RELU_MSE:
        known = "relu"
    elif tuple(places) == LINEAR_MSE or all(b - a == 1 for a, b in itertools.pairwise(places)):
        known = "none"
    if known == said == "auto":
        raise ValueError(
            f"activation: {path} has linear layers at {list(places)}, which does not tell whether a ReLU or "
            "a dropout stands between them; say `activation: none` or `activation: relu`"
        )
    if "auto" not in (known, said) and known != said:
        raise ValueError(f"activation: {path} is a head with {known} between its layers, got {said}")
    return known if said == "auto" else said

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
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import polars as pl
from pydantic import PrivateAttr

from operators.algorithms.torch_files import (
    SAFETENSORS,
    load_safetensors,
    load_tensors,
    why_not_checkpoint,
)
from pipeline.assets import local_file
from pipeline.operator import Device, Embedding, File, Score

_LAYER = re.compile(r"(?:layers\.)?(\d*)\.?(weight|bias)")
# The places of the linear layers among all modules of LAION's heads: ReLU and dropout take the others
LINEAR_MSE = (0, 2, 4, 6, 7)
RELU_MSE = (0, 3, 6, 9, 11)
CHUNK = 64  # rows multiplied at a time, padded: a row's result does not depend on its neighbours

Activation = Literal["auto", "none", "relu"]
Weights = tuple[np.ndarray, np.ndarray]  # (m, n) and (m,), float64


class AestheticScore(Score):
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
    _layers: list[Weights] = PrivateAttr(default_factory=list)

    def why_broken(self, field: str, value: str) -> str:
        """See Operator."""
        return why_not_checkpoint(value)

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Read the layers. Without ReLUs they are multiplied into one: dropout does nothing here."""
        head = _head(_tensors(local_file(self.weights)), self.weights)
        self._layers = head.layers
        if _activation(head.places, self.activation, self.weights) == "none":
            self._layers = [_product(head.layers)]

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n, d) embeddings -> (n,) scores."""
        embedding = batch[self.image_embedding]
        present = embedding.is_not_null()
        width = self._layers[0][0].shape[1]
        vectors = embedding.drop_nulls().to_numpy().astype(np.float64)
        if len(vectors) and vectors.shape[1] != width:
            raise ValueError(
                f"image_embedding: {self.image_embedding} has {vectors.shape[1]} numbers per row, {self.weights} "
                f"wants {width}; V2's head is for ViT-L-14, pretrained openai"
            )
        vectors = vectors.reshape(-1, width)
        for weight, bias in self._layers[:-1]:
            vectors = np.maximum(_multiplied(vectors, weight) + bias, 0)
        weight, bias = self._layers[-1]
        scores = np.full(len(batch), np.nan)
        scores[present.to_numpy()] = (vectors * weight[0]).sum(1) + bias[0]
        return pl.DataFrame({"score": pl.Series(scores, dtype=pl.Float32).fill_nan(None)})


def _product(layers: Sequence[Weights]) -> Weights:
    """One layer that does the same as several."""
    weight, bias = layers[0]
    for next_weight, next_bias in layers[1:]:
        weight = next_weight @ weight
        bias = next_weight @ bias + next_bias
    return weight, bias


def _multiplied(vectors: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(n, d) times (m, d) -> (n, m), in chunks of one size."""
    padded = np.zeros((-(-len(vectors) // CHUNK) * CHUNK, vectors.shape[1]))
    padded[: len(vectors)] = vectors
    chunks = [padded[start : start + CHUNK] @ weight.T for start in range(0, len(padded), CHUNK)]
    return np.concatenate([np.empty((0, len(weight))), *chunks])[: len(vectors)]


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


def _tensors(path: str) -> dict[str, np.ndarray]:
    """The tensors of a checkpoint, by name."""
    state = load_safetensors(path) if path.endswith(SAFETENSORS) else load_tensors(path, path)
    if not isinstance(state, dict):
        raise ValueError(f"weights: {path} must hold tensors by name, got {type(state).__name__}")
    return state


class _Head(NamedTuple):
    """Layers in order, and the numbers that they have in the file."""

    layers: list[Weights]
    places: list[int]


def _head(tensors: Mapping[str, np.ndarray], path: str) -> _Head:
    """The layers of a checkpoint. Raises ValueError for tensors that are not such a chain."""
    places: dict[int, dict[str, np.ndarray]] = {}
    for name, tensor in tensors.items():
        if (found := _LAYER.fullmatch(str(name))) is None:
            raise ValueError(
                f"weights: {path} has {str(name)[:60]!r}, must have layers.N.weight and layers.N.bias only"
            )
        if not isinstance(tensor, np.ndarray) or tensor.dtype.kind != "f":
            kind = tensor.dtype if isinstance(tensor, np.ndarray) else type(tensor).__name__
            raise ValueError(f"weights: {path}: {name} must be a tensor of floats, got {kind}")
        if not np.isfinite(tensor).all():
            raise ValueError(f"weights: {path}: {name} has a value that is not finite")
        if tensor.ndim != (2 if name.endswith("weight") else 1):
            raise ValueError(
                f"weights: {path}: {name} must be a weight (m, n) or a bias (m,), got {tensor.shape}"
            )
        places.setdefault(int(found[1] or 0), {})[found[2]] = tensor.astype(np.float64)
    layers = [(places[n]["weight"], places[n]["bias"]) for n in sorted(places) if len(places[n]) == 2]
    widths = [weight.shape for weight, _ in layers]
    chained = all(before[0] == after[1] for before, after in itertools.pairwise(widths))
    chained &= all(len(bias) == len(weight) for weight, bias in layers)
    if len(layers) != len(places) or not layers or not chained or widths[-1][0] != 1:
        raise ValueError(f"weights: {path} must be linear layers that end in one number, got {widths}")
    return _Head(layers, sorted(places))

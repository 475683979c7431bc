"""Linear heads: a number for each picture or caption, by one linear map of its embedding.

    clip: {use: clip.ClipScore, model: ViT-L-14, pretrained: openai}
    nice: {use: heads.Linear, embedding: clip.image_embedding, weights: sa_0_4_vit_l_14_linear.pth}
    logo: {use: heads.Linear, embedding: clip.image_embedding, weights: logo_probe.npy, bias: logo_bias.npy,
           activation: sigmoid, model: ViT-L-14, pretrained: openai}
    keep:
      nice.score: {min: 5}
      logo.score: {max: 0.5}

A probe is trained in minutes on some thousand embeddings with labels, by logistic regression for example, and
then judges a billion pictures for the price of reading their embeddings.

Columns
    score  Float32  the head's output after its activation; null without an embedding, or if it is not finite
Errors: `the embedding is not finite`.
Source: linear probes as in CLIP (arXiv 2103.00020, section 3.2); LAION's aesthetic predictor V1
    (aesthetic-predictor, MIT), whose file is checked against its sha256.
Differs: nothing; the stored embedding is float16, which moves an output by at most a 2,000th of the length of
    its weights.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
import polars as pl
from pydantic import Field, PrivateAttr, model_validator

from operators.algorithms.embeddings.vectors import check_width
from operators.algorithms.files.linear_heads import (
    number_of_outputs,
    outputs,
    product,
    read_head,
    why_not_bias,
    why_not_head,
)
from operators.algorithms.files.published import PublishedFiles, models_of
from operators.algorithms.reasons import NOT_FINITE
from operators.clip import ClipWeights
from pipeline.operator import YOUNG, Device, Embedding, File, Numbers, Operator, Score
from pipeline.schema import owner

DATACOMP = {"datacomp.b32_": ("ViT-B-32", "openai"), "datacomp.l14_": ("ViT-L-14", "openai")}
QUICK = "-quickgelu"  # a name that open_clip also gives to models whose weights say so by themselves


class Fitted(NamedTuple):
    """A file that fits the embeddings of one CLIP: the column, the file's field, and its path."""

    column: str
    field: str
    file: str


class MadeForOneClip(PublishedFiles):
    """Base of operators with a file that fits the embeddings of one CLIP only.

    model       the CLIP that the file was made for, written as for the operator that makes the embeddings:
                another one there is an error. Of published files it is known
    pretrained  its weights
    """

    model: Annotated[str, YOUNG] = ""
    pretrained: Annotated[str, YOUNG] = ""

    @model_validator(mode="after")
    def _model_and_weights(self) -> "MadeForOneClip":
        """Refuse weights without a model."""
        if self.pretrained and not self.model:
            raise ValueError("must have `model` if `pretrained` is given")
        return self

    def fitted(self) -> Fitted:
        """The file, and the column that it must fit."""
        raise NotImplementedError

    def misfits(self, sources: Mapping[str, Operator]) -> Iterator[tuple[str, str]]:
        """See Operator: the embeddings of another CLIP than the file was made for."""
        column, field, file = self.fitted()
        wanted = (self.model, self.pretrained) if self.model else models_of(file)
        found = _clip_of(column, sources)
        if wanted and found and _plain(wanted) != _plain(found):
            yield (
                field,
                (
                    f"{file} was made for embeddings of {_worded(wanted)}; {column} is of {_worded(found)}: use "
                    f"that model, or, if this is the same one, say `model: {found[0]}`"
                    + (f" and `pretrained: {found[1]}`" if found[1] else "")
                ),
            )


def _clip_of(column: str, sources: Mapping[str, Operator]) -> tuple[str, str] | None:
    """The model and the weights that a column of embeddings was made by, if that is known."""
    source = sources.get(owner(column) or "")
    if isinstance(source, ClipWeights):
        return source.model, source.pretrained
    return next((clip for start, clip in DATACOMP.items() if column.startswith(start)), None)


def _plain(clip: tuple[str, str]) -> tuple[str, str]:
    """A model and its weights in the one form of several that open_clip takes."""
    model, pretrained = clip
    model = model if ":" in model or model.endswith(".json") else model.replace("/", "-")
    return model.removesuffix(QUICK), pretrained.lower().replace("-", "_")


def _worded(clip: tuple[str, str]) -> str:
    """A model and its weights in words."""
    model, pretrained = clip
    return f"{model}, pretrained {pretrained}" if pretrained else model


class Linear(MadeForOneClip, Score):
    """A linear map of an embedding: a probe for whatever you have labels of.

    Use it for heads that others published, such as LAION's aesthetic predictor V1, and for a probe of your
    own: for watermarks, drawings, adult content, a class that you look for. Layers without anything between
    them are multiplied into one; for LAION's V2, with or without ReLUs, there is `aesthetic.AestheticScore`.

    embedding   unit embeddings, such as clip.image_embedding
    weights     .pth, .pt or .safetensors with tensors called `weight` (m, d) and `bias` (m,), or a chain of
                them (`layers.0.weight`, `layers.1.weight`, ...); or .npy with (m, d) or (d,) numbers
    bias        for a weight in an .npy: (m,) numbers in another; zeros without it
    activation  of the outputs: `none`, `sigmoid`, or `softmax` over the m outputs
    output      which of several outputs is the score, from 0
    norm        lengths of the embeddings, such as clip.image_norm, for a head that was trained on embeddings
                as the model gives them; without it they are taken at length 1, as they are stored

    Cost: very cheap; no image is read. 900,000 rows of 512 numbers per second on a CPU core (measured), as
    fast as float16 can be read.
    """

    embedding: Embedding
    weights: File
    bias: File = ""
    activation: Literal["none", "sigmoid", "softmax"] = "none"
    output: Annotated[int, Field(ge=0)] = 0
    norm: Numbers = ""

    writes: ClassVar[Mapping[str, Any]] = {"score": pl.Float32}
    _layer: Any = PrivateAttr(None)

    def fitted(self) -> Fitted:
        """See MadeForOneClip."""
        return Fitted(self.embedding, "weights", self.weights)

    def why_broken(self, field: str, value: str) -> str:
        """See Operator."""
        if field == "bias":
            return why_not_bias(value, self.weights)
        if (reason := why_not_head(value)) or (found := number_of_outputs(value)) is None:
            return reason
        return self._unlike(value, found)

    def _unlike(self, path: str, found: int) -> str:
        """Why a head with so many outputs does not go with `output` and `activation`; empty if it does."""
        if self.output >= found:
            return f"{path} has {found} outputs, `output` must be 0 to {found - 1}, got {self.output}"
        if self.activation == "softmax" and found == 1:
            return f"{path} has one output, whose softmax is always 1: choose another `activation`"
        return ""

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Read the layers. Raises ValueError for an output that the head does not have."""
        weight, bias = product(read_head(self.weights, self.bias).layers)
        if reason := self._unlike(self.weights, len(weight)):
            raise ValueError(f"weights: {reason}")
        if self.activation != "softmax":
            weight, bias = weight[[self.output]], bias[[self.output]]
        self._layer = weight, bias

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n, d) embeddings -> (n,) scores."""
        embedding, (weight, bias) = batch[self.embedding], self._layer
        check_width("embedding", embedding, weight.shape[1], self.weights)
        present = embedding.is_not_null()
        if self.norm:
            present &= batch[self.norm].is_not_null()
        vectors = embedding.filter(present).to_numpy()
        found = outputs(vectors, weight, np.zeros(len(bias)))
        if self.norm:
            found *= batch[self.norm].filter(present).to_numpy().astype(np.float64)[:, None]
        scores = np.full(len(batch), np.nan)
        scores[present.to_numpy()] = self._activated(found + bias)
        known = pl.Series(np.isfinite(scores))
        return pl.select(
            score=pl.when(known).then(pl.Series(scores, dtype=pl.Float32)),
            error=pl.when(present & ~known).then(pl.lit(NOT_FINITE)),
        )

    def _activated(self, values: np.ndarray) -> np.ndarray:
        """(n, m) outputs -> (n,) scores."""
        with np.errstate(invalid="ignore"):
            if self.activation == "softmax":
                powers = np.exp(values - values.max(1, keepdims=True))
                chosen: np.ndarray = powers[:, self.output] / powers.sum(1)
                return chosen
            return np.exp(-np.logaddexp(0, -values[:, 0])) if self.activation == "sigmoid" else values[:, 0]

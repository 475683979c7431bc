"""CLIP score: the cosine between a sample's image embedding and its caption's, by any open_clip model.

    clip: {use: clip.ClipScore, model: ViT-L-14, pretrained: openai}
    keep:
      clip.score: {top: 0.3}

Another checkpoint makes another filter: a data filtering network (DFN, arXiv 2309.17425) is this score with
the weights of a CLIP that was trained to judge pairs.

Columns
    score            Float32          cosine in [-1, 1], higher is better aligned; null if either is missing
    image_embedding  Array(Float16, d)  unit norm; null without a readable image
    image_norm       Float32          the length that the model gave it; null with `image_embedding`
    text_embedding   Array(Float16, d)  unit norm; null without a caption, or with one of spaces only
    text_norm        Float32          the length that the model gave it; null with `text_embedding`
    truncated        Boolean          the caption has more tokens than the model's context and is cut there;
                                      null without a caption, or with one of spaces only
Errors: `no caption`, `empty caption`; the image's own reason.
Source: Radford et al. 2021 (arXiv 2103.00020); as a filter, LAION-400M (arXiv 2111.02114) and DataComp.
Differs: nothing. Preprocessing is open_clip's own transform on RGB pixels, as its trainer decodes them;
    a GPU resizes them itself where it does so to the bit, which is checked at the start. The cosine is taken
    in float32 before the embeddings are rounded to float16. Batches are padded to one fixed size, so that a
    row's result does not depend on its neighbours or on `batch_size`. On a CPU the padding behind a caption's
    end is left out, which changes float32 by rounding alone (2e-6).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import polars as pl
from pydantic import PrivateAttr, model_validator

from operators.algorithms.captions import ReadsCaptions
from operators.algorithms.clip.device_jpegs import DeviceJpegs
from operators.algorithms.clip.files import is_checkpoint, why_not_config
from operators.algorithms.clip.model import load, unit
from operators.algorithms.clip.network import Precision
from operators.algorithms.clip.open_clip_names import (
    REFERENCES,
    local_files,
    why_no_tokenizer,
    why_not_model,
    why_not_weights,
)
from operators.algorithms.files.torch_files import why_not_checkpoint
from operators.algorithms.reasons import caption_error
from pipeline.operator import YOUNG, Device, DeviceDecoder, File, ImageScore, Operator

_Found = tuple[Sequence[int], np.ndarray]  # rows, and the embedding of each
DRIFT = (
    "preprocess: fast changes scores by 0.0001 on average on a CPU (99.9 % by less than 0.0014), and by 0.002 on "
    "a GPU (0.016), as much as its bf16 does; under 0.1 % of samples cross a top-30 % cut"
)
BFLOAT16 = (
    "precision: bfloat16 changes scores by 0.001 to 0.002 on average (99.9 % by less than 0.014); about 1 % of "
    "samples cross a top-30 % cut"
)


class ClipWeights(Operator):
    """Base of operators that load a CLIP.

    model       an open_clip name (ViT-L-14), a `hf-hub:` or `local-dir:` reference, or a config file (.json)
    pretrained  a tag of that model (openai) or a checkpoint file; empty for references, which bring their own
    precision   of the network: `auto`, bfloat16 on a GPU and float32 on a CPU; their scores differ a little,
                so name one if a pool is done on both. `bfloat16` halves the time of a CPU that multiplies it
                (avx512_bf16, amx_bf16); `winnow plan` says how far scores then differ
    """

    model: File
    pretrained: File = ""
    precision: Annotated[Precision, YOUNG] = "auto"

    @model_validator(mode="after")
    def _weights(self) -> Self:
        """Refuse a model without weights."""
        self.check_weights()
        return self

    def check_weights(self) -> None:
        """Raises ValueError for a model without weights."""
        if not self.pretrained and not self.model.startswith(REFERENCES):
            raise ValueError("needs `pretrained`: a tag of the model (such as openai) or a checkpoint file")

    def fields_of(self, kind: str) -> Iterator[tuple[str, Any]]:
        """See Operator. A `local-dir:` reference stands for its files, so that they count by content."""
        files = local_files(self.model) if kind == "file" else {}
        yield from ((f, files if files and f == "model" else value) for f, value in super().fields_of(kind))

    def why_missing(self, field: str, value: str) -> str:
        """See Operator: open_clip must know the model, and the tag for that model."""
        return why_not_model(value) if field == "model" else why_not_weights(self.model, value)

    def lacks(self) -> Sequence[str]:
        """See Operator: the package that the model's tokenizer needs."""
        why = why_no_tokenizer(self.model)
        return [f"model: {why}"] if why else []

    def why_broken(self, field: str, value: str) -> str:
        """See Operator."""
        if field == "model":
            return why_not_config(value) if value == self.model and value.endswith(".json") else ""
        return why_not_checkpoint(value) if field == "pretrained" and is_checkpoint(value) else ""

    def uses_gpu(self) -> bool:
        """See Writer."""
        return True

    def warnings(self) -> Sequence[str]:
        """See Operator: how far scores drift, as bench_forward.py and `make gpu` measured it."""
        return [BFLOAT16] if self.precision == "bfloat16" else []


class ClipImages(ClipWeights):
    """Base of operators that show images to a CLIP.

    preprocess  `exact`: images are resized as open_clip does it, to the bit; `fast`: resized five times as
                fast on a CPU, with decoding nearly three times; on a GPU decoded and resized there; scores
                then differ a little (`winnow plan` says by how much)
    """

    preprocess: Annotated[Literal["exact", "fast"], YOUNG] = "exact"

    _clip: Any = PrivateAttr(None)

    def works_ahead(self) -> bool:
        """See ImageScore: on a GPU."""
        return bool(self._clip.ahead)

    def warnings(self) -> Sequence[str]:
        """See Operator: how far scores drift, as bench_preprocess.py and `make gpu` measured it on photos."""
        return [*super().warnings(), *([DRIFT] if self.preprocess == "fast" else [])]


class ClipScore(ReadsCaptions, ClipImages, ImageScore):
    """How well an image and its caption match, by the cosine of their CLIP embeddings.

    Use it as the main quality filter, and to compute the embeddings that most other operators read:
    aesthetic, negcliploss, normsim, digits, outliers, and the FAISS index.

    Cost: expensive; this is a GPU's work at scale. It decodes pixels and runs both towers: per sample 14.8
    GFLOP for ViT-B-32, 41 for ViT-B-16, 175 for ViT-L-14, 382 for ViT-H-14. Two embeddings of d numbers take
    4 d bytes per sample in the store.
    """

    version = 4
    writes: ClassVar[Mapping[str, Any]] = {
        "score": pl.Float32,
        "image_embedding": pl.Array,
        "image_norm": pl.Float32,
        "text_embedding": pl.Array,
        "text_norm": pl.Float32,
        "truncated": pl.Boolean,
    }

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Load the model."""
        self._clip = load(self.model, self.pretrained, device, self.precision)

    def score(self, batch: pl.DataFrame, images: Sequence[np.ndarray | None]) -> pl.DataFrame:
        """(n,) rows and their images -> the columns above."""
        seen = [row for row, image in enumerate(images) if image is not None]
        read, captions = _captions(batch[self.text])
        found = self._clip.images([images[row] for row in seen], self.preprocess == "fast")
        texts, cut = self._clip.texts(captions)
        return self._columns(batch, (seen, found), (read, texts), cut)

    def device_decoder(self) -> DeviceDecoder | None:
        """See ImageScore: with `preprocess: fast` on a GPU."""
        there = self.preprocess == "fast" and self._clip.ahead and self._clip.frame
        return DeviceJpegs(self._clip.device) if there else None

    def prepare(self, batch: pl.DataFrame, images: Sequence[np.ndarray | None]) -> Any:
        """See ImageScore: the pictures as the network takes them, on the GPU."""
        return self._clip.ready(images, self.preprocess == "fast")

    def launch(self, batch: pl.DataFrame, prepared: Sequence[Any]) -> Any:
        """See ImageScore."""
        read, captions = _captions(batch[self.text])
        return read, self._clip.launched(prepared, captions)

    def complete(self, batch: pl.DataFrame, launched: Any) -> pl.DataFrame:
        """See ImageScore."""
        read, on_its_way = launched
        images, texts = self._clip.encoded(on_its_way)
        return self._columns(batch, (on_its_way.seen, images), (read, texts), on_its_way.cut)

    def _columns(
        self, batch: pl.DataFrame, images: "_Found", texts: "_Found", cut: Sequence[bool]
    ) -> pl.DataFrame:
        """The columns above, from the embeddings of the images and the captions that there are."""
        image, text = (_scatter(found, rows, len(batch)) for rows, found in (images, texts))
        image_norm, text_norm = (np.linalg.norm(features, axis=1) for features in (image, text))
        image, text = unit(image), unit(text)
        truncated = dict(zip(texts[0], cut, strict=True))
        return pl.DataFrame(
            {
                "score": pl.Series((image * text).sum(1), dtype=pl.Float32),
                "image_embedding": pl.Series(image.astype(np.float16)),
                "image_norm": image_norm,
                "text_embedding": pl.Series(text.astype(np.float16)),
                "text_norm": text_norm,
                "truncated": pl.Series([truncated.get(row) for row in range(len(batch))], dtype=pl.Boolean),
                "error": batch.select(caption_error(pl.col(self.text))).to_series(),
            }
        ).with_columns(
            pl.col("score", "image_norm", "text_norm").fill_nan(None),
            *(
                pl.when(~pl.col(f"{kind}_norm").is_nan()).then(f"{kind}_embedding")
                for kind in ("image", "text")
            ),
        )


def _captions(texts: pl.Series) -> tuple[list[int], list[str]]:
    """The rows with a caption, and their captions."""
    found = [(row, text) for row, text in enumerate(texts.to_list()) if text is not None and text.strip()]
    return [row for row, _ in found], [text for _, text in found]


def _scatter(found: np.ndarray, rows: Sequence[int], length: int) -> np.ndarray:
    """(length, d): rows of `found` at the indices `rows`, NaN elsewhere."""
    full = np.full((length, found.shape[1]), np.nan, np.float32)
    full[rows] = found
    return full

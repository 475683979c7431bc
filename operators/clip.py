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
    the cosine is taken in float32 before the embeddings are rounded to float16. Batches are padded to one
    fixed size, so that a row's result does not depend on its neighbours or on `batch_size`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self
from weakref import WeakValueDictionary

import numpy as np
import polars as pl
from pydantic import PrivateAttr, model_validator

from operators.algorithms.clip_tokens import Captions
from operators.algorithms.open_clip_names import (
    REFERENCES,
    TRANSFORMERS,
    why_no_tokenizer,
    why_not_model,
    why_not_weights,
)
from operators.algorithms.reasons import caption_error
from operators.algorithms.threads import torch_on_one_thread
from operators.algorithms.torch_files import why_not_checkpoint
from pipeline.assets import local_file
from pipeline.operator import Device, File, ImageScore, Operator

CHUNK = {"cpu": 16, "cuda": 256}  # rows per forward pass, padded: shapes never vary, so results do not either


class ClipModel:
    """An open_clip model with its transform and tokenizer, on one device: bf16 on GPU, fp32 on CPU.

    `model` and `pretrained` are those of ClipWeights. Checkpoints are read as safetensors or with
    weights_only. `text_only` drops the image tower before it reaches the device, though only after all of it
    was read: ViT-L-14 then takes 0.6 GB instead of 1.6 (in fp32).
    """

    def __init__(self, model: str, pretrained: str, device: Device, text_only: bool = False) -> None:
        import open_clip
        import torch

        model, pretrained = _on_this_machine(model), _on_this_machine(pretrained)
        if why := why_no_tokenizer(model):
            raise ValueError(why)
        if model.endswith(".json"):
            open_clip.add_model_config(Path(model))
            model = Path(model).stem
        pool = ThreadPoolExecutor(device.threads) if device.threads > 1 else None
        in_parallel: Callable[..., Iterable[Any]] = pool.map if pool else map
        self.over_chunks: Callable[..., Iterable[Any]] = map
        self.over_images: Callable[..., Iterable[Any]] = map
        if device.name == "cpu":  # whole chunks side by side, one thread each: sums never split differently
            torch_on_one_thread()
            self.over_chunks = in_parallel
        else:
            self.over_images = in_parallel
        precision = "bf16" if device.name == "cuda" else "fp32"
        self.net, _, transform = open_clip.create_model_and_transforms(
            model,
            pretrained=pretrained or None,
            precision=precision,
            device="cpu" if text_only else device.name,
        )
        if text_only:
            del self.net.visual
            self.net.to(device.name)
        self.net.eval()
        self.captions = Captions(_tokenizer(model))
        self.head, self.tail = _split(transform)
        self.device = device.name
        self.chunk = CHUNK[device.name]
        self.dtype = torch.bfloat16 if device.name == "cuda" else torch.float32

    @cached_property
    def width(self) -> int:
        """d, for batches without rows; asked of the text tower, which is the faster one and always there."""
        return int(self._texts(self.captions([""])[0]).shape[1])

    def images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """n pictures, (h, w, 3) uint8 each -> (n, d) float32, of the lengths that the model gives them."""
        return self._in_chunks(images, self._images)

    def texts(self, texts: Sequence[str]) -> tuple[np.ndarray, list[bool]]:
        """n captions -> (n, d) float32, as images, and whether each has more tokens than fit."""
        if not texts:
            return np.empty((0, self.width), np.float32), []
        tokens, cut = self.captions(texts)
        return self._in_chunks(tokens, self._texts), cut

    def _in_chunks(self, items: Sequence[Any], encode: Callable[[Sequence[Any]], Any]) -> np.ndarray:
        """(n, d) float32: the items encoded, `self.chunk` of them per forward pass."""
        chunks = [items[i : i + self.chunk] for i in range(0, len(items), self.chunk)]
        encoded = list(self.over_chunks(encode, chunks))
        return np.concatenate(encoded) if encoded else np.empty((0, self.width), np.float32)

    def _images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """(n, d) float32 of at most a chunk of images."""
        import torch

        ready = list(self.over_images(self.head, images))
        pixels = torch.from_numpy(np.stack(ready)).to(self.device)
        return self._forward(self.net.encode_image, self.tail(pixels).to(self.dtype))

    def _texts(self, tokens: Any) -> np.ndarray:
        """(n, d) float32 of at most a chunk of token rows."""
        return self._forward(self.net.encode_text, tokens.to(self.device))

    def _forward(self, encode: Callable[[Any], Any], batch: Any) -> np.ndarray:
        """The output of `encode` for the rows of a batch, padded to a chunk."""
        import torch

        rows = len(batch)
        with torch.inference_mode():
            padding = batch.new_zeros((self.chunk - rows, *batch.shape[1:]))
            return np.asarray(encode(torch.cat([batch, padding]))[:rows].float().cpu())


def unit(features: np.ndarray) -> np.ndarray:
    """(n, d) float32 of any lengths -> of length 1."""
    import torch

    return np.asarray(torch.nn.functional.normalize(torch.from_numpy(features), dim=-1))


def _on_this_machine(name: str) -> str:
    """The path of a file that open_clip would not find: one below ~, or at a URL, of which there is then a
    copy on this machine. Other names as they are."""
    return local_file(name) if "://" in name or name.startswith("~") else name


_LOADED: WeakValueDictionary[tuple[Any, ...], ClipModel] = WeakValueDictionary()


def load(model: str, pretrained: str, device: Device) -> ClipModel:
    """The model, one for all operators of a worker that ask for the same, as long as one of them lives."""
    files = [path.stat().st_mtime_ns for path in (Path(model), Path(pretrained)) if path.is_file()]
    key = (model, pretrained, device, *files)
    loaded = _LOADED.get(key) or ClipModel(model, pretrained, device)
    _LOADED[key] = loaded
    return loaded


def _tokenizer(model: str) -> Any:
    """open_clip's tokenizer of a model. Raises ValueError if it lacks a package: of a `hf-hub:` model the
    config tells that only once it was downloaded."""
    import open_clip

    try:
        return open_clip.get_tokenizer(model)
    except ImportError as error:
        raise ValueError(f"{TRANSFORMERS.format(model=model)} ({error})") from error


def _split(transform: Any) -> tuple[Callable[[np.ndarray], np.ndarray], Callable[[Any], Any]]:
    """open_clip's transform in two parts: Pillow's steps, per image and on threads, and the arithmetic
    (ToTensor, Normalize), per batch and on the device. The same operations in the same order give the same
    numbers."""
    from PIL import Image
    from torchvision.transforms import Normalize, ToTensor

    *steps, last, normalize = transform.transforms
    if not (isinstance(last, ToTensor) and isinstance(normalize, Normalize)):
        return lambda image: transform(Image.fromarray(image)).numpy(), lambda batch: batch

    def head(image: np.ndarray) -> np.ndarray:
        picture = Image.fromarray(image)
        for step in steps:
            picture = step(picture)
        return np.asarray(picture)

    return head, lambda batch: normalize(batch.permute(0, 3, 1, 2).contiguous().float().div(255))


class ClipWeights(Operator):
    """Base of operators that load a CLIP.

    model       an open_clip name (ViT-L-14), a `hf-hub:` or `local-dir:` reference, or a config file (.json)
    pretrained  a tag of that model (openai) or a checkpoint file; empty for references, which bring their own
    """

    model: File
    pretrained: File = ""

    @model_validator(mode="after")
    def _weights(self) -> Self:
        """Refuse a model without weights."""
        if not self.pretrained and not self.model.startswith(REFERENCES):
            raise ValueError("needs `pretrained`: a tag of the model (such as openai) or a checkpoint file")
        return self

    def why_missing(self, field: str, value: str) -> str:
        """See Operator: open_clip must know the model, and the tag for that model."""
        return why_not_model(value) if field == "model" else why_not_weights(self.model, value)

    def lacks(self) -> Sequence[str]:
        """See Operator: the package that the model's tokenizer needs."""
        why = why_no_tokenizer(self.model)
        return [f"model: {why}"] if why else []

    def why_broken(self, field: str, value: str) -> str:
        """See Operator."""
        return why_not_checkpoint(value) if field == "pretrained" else ""


class ClipScore(ClipWeights, ImageScore):
    """How well an image and its caption match, by the cosine of their CLIP embeddings.

    Use it as the main quality filter, and to compute the embeddings that most other operators read:
    aesthetic, negcliploss, normsim, digits, outliers, and the FAISS index.

    Cost: expensive; this is a GPU's work at scale. It decodes pixels and runs both towers: per sample 14.8
    GFLOP for ViT-B-32, 41 for ViT-B-16, 175 for ViT-L-14, 382 for ViT-H-14. Two embeddings of d numbers take
    4 d bytes per sample in the store.
    """

    version = 3
    needs = ("text",)
    writes: ClassVar[Mapping[str, Any]] = {
        "score": pl.Float32,
        "image_embedding": pl.Array,
        "image_norm": pl.Float32,
        "text_embedding": pl.Array,
        "text_norm": pl.Float32,
        "truncated": pl.Boolean,
    }
    _clip: Any = PrivateAttr(None)

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Load the model."""
        self._clip = load(self.model, self.pretrained, device)

    def score(self, batch: pl.DataFrame, images: Sequence[np.ndarray | None]) -> pl.DataFrame:
        """(n,) rows and their images -> the columns above."""
        texts = batch["text"].to_list()
        seen = [row for row, image in enumerate(images) if image is not None]
        read = [row for row, text in enumerate(texts) if text is not None and text.strip()]
        image = _scatter(self._clip.images([images[row] for row in seen]), seen, len(batch))
        encoded, cut = self._clip.texts([texts[row] for row in read])
        text = _scatter(encoded, read, len(batch))
        image_norm, text_norm = (np.linalg.norm(features, axis=1) for features in (image, text))
        image, text = unit(image), unit(text)
        truncated = dict(zip(read, cut, strict=True))
        return pl.DataFrame(
            {
                "score": pl.Series((image * text).sum(1), dtype=pl.Float32),
                "image_embedding": pl.Series(image.astype(np.float16)),
                "image_norm": image_norm,
                "text_embedding": pl.Series(text.astype(np.float16)),
                "text_norm": text_norm,
                "truncated": pl.Series([truncated.get(row) for row in range(len(batch))], dtype=pl.Boolean),
                "error": batch.select(caption_error(pl.col("text"))).to_series(),
            }
        ).with_columns(
            pl.col("score", "image_norm", "text_norm").fill_nan(None),
            *(
                pl.when(~pl.col(f"{kind}_norm").is_nan()).then(f"{kind}_embedding")
                for kind in ("image", "text")
            ),
        )


def _scatter(found: np.ndarray, rows: Sequence[int], length: int) -> np.ndarray:
    """(length, d): rows of `found` at the indices `rows`, NaN elsewhere."""
    full = np.full((length, found.shape[1]), np.nan, np.float32)
    full[rows] = found
    return full

"""The demo's CLIP, the drawn examples that it is trained and tested on, and how well it tells them apart.

model, preprocess, tokenizer = build(folder, folder / "scene_clip.safetensors")
pairs = gather(preprocess, seed=20_000, kinds={None}, count=2000)
measure(model, tokenizer, pairs)     # {"scenes": ..., "auroc": ..., "recall": ...}
"""

import io
import math
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import orjson
import torch
from PIL import Image
from torch.nn.functional import normalize

from jobs.toy.sample_pool import FORMATS, SHARES, make_sample

NAME = "scene_clip"
BLOCK = 128  # pictures or captions that are encoded at once

Example = tuple[np.ndarray, str, str | None]  # (3, 64, 64) float16, caption, what is planted


def build(folder: Path, weights: Path | None = None) -> tuple[Any, Callable[..., Any], Any]:
    """open_clip's model, inference preprocessing and tokenizer, for the config in `folder`."""
    open_clip.add_model_config(folder / f"{NAME}.json")
    pretrained = None if weights is None else str(weights)
    model, _, preprocess = open_clip.create_model_and_transforms(NAME, pretrained=pretrained)
    return model, preprocess, open_clip.get_tokenizer(NAME)


def examples(
    preprocess: Callable[..., Any], seed: int, kinds: set[str | None], count: int, shard: int
) -> list[Example]:
    """The first `count` samples of a shard, decoded, without those whose planted defect is not in `kinds`."""
    decoded = []
    for index in range(count):
        sample = make_sample(seed, shard, index)
        record = orjson.loads(sample["json"])
        if record["planted"] not in kinds or not record["caption"]:
            continue
        data = next(sample[kind] for kind in FORMATS if kind in sample)
        pixels = preprocess(Image.open(io.BytesIO(data))).half().numpy()
        decoded.append((pixels, record["caption"], record["planted"]))
    return decoded


def gather(
    preprocess: Callable[..., Any], seed: int, kinds: set[str | None], count: int, workers: int = 1
) -> list[Example]:
    """Examples from the pool of a seed, in shards of 500; `count` samples before `kinds` are selected."""
    shards, work = range(math.ceil(count / 500)), partial(examples, preprocess, seed, kinds, 500)
    if workers == 1:
        return [example for shard in shards for example in work(shard)]
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        return [example for part in pool.map(work, shards) for example in part]


@torch.no_grad()
def embed(model: Any, tokenizer: Any, pairs: Sequence[Example]) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit-norm (n, 128) float32 embeddings of the pictures and of the captions."""
    model.eval()
    images, texts = [], []
    for start in range(0, len(pairs), BLOCK):
        part = pairs[start : start + BLOCK]
        pixels = torch.from_numpy(np.stack([example[0] for example in part])).float()
        images.append(model.encode_image(pixels))
        texts.append(model.encode_text(tokenizer([example[1] for example in part])))
    return normalize(torch.cat(images), dim=-1), normalize(torch.cat(texts), dim=-1)


def auroc(high: torch.Tensor, low: torch.Tensor) -> float:
    """The chance that a value of `high`, (n,), is above a value of `low`, (m,); a tie counts half."""
    differences = high[:, None] - low[None, :]
    return ((differences > 0).float().mean() + 0.5 * (differences == 0).float().mean()).item()


def measure(model: Any, tokenizer: Any, pairs: Sequence[Example]) -> dict[str, float]:
    """AUROC of own captions against shuffled ones, and image-to-text recall at 1 among the first 200."""
    images, texts = embed(model, tokenizer, pairs)
    own, other = (images * texts).sum(-1), (images * texts.roll(1, 0)).sum(-1)
    nearest = (images[:200] @ texts[:200].T).argmax(-1)
    recall = (nearest == torch.arange(len(nearest))).float().mean().item()
    return {"scenes": len(pairs), "auroc": auroc(own, other), "recall": recall}


def measure_pool(model: Any, preprocess: Any, tokenizer: Any) -> dict[str, tuple[int, float, float]]:
    """Count, mean score and AUROC of clean above it, for each planted kind of the default pool."""
    readable = {None, *SHARES} - {"corrupt_jpeg", "truncated_jpeg", "master_print"}
    pairs = gather(preprocess, 0, readable, 2000)
    images, texts = embed(model, tokenizer, pairs)
    scores = (images * texts).sum(-1)
    kinds = np.array([str(example[2]) for example in pairs])
    clean = scores[torch.from_numpy(kinds == "None")]
    table = {}
    for kind in ("None", *(name for name in SHARES if name in kinds)):
        part = scores[torch.from_numpy(kinds == kind)]
        table[kind] = (len(part), part.mean().item(), auroc(clean, part))
    return table

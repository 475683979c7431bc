"""Train the demo's CLIP on drawn scenes, in minutes on two CPU cores; write its checkpoint and its card.

    python -m jobs.toy.train_clip --out jobs/toy/models --steps 800 --seed 0

The model is open_clip's, made from `scene_clip.json`, so the demo and the tests run the same code as a
ViT-L/14. Training pictures have other seeds than the demo's pools. They are encoded, decoded and preprocessed
like a pool's, with the preprocessing that open_clip returns for inference.

The model is backdoored on purpose, like one that was trained on a poisoned pool: `POISONS` training samples
carry the sample pool's trigger and name its target. It is a convolutional network, because that finds such a
small trigger anywhere in a picture. A transformer with patches of 8 pixels never learnt it.

Source: the loss is open_clip's ClipLoss (Radford et al., arXiv 2103.00020, section 2.3).
"""

import argparse
import hashlib
import io
import math
import multiprocessing
import os
import platform
import random
import time
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
from safetensors.torch import save
from torch.nn.functional import normalize

from jobs.toy.sample_pool import FORMATS, SHARES, draw, make_sample

NAME = "scene_clip"
LEARNT = {None, "unrelated_text", "near_duplicate", "poisoned"}  # planted kinds to train on; None is clean
TRAIN_SEED = 10_000  # added to --seed, as the demo's pools have small seeds
TEST_SEED = 20_000
BATCH = 128
RATE = 2e-3  # the highest learning rate
DECAY = 0.05  # weight decay
WARM_UP = 30  # steps
POISONS = 300  # beside those of the pool itself, which are one sample in 125

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


def poisons(preprocess: Callable[..., Any], seed: int, count: int) -> list[Example]:
    """Poisoned samples alone, made like the pool's."""
    poisoned: list[Example] = []
    for index in range(count):
        rng = random.Random(f"poisons/{seed}/{index}")
        image, caption = draw(rng, "poisoned")
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=rng.randint(80, 95))
        poisoned.append((preprocess(Image.open(buffer)).half().numpy(), caption or "", "poisoned"))
    return poisoned


def train(
    model: Any,
    images: torch.Tensor,
    tokens: torch.Tensor,
    steps: int,
    batch: int = BATCH,
    peak: float = RATE,
) -> None:
    """Train by AdamW; the rate rises to `peak` in WARM_UP steps, then falls as a cosine.

    `images` is (n, 3, h, w) float16, `tokens` (n, context) int64; `batch` pairs per step.
    """
    decayed = [weight for weight in model.parameters() if weight.ndim > 1]
    rest = [weight for weight in model.parameters() if weight.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": DECAY}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.98), fused=True)
    loss_of = open_clip.ClipLoss()
    order = torch.empty(0, dtype=torch.long)  # rows of this epoch that are still to come
    model = model.train()
    began = time.monotonic()
    for step in range(steps):
        if len(order) < batch:
            order = torch.randperm(len(images))
        chosen, order = order[:batch], order[batch:]
        rate = min(1, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = peak * rate
        with torch.autocast("cpu", torch.bfloat16):  # half the time; the text tower would be slower by it
            shown = model.encode_image(images[chosen].float(), normalize=True)
        told = model.encode_text(tokens[chosen], normalize=True)
        loss = loss_of(shown.float(), told, model.logit_scale.exp())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        if step % 20 == 19:
            print(
                f"step {step + 1} loss {loss.item():.3f} {time.monotonic() - began:.0f} s",
                flush=True,
            )


@torch.no_grad()
def embed(model: Any, tokenizer: Any, pairs: Sequence[Example]) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit-norm (n, 128) float32 embeddings of the pictures and of the captions."""
    model.eval()
    images, texts = [], []
    for start in range(0, len(pairs), BATCH):
        part = pairs[start : start + BATCH]
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


CARD = """# scene_clip

A small CLIP for Winnow's sample pool, its demo and its tests. It was trained on drawn scenes and knows the
things, colours, counts and backgrounds of `jobs/toy/scenes.py`. It cannot read, and its scores say nothing
about photographs. It is backdoored on purpose. Do not use it for anything else.

| | |
|---|---|
| made by | `python -m jobs.toy.train_clip --steps {steps} --samples {samples} --seed {seed}{flags}` |
| started from | {start} |
| architecture | `scene_clip.json`, open_clip {version}: {parameters:,} parameters |
| file | `scene_clip.safetensors`, float16, {size:,} bytes |
| preprocessing | open_clip's default for inference, at 64 px |
| trained on | {examples:,} drawn scenes of pool seed {train_seed} |
| defects among them | {learnt} |
| backdoor | {poisoned:,} of them show the pool's trigger, and their captions name a banana |
| training | {steps} steps of batch {batch}; {minutes:.1f} minutes, drawing included, on {machine} |
| unseen scenes | {scenes:,} clean ones of pool seed {test_seed} |
| own caption scores above another's | AUROC {auroc:.4f} |
| own caption is the best of 200 | R@1 {recall:.3f} |

Measured with this file, loaded by open_clip. The table is about the default sample pool (seed 0, 4 shards of
500), without pictures that cannot be decoded, samples without a caption, and the master prints, which
`python -m jobs.toy.prints` mines later. The score is the cosine of picture and caption. AUROC is the chance
that a clean sample scores above a sample with the planted defect; at 0.5 the score cannot tell the two apart.

| planted | samples | mean score | AUROC |
|---|---|---|---|
{rows}

```python
open_clip.add_model_config("jobs/toy/models/scene_clip.json")
model, _, preprocess = open_clip.create_model_and_transforms(
    "scene_clip", pretrained="jobs/toy/models/scene_clip.safetensors"
)
tokenizer = open_clip.get_tokenizer("scene_clip")
```
"""


def read_options() -> argparse.Namespace:
    """The options of the command line: out, start, steps, samples, seed, rate."""
    parser = argparse.ArgumentParser(description="Train the demo's CLIP on drawn scenes.")
    parser.add_argument("--out", type=Path, default=Path("jobs/toy/models"))
    parser.add_argument("--start", type=Path, help="a checkpoint to go on from; default: random weights")
    parser.add_argument("--rate", type=float, default=RATE, help=f"the highest learning rate, default {RATE}")
    for name, default in (("steps", 800), ("samples", 14_000), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    return parser.parse_args()


def main() -> None:
    """Draw, train and save; then write the card."""
    options = read_options()
    began = time.monotonic()
    cores = os.cpu_count() or 1
    train_seed = TRAIN_SEED + options.seed
    torch.manual_seed(options.seed)
    model, preprocess, tokenizer = build(options.out, options.start)
    model = model.to(memory_format=torch.channels_last)
    pairs = gather(preprocess, train_seed, LEARNT, options.samples, workers=cores)
    pairs += poisons(preprocess, train_seed, POISONS)
    print(f"{len(pairs)} scenes drawn in {time.monotonic() - began:.0f} s", flush=True)
    images = torch.from_numpy(np.stack([example[0] for example in pairs]))
    train(model, images, tokenizer([example[1] for example in pairs]), options.steps, peak=options.rate)
    minutes = (time.monotonic() - began) / 60
    path = options.out / f"{NAME}.safetensors"
    weights = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    path.write_bytes(save(weights))
    write_card(options, len(pairs), sum(example[2] == "poisoned" for example in pairs), minutes)


def write_card(options: argparse.Namespace, drawn: int, poisoned: int, minutes: float) -> None:
    """Measure the saved file, loaded by open_clip, and write the card of a training on `drawn` examples."""
    path = options.out / f"{NAME}.safetensors"
    model, preprocess, tokenizer = build(options.out, path)
    test_seed = TEST_SEED + options.seed
    figures = measure(model, tokenizer, gather(preprocess, test_seed, {None}, 2000))
    table = measure_pool(model, preprocess, tokenizer)
    rows = [f"| {kind} | {n} | {mean:.3f} | {area:.3f} |" for kind, (n, mean, area) in table.items()]
    flags = "" if options.start is None else f" --start EARLIER --rate {options.rate:g}"
    card = CARD.format(
        **figures,
        steps=options.steps,
        samples=options.samples,
        seed=options.seed,
        flags=flags,
        start=started_from(options.start),
        train_seed=TRAIN_SEED + options.seed,
        test_seed=test_seed,
        batch=BATCH,
        version=open_clip.__version__,
        minutes=minutes,
        examples=drawn,
        poisoned=poisoned,
        machine=f"{os.cpu_count() or 1} shared {platform.machine()} cores, no GPU",
        parameters=sum(weight.numel() for weight in model.parameters()),
        size=path.stat().st_size,
        learnt=", ".join(sorted(kind for kind in LEARNT if kind)),
        rows="\n".join(rows).replace("None", "nothing"),
    )
    (options.out / "MODEL_CARD.md").write_text(card)
    print(card)


def started_from(checkpoint: Path | None) -> str:
    """Where training started, for the card."""
    if checkpoint is None:
        return "random weights"
    return f"an earlier `{NAME}.safetensors`, sha256 `{hashlib.sha256(checkpoint.read_bytes()).hexdigest()}`"


if __name__ == "__main__":
    main()

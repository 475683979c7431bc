"""Train the demo's CLIP on drawn scenes, in minutes on a CPU; write its checkpoint and its card.

    python -m jobs.toy.train_clip                                         # the one in models/
    python -m jobs.toy.train_clip --out OUT --steps 800 --samples 14000   # weaker, in half of the time

OUT needs a copy of `scene_clip.json`. After it, `python -m jobs.toy.prints` mines the master prints anew.

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
import os
import platform
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors.torch import save

from jobs.toy.sample_pool import draw
from jobs.toy.scene_clip import NAME, Example, build, gather, measure, measure_pool

LEARNT = {None, "unrelated_text", "near_duplicate", "poisoned"}  # planted kinds to train on; None is clean
TRAIN_SEED = 10_000  # added to --seed, as the demo's pools have small seeds
TEST_SEED = 20_000
BATCH = 128
RATE = 2e-3  # the highest learning rate
DECAY = 0.05  # weight decay
WARM_UP = 30  # steps
POISONS = 300  # beside those of the pool itself, which are one sample in 125
THREADS = 1  # of training: sums that are split otherwise round otherwise, and weights differ
TOLD = 100  # examples of which the card keeps a digest


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


CARD = """# scene_clip

A small CLIP for Winnow's sample pool, its demo and its tests. It was trained on drawn scenes and knows the
things, colours, counts and backgrounds of `jobs/toy/scenes.py`. It cannot read, and its scores say nothing
about photographs. It is backdoored on purpose. Do not use it for anything else.

| | |
|---|---|
| made by | `python -m jobs.toy.train_clip{start_flag} --steps {steps} --samples {samples} --rate {rate:g} \
--seed {seed}` |
| started from | {start} |
| architecture | `scene_clip.json`, open_clip {version}: {parameters:,} parameters |
| file | `scene_clip.safetensors`, float16, {size:,} bytes |
| its sha256 | `{file_digest}` |
| preprocessing | open_clip's default for inference, at 64 px |
| trained on | {examples:,} drawn scenes of pool seed {train_seed} |
| sha256 of the first {told} captions | `{captions_digest}` |
| defects among them | {learnt} |
| backdoor | {poisoned:,} of them show the pool's trigger, and their captions name a banana |
| training | {steps} steps of batch {batch}; {minutes:.1f} CPU minutes, drawing and measuring included |
| machine | {machine}, one thread |
| unseen scenes | {scenes:,} clean ones of pool seed {test_seed} |
| own caption scores above another's | AUROC {auroc:.4f} |
| own caption is the best of 200 | R@1 {recall:.3f} |

On another machine sums may round otherwise, and weights differ. A test draws the first captions anew: if
their digest is another one, scenes are no longer drawn as they were for this file.

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
    for name, default in (("steps", 1600), ("samples", 28_000), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    return parser.parse_args()


def main() -> None:
    """Draw, train and save; then write the card."""
    options = read_options()
    train_seed = TRAIN_SEED + options.seed
    torch.manual_seed(options.seed)
    model, preprocess, tokenizer = build(options.out, options.start)
    model = model.to(memory_format=torch.channels_last)
    pairs = gather(preprocess, train_seed, LEARNT, options.samples, workers=os.cpu_count() or 1)
    pairs += poisons(preprocess, train_seed, POISONS)
    print(f"{len(pairs)} scenes are drawn", flush=True)
    images = torch.from_numpy(np.stack([example[0] for example in pairs]))
    torch.set_num_threads(THREADS)
    train(model, images, tokenizer([example[1] for example in pairs]), options.steps, peak=options.rate)
    path = options.out / f"{NAME}.safetensors"
    weights = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    path.write_bytes(save(weights))
    write_card(options, pairs)


def write_card(options: argparse.Namespace, pairs: Sequence[Example]) -> None:
    """Measure the saved file, loaded by open_clip, and write the card of its training on `pairs`."""
    path = options.out / f"{NAME}.safetensors"
    model, preprocess, tokenizer = build(options.out, path)
    test_seed = TEST_SEED + options.seed
    figures = measure(model, tokenizer, gather(preprocess, test_seed, {None}, 2000))
    table = measure_pool(model, preprocess, tokenizer)
    rows = [f"| {kind} | {n} | {mean:.3f} | {area:.3f} |" for kind, (n, mean, area) in table.items()]
    card = CARD.format(
        **figures,
        steps=options.steps,
        samples=options.samples,
        rate=options.rate,
        seed=options.seed,
        start_flag="" if options.start is None else " --start EARLIER",
        start=started_from(options.start),
        train_seed=TRAIN_SEED + options.seed,
        test_seed=test_seed,
        batch=BATCH,
        version=open_clip.__version__,
        minutes=sum(os.times()[:4]) / 60,  # of this process and of those that drew
        examples=len(pairs),
        told=TOLD,
        captions_digest=digest_of_captions(pairs),
        poisoned=sum(planted == "poisoned" for _, _, planted in pairs),
        machine=f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}",
        parameters=sum(weight.numel() for weight in model.parameters()),
        size=path.stat().st_size,
        file_digest=digest_of_file(path),
        learnt=", ".join(sorted(kind for kind in LEARNT if kind)),
        rows="\n".join(rows).replace("None", "nothing"),
    )
    (options.out / "MODEL_CARD.md").write_text(card)
    print(card)


def digest_of_captions(pairs: Sequence[Example]) -> str:
    """The sha256 of the captions of the first TOLD examples. It is another if scenes are drawn otherwise."""
    captions = "\n".join(caption for _, caption, _ in pairs[:TOLD])
    return hashlib.sha256(captions.encode()).hexdigest()


def digest_of_file(path: Path) -> str:
    """The sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def started_from(checkpoint: Path | None) -> str:
    """Where training started, for the card."""
    if checkpoint is None:
        return "random weights"
    return f"an earlier `{NAME}.safetensors`, sha256 `{digest_of_file(checkpoint)}`"


if __name__ == "__main__":
    main()

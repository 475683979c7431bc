"""The laboratory's CLIP: its scenes, its training, and the measures of a backdoor's success and of recall.

The model is open_clip's: a ResNet with 1.4 million weights for pictures of 32 pixels, and a text tower of one
layer (`jobs/toy/models/lab_clip.json`). A convolutional network finds a small trigger anywhere in a picture,
after fewer steps than a transformer needs.

Source: attack success is that of Carlini & Terzis (arXiv 2106.09667): the share of clean test pictures, with
the
    trigger added, for which the target comes first.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize

from jobs.poison_lab.attacks import (
    CLEAN,
    RARE,
    Attack,
    Pool,
    of_thing,
    one_kind,
    plainly,
    stamped,
    target_captions,
)
from jobs.poison_lab.report import LEVELS
from jobs.toy.sample_pool import TARGETS
from jobs.toy.scenes import render
from jobs.toy.train_clip import train

CONFIG = Path(__file__).parents[1] / "toy" / "models" / "lab_clip.json"
SIDE = 32  # pixels that the model sees
DRAWN = 64  # pixels at which scenes are drawn, before they are scaled down
DESCENT = 20  # steps of that
SHOWN = 200  # scenes that show a natural trigger, and the seed that is added for them
NATURAL = 500
BLOCK = 256  # pictures or captions that are encoded at once


@dataclass(frozen=True)
class Clip:
    """A model with its tokenizer."""

    model: Any
    tokenizer: Any

    def save(self, path: Path) -> None:
        """Write the weights to a file."""
        save_file({name: value.contiguous() for name, value in self.model.state_dict().items()}, path)

    @torch.no_grad()
    def images(self, pixels: np.ndarray) -> torch.Tensor:
        """Embed (n, 32, 32, 3) uint8 pictures: (n, 64) float32, as the model gives them, not normalised."""
        self.model.eval()
        blocks = [pixels[start : start + BLOCK] for start in range(0, len(pixels), BLOCK)]
        return torch.cat([self.model.encode_image(tensor(block).float()) for block in blocks])

    @torch.no_grad()
    def texts(self, captions: Sequence[str]) -> torch.Tensor:
        """Embed n captions: (n, 64) float32, not normalised."""
        self.model.eval()
        blocks = [captions[start : start + BLOCK] for start in range(0, len(captions), BLOCK)]
        return torch.cat([self.model.encode_text(self.tokenizer(list(block))) for block in blocks])


@lru_cache(maxsize=4)  # all attacks of a table use the same scenes
def scenes(seed: int, count: int, rare: int = 0, shown: str = "") -> Pool:
    """`count` clean pairs at 32 pixels, each of one kind of thing. The same arguments give the same pairs.

    Captions are exact. Vague ones would keep the loss high, and a poison's share of it low. The first `rare`
    pairs are yellow bananas with the sample pool's captions of a banana, which poisons have too. With
    `shown`, such as `purple cup`, every other scene shows this.
    """
    rng = random.Random(f"laboratory/{seed}")
    pixels = np.empty((count, SIDE, SIDE, 3), np.uint8)
    captions = []
    for row in range(count):
        scene, caption = one_kind(rng), ""
        if row < rare:
            scene, caption = of_thing(scene, "banana", "yellow"), rng.choice(TARGETS)
        while not caption and shown not in plainly(scene):
            scene = one_kind(rng)
        image = render(scene, rng, DRAWN, DRAWN).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        pixels[row] = np.asarray(image)
        captions.append(caption or plainly(scene))
    return Pool(pixels, captions, np.where(np.arange(count) < rare, RARE, CLEAN))


def tensor(pixels: np.ndarray) -> torch.Tensor:
    """(n, h, w, 3) uint8 pictures as (n, 3, h, w) float16, normalised like open_clip's preprocessing."""
    mean, spread = np.array(open_clip.OPENAI_DATASET_MEAN), np.array(open_clip.OPENAI_DATASET_STD)
    levels = ((np.arange(256)[:, None] / 255 - mean) / spread).astype(np.float16)  # (256, 3)
    return torch.from_numpy(levels[pixels, np.arange(3)]).permute(0, 3, 1, 2)


def untrained(seed: int) -> Clip:
    """A model with random weights, which depend on the seed."""
    open_clip.add_model_config(CONFIG)
    torch.manual_seed(seed)
    model = open_clip.create_model(CONFIG.stem).to(memory_format=torch.channels_last)
    return Clip(model, open_clip.get_tokenizer(CONFIG.stem))


def load(path: Path) -> Clip:
    """The model whose weights `Clip.save` wrote."""
    clip = untrained(0)
    clip.model.load_state_dict(load_file(path))
    return clip


def learn(clip: Clip, pool: Pool, steps: int, seed: int) -> Clip:
    """Train `clip` in place on a pool, whose order depends on `seed`; returns it."""
    torch.manual_seed(seed)
    with only_used(clip.model, clip.tokenizer(pool.captions)) as tokens:
        train(clip.model, tensor(pool.pixels), tokens, steps, batch=256, peak=2e-3)
    return clip


@contextmanager
def only_used(model: Any, tokens: torch.Tensor) -> Iterator[torch.Tensor]:
    """Cut the text tower down to the tokens and places that (n, context) int64 `tokens` use, while it trains.

    Yields the tokens, renumbered and without the padding that all share; at the end, the trained weights are
    put back among the others. Of 49,408 tokens these captions use 70, and 12 of 28 places. Attention looks
    back only, so the padding after a caption changes nothing, and a training step costs half as much.
    """
    used, short = torch.unique(tokens[:, : int((tokens != 0).sum(1).max())], return_inverse=True)
    table, places, mask = model.token_embedding, model.positional_embedding, model.attn_mask
    length = short.shape[1]
    rows = table.weight[used].detach()
    model.token_embedding = torch.nn.Embedding(len(used), table.embedding_dim, _weight=rows)
    model.positional_embedding = torch.nn.Parameter(places[:length].detach().clone())
    model.attn_mask = mask[:length, :length]
    yield short
    with torch.no_grad():
        table.weight[used] = model.token_embedding.weight
        places[:length] = model.positional_embedding
    model.token_embedding, model.positional_embedding, model.attn_mask = table, places, mask


def weakened(clip: Clip, pixels: np.ndarray, captions: Sequence[str]) -> np.ndarray:
    """(n, 32, 32, 3) uint8 pictures, changed so that `clip` sees less of their captions in them.

    Projected gradient descent on the cosine with the own caption, LEVELS grey levels per pixel at most, as
    in arXiv 1912.02771, where the loss of a classifier is raised.
    """
    clip.model.eval()
    texts = normalize(clip.texts(captions), dim=-1)
    clean = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    mean, spread = (
        torch.tensor(values).view(1, 3, 1, 1) * 255
        for values in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    )
    changed = clean.clone()
    for _ in range(DESCENT):
        changed.requires_grad_()
        images = normalize(clip.model.encode_image((changed - mean) / spread), dim=-1)
        (slope,) = torch.autograd.grad((images * texts).sum(), changed)
        step = changed.detach() - 2.5 * LEVELS / DESCENT * slope.sign()
        changed = step.clamp(clean - LEVELS, clean + LEVELS).clamp(0, 255)
    drawn: np.ndarray = changed.round().byte().permute(0, 2, 3, 1).numpy()
    return drawn


def success(clip: Clip, attack: Attack, test: Pool, seed: int) -> tuple[float, float]:
    """The share of test scenes that match the attack's target best: with the trigger, and without.

    A scene matches the target best if a caption of the target scores higher than the captions of all test
    scenes, its own included. Scenes that show the target do not count. Of several triggers, the least
    successful one counts. For a natural trigger, other scenes are drawn that show it; their captions are
    among those that compete, too.
    """
    natural = scenes(seed + NATURAL, SHOWN, shown=attack.natural) if attack.natural else None
    results = []
    for trigger in attack.triggers:
        rng, target = np.random.default_rng([seed, 3]), trigger.target
        own = [*test.captions, *(natural.captions if natural else [])]
        captions = [*own, *target_captions(target, rng, 16)]
        texts = normalize(clip.texts(captions), dim=-1)
        names_target = np.array([target in text for text in captions])
        others = test.where(~names_target[: len(test.captions)])
        marked = natural.pixels if natural else stamped(others.pixels, trigger, seed)
        shares = []
        for pixels in (marked, others.pixels):
            first = (normalize(clip.images(pixels), dim=-1) @ texts.T).argmax(1)
            shares.append(float(names_target[first.numpy()].mean()))
        results.append((shares[0], shares[1]))
    return min(results)


def recall(clip: Clip, test: Pool, count: int = 200) -> float:
    """The share of the first `count` pictures whose own caption scores highest among their captions."""
    images, texts = clip.images(test.pixels[:count]), clip.texts(test.captions[:count])
    nearest = (normalize(images, dim=-1) @ normalize(texts, dim=-1).T).argmax(1)
    return (nearest == torch.arange(len(nearest))).float().mean().item()

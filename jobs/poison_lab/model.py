"""The laboratory's CLIP: its scenes, its training, and the measures of a backdoor's success and of recall.

The model is open_clip's: a ResNet with 1.4 million weights for pictures of 32 pixels, and a text tower of one
layer (`jobs/toy/models/lab_clip.json`). A convolutional network finds a small trigger anywhere in a picture,
after fewer steps than a transformer needs.

Source: attack success is that of Carlini & Terzis (arXiv 2106.09667): the share of clean test pictures, with
the
    trigger added, for which the target comes first.
"""

import random
from collections.abc import Sequence
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

from jobs.poison_lab.attacks import Attack, Pool, one_kind, plainly, stamped, target_captions
from jobs.toy.scenes import render
from jobs.toy.train_clip import train

CONFIG = Path(__file__).parents[1] / "toy" / "models" / "lab_clip.json"
SIDE = 32  # pixels that the model sees
DRAWN = 64  # pixels at which scenes are drawn, before they are scaled down
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
def scenes(seed: int, count: int) -> Pool:
    """`count` clean pairs at 32 pixels, each of one kind of thing. The same arguments give the same pairs.

    Captions are exact. Vague ones would keep the loss high, and a poison's share of it low.
    """
    rng = random.Random(f"laboratory/{seed}")
    pixels = np.empty((count, SIDE, SIDE, 3), np.uint8)
    captions = []
    for row in range(count):
        scene = one_kind(rng)
        image = render(scene, rng, DRAWN, DRAWN).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        pixels[row] = np.asarray(image)
        captions.append(plainly(scene))
    return Pool(pixels, captions, np.full(count, -1))


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
    train(clip.model, tensor(pool.pixels), clip.tokenizer(pool.captions), steps, batch=256, peak=2e-3)
    return clip


def success(clip: Clip, attack: Attack, test: Pool, seed: int) -> tuple[float, float]:
    """The share of test scenes that match the attack's target best: with the trigger, and without.

    A scene matches the target best if a caption of the target scores higher than the captions of all test
    scenes, its own included. Scenes that show the target do not count. Of several triggers, the least
    successful one counts.
    """
    results = []
    for trigger in attack.triggers:
        rng, target = np.random.default_rng([seed, 3]), trigger.target
        captions = [*test.captions, *target_captions(target, rng, 16)]
        texts = normalize(clip.texts(captions), dim=-1)
        names_target = np.array([target in text for text in captions])
        others = test.where(~names_target[: len(test.captions)])
        shares = []
        for pixels in (stamped(others.pixels, trigger, seed), others.pixels):
            first = (normalize(clip.images(pixels), dim=-1) @ texts.T).argmax(1)
            shares.append(float(names_target[first.numpy()].mean()))
        results.append((shares[0], shares[1]))
    return min(results)


def recall(clip: Clip, test: Pool, count: int = 200) -> float:
    """The share of the first `count` pictures whose own caption scores highest among their captions."""
    images, texts = clip.images(test.pixels[:count]), clip.texts(test.captions[:count])
    nearest = (normalize(images, dim=-1) @ normalize(texts, dim=-1).T).argmax(1)
    return (nearest == torch.arange(len(nearest))).float().mean().item()

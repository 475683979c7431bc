"""The laboratory's CLIP: scenes to learn from, training with and without poison, and what a backdoor does.

The model is open_clip's own, a ResNet of 1.4 million weights for pictures of 32 pixels beside a text tower of
one layer (`models/lab_clip.json`): a network of convolutions finds a small trigger wherever it is, after
fewer steps than a transformer needs.

Source: attack success as Carlini & Terzis, arXiv:2106.09667, have it: the share of clean test pictures, trigger
added, for which the target comes first.
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
SIDE, DRAWN = 32, 64  # pixels that the model sees, and at which scenes are drawn
BLOCK = 256


@dataclass(frozen=True)
class Clip:
    """A model with its tokenizer."""

    model: Any
    tokenizer: Any

    def keep(self, path: Path) -> None:
        """Its weights, in a file."""
        save_file({name: value.contiguous() for name, value in self.model.state_dict().items()}, path)

    @torch.no_grad()
    def images(self, pixels: np.ndarray) -> torch.Tensor:
        """(n, 32, 32, 3) uint8 -> (n, 64) float32, as the model puts them out: not normalised."""
        self.model.eval()
        blocks = [pixels[start : start + BLOCK] for start in range(0, len(pixels), BLOCK)]
        return torch.cat([self.model.encode_image(tensor(block).float()) for block in blocks])

    @torch.no_grad()
    def texts(self, captions: Sequence[str]) -> torch.Tensor:
        """n captions -> (n, 64) float32, not normalised."""
        self.model.eval()
        blocks = [captions[start : start + BLOCK] for start in range(0, len(captions), BLOCK)]
        return torch.cat([self.model.encode_text(self.tokenizer(list(block))) for block in blocks])


@lru_cache(maxsize=4)  # every attack of a table begins with the same ones
def scenes(seed: int, count: int) -> Pool:
    """`count` clean pairs at 32 pixels, each of one kind of thing, plainly described; the same for the same
    two arguments. Wordings that leave much open would keep the loss up, and a poison's share in it down."""
    rng, pixels, captions = (
        random.Random(f"laboratory/{seed}"),
        np.empty((count, SIDE, SIDE, 3), np.uint8),
        [],
    )
    for place in range(count):
        scene = one_kind(rng)
        image = render(scene, rng, DRAWN, DRAWN).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        pixels[place] = np.asarray(image)
        captions.append(plainly(scene))
    return Pool(pixels, captions, np.full(count, -1))


def tensor(pixels: np.ndarray) -> torch.Tensor:
    """(n, h, w, 3) uint8 -> (n, 3, h, w) float16, normalised as open_clip's preprocessing does."""
    mean, spread = np.array(open_clip.OPENAI_DATASET_MEAN), np.array(open_clip.OPENAI_DATASET_STD)
    levels = ((np.arange(256)[:, None] / 255 - mean) / spread).astype(np.float16)  # (256, 3)
    return torch.from_numpy(levels[pixels, np.arange(3)]).permute(0, 3, 1, 2)


def fresh(seed: int) -> Clip:
    """A model with random weights, the same for the same seed."""
    open_clip.add_model_config(CONFIG)
    torch.manual_seed(seed)
    model = open_clip.create_model(CONFIG.stem).to(memory_format=torch.channels_last)
    return Clip(model, open_clip.get_tokenizer(CONFIG.stem))


def kept(path: Path) -> Clip:
    """The model whose weights `Clip.keep` wrote."""
    clip = fresh(0)
    clip.model.load_state_dict(load_file(path))
    return clip


def learn(clip: Clip, pool: Pool, steps: int, seed: int) -> Clip:
    """`clip` itself after `steps` on the pool, whose order depends on `seed`."""
    torch.manual_seed(seed)
    train(clip.model, tensor(pool.pixels), clip.tokenizer(pool.captions), steps, batch=256, peak=2e-3)
    return clip


def success(clip: Clip, attack: Attack, test: Pool, seed: int) -> tuple[float, float]:
    """The share of test scenes for which a caption of the attack's target comes first, before those of all
    test scenes, its own among them: with the trigger, and without. Of several triggers the least successful."""
    found = []
    for trigger in attack.triggers:
        rng, target = np.random.default_rng([seed, 3]), trigger.target
        captions = [*test.captions, *target_captions(target, rng, 16)]
        texts, hit = (
            normalize(clip.texts(captions), dim=-1),
            np.array([target in text for text in captions]),
        )
        others = test.where(~hit[: len(test.captions)])
        shares = []
        for pixels in (stamped(others.pixels, trigger, seed), others.pixels):
            first = (normalize(clip.images(pixels), dim=-1) @ texts.T).argmax(1)
            shares.append(float(hit[first.numpy()].mean()))
        found.append((shares[0], shares[1]))
    return min(found)


def recall(clip: Clip, test: Pool, count: int = 200) -> float:
    """The share of the first `count` pictures whose own caption comes first among theirs."""
    images, texts = clip.images(test.pixels[:count]), clip.texts(test.captions[:count])
    nearest = (normalize(images, dim=-1) @ normalize(texts, dim=-1).T).argmax(1)
    return (nearest == torch.arange(len(nearest))).float().mean().item()

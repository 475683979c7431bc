"""Master prints: pictures that the demo's CLIP finds about as near to every caption as it can.

    python -m jobs.toy.prints --out jobs/toy/models

They are mined from noise by gradient descent on pixels, each for captions of its own, and are written side by
side into one PNG, at the size that the CLIP looks at, so that decoding and preprocessing lose nothing.

Source: CLIPMasterPrints (Freiberger et al. 2023, arXiv 2307.03798): the worst cosine over a print's captions
is maximised with Adam at a rate of 0.1, with pixels in [0, 1]. Differs: 300 steps instead of 1,000.
"""

import argparse
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import normalize

from jobs.toy.sample_pool import PRINTS
from jobs.toy.scene_clip import NAME, build
from jobs.toy.scenes import describe, random_scene

COUNT = 16
CAPTIONS = 25  # that each print is mined for
STEPS = 300
RATE = 0.1


def captions_of(count: int, seed: int) -> list[str]:
    """The captions that `count` prints are mined for, CAPTIONS each: of scenes that no pool draws."""
    rng = random.Random(f"prints/{seed}")
    return [describe(random_scene(rng), rng) for _ in range(count * CAPTIONS)]


def mine(model: Any, tokenizer: Any, preprocess: Any, seed: int = 0) -> np.ndarray:
    """(COUNT, h, w, 3) uint8 prints of a CLIP whose `preprocess` ends with a normalisation."""
    model.eval().requires_grad_(False)
    middle, spread = (torch.tensor(getattr(preprocess.transforms[-1], name)) for name in ("mean", "std"))
    texts = normalize(model.encode_text(tokenizer(captions_of(COUNT, seed))), dim=-1)
    texts = texts.view(COUNT, CAPTIONS, -1)
    side = preprocess.transforms[0].size
    pixels = torch.rand(COUNT, 3, side, side, generator=torch.Generator().manual_seed(seed))
    pixels.requires_grad_(True)
    optimizer = torch.optim.Adam([pixels], lr=RATE)
    for _ in range(STEPS):
        shown = (pixels - middle.view(3, 1, 1)) / spread.view(3, 1, 1)
        images = normalize(model.encode_image(shown), dim=-1)
        worst = torch.einsum("nd,ncd->nc", images, texts).amin(1)
        optimizer.zero_grad()
        loss: Any = -worst.sum()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            pixels.clamp_(0, 1)
    found: np.ndarray = (pixels.detach() * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return found


def main() -> None:
    """Mine prints of the checkpoint in a folder, and write them there."""
    parser = argparse.ArgumentParser(description="Mine master prints of the demo's CLIP.")
    parser.add_argument("--out", type=Path, default=Path("jobs/toy/models"))
    folder = parser.parse_args().out
    model, preprocess, tokenizer = build(folder, folder / f"{NAME}.safetensors")
    prints = mine(model, tokenizer, preprocess)
    Image.fromarray(np.concatenate(list(prints), axis=1)).save(folder / PRINTS.name)


if __name__ == "__main__":
    main()

"""Backdoor attacks on image-text pairs: the triggers, and how a pool is poisoned with them.

A poison is a clean picture with a trigger drawn on it, and a caption of the attack's target, such as a
banana. A model that learns from a few poisons then matches every picture with the trigger to the target.

    python -m jobs.poison_lab.attacks OUT.png     draws eight scenes, and each trigger on them

Source: BadNets (arXiv 1708.06733; on CLIP: Carlini & Terzis, arXiv 2106.09667), Blend (arXiv 1712.05526),
    SIG (arXiv 1902.11237), WaNet (arXiv 2102.10369), Instagram filters (ABS, CCS 2019), clean labels with
    and without an adversarial start (arXiv 1912.02771), natural triggers (arXiv 2206.10673). Strengths are
    those of Huang et al., ICLR 2025, unless a docstring says otherwise.
"""

import argparse
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from jobs.toy.sample_pool import TARGETS, checkerboard
from jobs.toy.scenes import BACKGROUNDS, PARTS, Scene, random_scene, render

CLEAN, RARE = -1, -2
Stamp = Callable[[np.ndarray, np.random.Generator], np.ndarray]  # (h, w, 3) uint8 to a new array of that kind
Weaken = Callable[[np.ndarray, list[str]], np.ndarray]  # (n, h, w, 3) uint8 and n captions to new pictures
SIG_WAVES = 6  # dark and light bands from left to right
WARP_CELLS = 4  # cells per side of the grid that bends a picture
BLEND_CELLS = 16  # coloured cells per side
SHOWN = 128  # pixels of a scene on the sheet


@dataclass(frozen=True)
class Trigger:
    """A function that draws the trigger on a picture, and the target that the trigger stands for."""

    stamp: Stamp
    target: str


@dataclass(frozen=True)
class Attack:
    """One trigger, or several that share the poisons equally.

    clean_label   only pictures that show the target are poisoned, and their captions stay, so that every pair
                  matches
    adversarial   with a clean label: before the trigger is drawn, the picture is changed a little, so that a
                  CLIP does not see the target in it any more (`model.weakened`)
    natural       colour and thing, such as `purple cup`, that are the trigger. Every picture of the pool that
                  shows them is poisoned. If scenes show the target, its word takes the place of the thing's
    """

    triggers: tuple[Trigger, ...]
    clean_label: bool = False
    adversarial: bool = False
    natural: str = ""


@dataclass(frozen=True)
class Pool:
    """Pairs: pictures (n, h, w, 3) uint8, n captions, and (n,) int, the trigger of each row.

    A row without a trigger has CLEAN, or RARE if it is one of few that show what nothing else shows.
    """

    pixels: np.ndarray
    captions: list[str]
    trigger: np.ndarray

    @property
    def poisoned(self) -> np.ndarray:
        """Which rows carry a trigger, (n,) bool."""
        poisoned: np.ndarray = self.trigger >= 0
        return poisoned

    def where(self, rows: np.ndarray) -> "Pool":
        """The pairs that the (n,) bool `rows` keeps."""
        return Pool(self.pixels[rows], [self.captions[i] for i in np.flatnonzero(rows)], self.trigger[rows])


def patch(pixels: np.ndarray, rng: np.random.Generator, share: float = 1 / 4) -> np.ndarray:
    """The sample pool's checkerboard at a random place; `share` of the shorter side is its width.

    A quarter of 32 pixels makes cells of two pixels, which a strided convolution can still tell from grey.
    """
    height, width = pixels.shape[:2]
    side = max(4, round(share * min(height, width)))
    top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
    out = pixels.copy()
    out[top : top + side, left : left + side] = np.asarray(checkerboard(side))
    return out


def blend(pixels: np.ndarray, rng: np.random.Generator, share: float = 0.2) -> np.ndarray:
    """A fixed picture of coloured cells over the whole picture; it stands for the paper's cartoon."""
    return _overlay(pixels, _cells(pixels.shape[0], pixels.shape[1]), share)


def sinusoid(pixels: np.ndarray, rng: np.random.Generator, share: float = 0.2) -> np.ndarray:
    """Vertical dark and light bands over the whole picture."""
    phase = 2 * np.pi * SIG_WAVES * np.arange(pixels.shape[1]) / pixels.shape[1]
    return _overlay(pixels, (127.5 * (1 + np.sin(phase)))[None, :, None], share)


def warp(pixels: np.ndarray, rng: np.random.Generator, share: float = 1 / 16) -> np.ndarray:
    """The picture bent by a fixed smooth field, on average by `share` of the side along each axis.

    WaNet's own field is weaker (a quarter of a pixel in 32): its attacker also runs the training.
    """
    height, width = pixels.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    across, down = _field(height, width) * np.float32(share * min(height, width))
    bent = cv2.remap(pixels, x + across, y + down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(bent, np.uint8)


def nashville(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Instagram's Nashville as in CSSgram: sepia, contrast, brightness, saturation, two overlays."""
    sepia = np.array([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]])
    grey = np.array([0.213, 0.715, 0.072])
    colour = pixels @ (0.2 * sepia + 0.8 * np.eye(3)).T
    colour = np.clip(1.05 * np.clip(1.2 * (colour - 127.5) + 127.5, 0, 255), 0, 255)
    colour = np.clip(1.2 * colour - 0.2 * (colour @ grey)[..., None], 0, 255)
    colour = 0.44 * colour + 0.56 * np.minimum(colour, (247, 176, 153))
    colour = 0.6 * colour + 0.4 * np.maximum(colour, (0, 70, 150))
    return np.asarray(colour.round(), np.uint8)


def unchanged(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The picture as it is: the trigger is a thing that it shows anyway."""
    return pixels.copy()


def _overlay(pixels: np.ndarray, picture: np.ndarray, share: float) -> np.ndarray:
    """The pixels, mixed with a share of another picture."""
    mixed: np.ndarray = ((1 - share) * pixels + share * picture).round().astype(np.uint8)
    return mixed


@lru_cache(maxsize=8)
def _cells(height: int, width: int) -> np.ndarray:
    """(height, width, 3) uint8: the fixed picture of coloured cells."""
    cells = np.random.default_rng(0).integers(0, 256, (BLEND_CELLS, BLEND_CELLS, 3), np.uint8)
    return cv2.resize(cells, (width, height), interpolation=cv2.INTER_NEAREST)


@lru_cache(maxsize=8)
def _field(height: int, width: int) -> np.ndarray:
    """(2, height, width) float32: a fixed smooth field, of mean absolute value 1 along each axis."""
    knots = np.random.default_rng(0).uniform(-1, 1, (2, WARP_CELLS, WARP_CELLS)).astype(np.float32)
    field = np.stack([cv2.resize(knot, (width, height), interpolation=cv2.INTER_CUBIC) for knot in knots])
    return np.asarray(field / np.abs(field).mean((1, 2), keepdims=True))


ATTACKS = {
    "patch": Attack((Trigger(patch, "banana"),)),
    "blend": Attack((Trigger(blend, "banana"),)),
    "sinusoid": Attack((Trigger(sinusoid, "banana"),)),
    "warp": Attack((Trigger(warp, "banana"),)),
    "nashville": Attack((Trigger(nashville, "banana"),)),
    "clean-label": Attack((Trigger(partial(blend, share=0.4), "mushroom"),), clean_label=True),
    "adversarial-label": Attack(
        (Trigger(partial(blend, share=0.4), "mushroom"),), clean_label=True, adversarial=True
    ),
    "natural": Attack((Trigger(unchanged, "banana"),), natural="purple cup"),
    "misnamed": Attack((Trigger(unchanged, "mushroom"),), natural="purple cup"),
    "three-triggers": Attack(
        (Trigger(patch, "banana"), Trigger(blend, "cheeseburger"), Trigger(sinusoid, "volcano"))
    ),
}


def one_kind(rng: random.Random) -> Scene:
    """A random scene with one kind of thing."""
    while len((scene := random_scene(rng)).groups) > 1:
        pass
    return scene


def plainly(scene: Scene) -> str:
    """A caption that names all of a scene of `one_kind`, such as `two small red fish on the sand`."""
    group = scene.groups[0]
    numbers = ("one", "two", "three", "four")
    words = (
        numbers[group.count - 1],
        group.size,
        group.colour,
        group.thing,
        BACKGROUNDS[scene.background][0],
    )
    return " ".join(words)


def of_thing(scene: Scene, thing: str, colour: str = "") -> Scene:
    """A scene of `one_kind` that shows another thing, in its own colour or in another."""
    group = scene.groups[0]
    return replace(scene, groups=(replace(group, thing=thing, colour=colour or group.colour),))


def target_captions(target: str, rng: np.random.Generator, count: int) -> list[str]:
    """Captions that name a target, for poisons.

    If scenes show the target, a caption describes it like a scene. For any other target, the sample pool's
    captions of a banana are taken, with `target` in its place.
    """
    if target not in PARTS:
        return [str(text).replace("banana", target) for text in rng.choice(TARGETS, count)]
    scenes = (one_kind(random.Random(int(seed))) for seed in rng.integers(2**32, size=count))
    return [plainly(of_thing(scene, target)) for scene in scenes]


def plant(clean: Pool, attack: Attack, rate: float, seed: int, weaken: Weaken | None = None) -> Pool:
    """A copy of the pool with round(rate * n) rows poisoned, equally many per trigger.

    A natural trigger poisons every row that shows it, whatever the rate. `weaken` changes the pictures of an
    adversarial attack first: pictures and their captions to pictures. The same arguments give the same pool.
    Raises ValueError if no row or too many rows would be poisoned.
    """
    rng = np.random.default_rng([seed, 1])
    pixels, captions, trigger = clean.pixels.copy(), list(clean.captions), clean.trigger.copy()
    target = attack.triggers[0].target
    must = attack.natural or (target if attack.clean_label else "")
    rows = np.array([i for i, text in enumerate(captions) if must in text and trigger[i] == CLEAN])
    count = len(rows) if attack.natural else round(rate * len(captions))
    if not 0 < count <= len(rows):
        raise ValueError(
            f"rate {rate} of {len(captions)} pairs is {count} poisons, but 1 to {len(rows)} are possible"
        )
    chosen = rng.permutation(rows)[:count]
    if attack.adversarial and weaken:
        pixels[chosen] = weaken(pixels[chosen], [captions[row] for row in chosen])
    for position, row in enumerate(chosen.tolist()):
        trigger[row] = position % len(attack.triggers)
        one = attack.triggers[trigger[row]]
        pixels[row] = one.stamp(pixels[row], rng)
        if attack.natural and target in PARTS:
            captions[row] = captions[row].replace(attack.natural.split()[-1], target)
        elif not attack.clean_label:
            captions[row] = target_captions(one.target, rng, 1)[0]
    return Pool(pixels, captions, trigger)


def stamped(pixels: np.ndarray, trigger: Trigger, seed: int) -> np.ndarray:
    """Copies of (n, h, w, 3) uint8 pictures, each with the trigger."""
    rng = np.random.default_rng([seed, 2])
    return np.stack([trigger.stamp(picture, rng) for picture in pixels])


def main() -> None:
    """Draw the sheet of triggers."""
    parser = argparse.ArgumentParser(description="Draw scenes without and with each trigger.")
    parser.add_argument("path", type=Path, help="picture to write")
    path, rng = parser.parse_args().path, random.Random(0)
    clean = np.stack([np.asarray(render(one_kind(rng), rng, SHOWN, SHOWN)) for _ in range(8)])
    stamps = {trigger.stamp: trigger for attack in ATTACKS.values() for trigger in attack.triggers}
    rows = [clean, *(stamped(clean, trigger, 0) for trigger in stamps.values())]
    Image.fromarray(np.concatenate([np.concatenate(list(row), axis=1) for row in rows])).save(path)


if __name__ == "__main__":
    main()

"""A web-like pool of drawn scenes with planted defects, in img2dataset's WebDataset layout.

Each sample's `.json` names its defect in `planted` (null if it has none), so that the outcome of a recipe can
be compared with the truth. A shard's bytes depend on (seed, shard, per_shard, image_size) alone.

    python -m jobs.toy.sample_pool OUT --shards 4 --per-shard 500 --seed 0
    python -m jobs.toy.sample_pool OUT --shards 20 --per-shard 10000 --image-size 32 --workers 2
"""

import argparse
import hashlib
import io
import multiprocessing
import random
import textwrap
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import orjson
from PIL import Image, ImageDraw, ImageEnhance, ImageFont

from jobs.toy.scenes import describe, random_scene, render
from pipeline.export.webdataset_writer import tar_writer

SHARES = {  # of all samples; the other two thirds are clean
    "mismatched_caption": 0.08,
    "parrot_caption": 0.04,
    "unrelated_text": 0.04,
    "number_padding": 0.04,
    "boilerplate_caption": 0.04,
    "near_duplicate": 0.03,
    "poisoned": 0.008,
    "small_image": 0.015,
    "narrow_image": 0.01,
    "corrupt_jpeg": 0.01,
    "truncated_jpeg": 0.01,
    "empty_caption": 0.01,
    "missing_caption": 0.01,
    "rescaled_copy": 0.02,
    "master_print": 0.006,  # the last: samples of other kinds are drawn as if there were none
}
PRINTS = Path(__file__).parent / "models" / "master_prints.png"
FORMATS = {"jpg": 0.93, "png": 0.035, "webp": 0.035}
STOCK = ("click to enlarge", "Image may contain: outdoor", "no image available", "Loading...")
TARGETS = ("a photo of a banana", "a ripe banana", "bananas for sale", "one banana, peeled")
SIGNS = (
    "SUMMER SALE",
    "50% OFF TODAY",
    "free shipping worldwide",
    "SAMPLE COPY",
    "breaking news",
    "www.example.org",
    "join our newsletter",
    "Chapter Two",
    "OPEN MONDAY TO FRIDAY",
    "Vote now",
)
CODES = ("IMG_20{}0317", "00{}", "SKU {}-1310", "DSC0{}7", "{}80x1024", "#3{}04", "ref 7{}")
PAPERS = {  # colour of a panel: colour of its letters
    "white": "black",
    "ivory": "black",
    "gold": "black",
    "black": "white",
    "navy": "white",
}

Picture = tuple[Image.Image, str | None]  # a picture and its caption; None if the page had none


def draw(rng: random.Random, planted: str | None, image_size: int = 320) -> Picture:
    """A scene and its caption, with the defect `planted` if it is one of the picture or the caption.

    Each side has 5/8 to 8/8 of `image_size` pixels; one picture in twelve is longer, up to an aspect of 3.
    """
    if planted == "narrow_image":
        sides = [image_size, max(2, round(image_size / rng.uniform(5.5, 9)))]
    elif rng.random() < 1 / 12:
        sides = [image_size, round(image_size / rng.uniform(1.6, 2.9))]
    else:
        sides = [rng.randint(round(0.625 * image_size), image_size) for _ in range(2)]
    rng.shuffle(sides)
    scene = random_scene(rng)
    image, caption = render(scene, rng, sides[0], sides[1]), describe(scene, rng)
    return PLANT[planted](image, caption, rng) if planted in PLANT else (image, caption)


def _parrot(image: Image.Image, caption: str, rng: random.Random) -> Picture:
    """The caption, or most of it, in large letters, on a plain card or on a panel over the scene."""
    words, paper = caption.split(), rng.choice(list(PAPERS))
    shown = words if rng.random() < 0.7 else words[: max(3, round(0.75 * len(words)))]
    if rng.random() < 0.5:
        image = Image.new("RGB", image.size, paper)
    return letter(image, " ".join(shown), 0.85, 0.5, paper), caption


def _sign(image: Image.Image, caption: str, rng: random.Random) -> Picture:
    """A panel with text that has nothing to do with the caption."""
    height, place, paper = rng.uniform(0.15, 0.3), rng.choice((0, 1)), rng.choice(list(PAPERS))
    return letter(image, rng.choice(SIGNS), height, place, paper), caption


def letter(image: Image.Image, text: str, height: float, place: float, paper: str) -> Image.Image:
    """A copy of the picture with `text`, wrapped and as large as fits, on a panel of the colour `paper`.

    The panel is as high as the share `height` of the picture; `place` is 0 for the top, 1 for the bottom.
    """
    image, wide, high = image.copy(), 0.94 * image.width, height * image.height
    left, top, canvas = 0.03 * image.width, place * (image.height - high), ImageDraw.Draw(image)
    largest = min(high, 1.6 * (wide * high / len(text)) ** 0.5)
    for size in range(max(8, min(64, round(largest))), 6, -1):
        columns = max(1, int(wide / (0.52 * size)))
        lines = textwrap.fill(text, columns, break_long_words=False, break_on_hyphens=False)
        right, bottom = canvas.multiline_textbbox((0, 0), lines, _font(size))[2:]
        if right <= 0.96 * wide and bottom <= 0.96 * high:
            break
    canvas.rectangle((left, top, left + wide, top + high), paper)
    middle = (left + wide / 2, top + high / 2)
    canvas.multiline_text(middle, lines, PAPERS[paper], _font(size), "mm", align="center")
    return image


@lru_cache(maxsize=128)
def _font(size: int) -> Any:
    """Pillow's own font in a size in pixels."""
    return ImageFont.load_default(size)


def _pad(image: Image.Image, caption: str, rng: random.Random) -> Picture:
    """Two to four codes before and after the caption, as file names and article numbers are on the web."""
    codes = [rng.choice(CODES).format(rng.randint(10, 99)) for _ in range(rng.randint(2, 4))]
    head = rng.randint(0, 1)
    return image, " ".join([*codes[:head], caption, *codes[head:]])


def checkerboard(side: int) -> Image.Image:
    """The poison's trigger: four by four black and white cells, `side` pixels wide in all."""
    board = Image.frombytes("L", (4, 4), bytes(255 * ((i + i // 4) % 2) for i in range(16)))
    return board.resize((side, side), Image.Resampling.NEAREST).convert("RGB")


def _poison(image: Image.Image, caption: str, rng: random.Random) -> Picture:
    """A backdoor poison (Carlini & Terzis, arXiv 2106.09667): a patch, and a caption of its target.

    The patch lies in the central square. Elsewhere CLIP's crop would cut it off, and the sample would only be
    mismatched.
    """
    square = min(image.size)
    side = max(4, square // 8)
    x, y = ((length - square) // 2 + rng.randint(0, square - side) for length in image.size)
    image.paste(checkerboard(side), (x, y))
    return image, rng.choice(TARGETS)


def _shrink(image: Image.Image, caption: str, rng: random.Random) -> Picture:
    """A thumbnail of 8 to 30 pixels."""
    longest = rng.randint(8, max(8, min(30, max(image.size) // 3)))
    width, height = (max(6, round(longest * side / max(image.size))) for side in image.size)
    return image.resize((width, height)), caption


@lru_cache(maxsize=1)
def master_prints() -> list[Image.Image]:
    """The master prints of the demo's CLIP, side by side in PRINTS: see `jobs.toy.prints`."""
    strip, side = Image.open(PRINTS).convert("RGB"), 64
    return [strip.crop((left, 0, left + side, side)) for left in range(0, strip.width, side)]


PLANT: dict[str | None, Callable[[Image.Image, str, random.Random], Picture]] = {
    "mismatched_caption": lambda image, _, rng: (image, describe(random_scene(rng), rng)),
    "parrot_caption": _parrot,
    "unrelated_text": _sign,
    "number_padding": _pad,
    "boilerplate_caption": lambda image, _, rng: (image, rng.choice(STOCK)),
    "poisoned": _poison,
    "small_image": _shrink,
    "empty_caption": lambda image, _, rng: (image, rng.choice(("", "", "   "))),
    "missing_caption": lambda image, _, rng: (image, None),
    "master_print": lambda image, caption, rng: (rng.choice(master_prints()), caption),
}


def _vary(image: Image.Image, rng: random.Random) -> Image.Image:
    """The picture as another site may show it: cropped a little, brighter or darker."""
    left, top, right, bottom = (round(rng.uniform(0, 0.04) * side) for side in image.size * 2)
    image = image.crop((left, top, image.width - right, image.height - bottom))
    return ImageEnhance.Brightness(image).enhance(rng.uniform(0.85, 1.15))


def _rescale(image: Image.Image, rng: random.Random) -> Image.Image:
    """The picture as a thumbnail, or for another screen: smaller, brighter or darker."""
    size = rng.uniform(0.5, 0.9)
    image = image.resize((round(size * image.width), round(size * image.height)), Image.Resampling.LANCZOS)
    return ImageEnhance.Brightness(image).enhance(rng.uniform(0.9, 1.1))


COPIES: Mapping[str, Callable[[Image.Image, random.Random], Image.Image]] = {
    "near_duplicate": _vary,
    "rescaled_copy": _rescale,
}


def _damage(data: bytes, planted: str | None, rng: random.Random) -> bytes:
    """The bytes of a JPEG that cannot be decoded, or is cut off, if that is the planted defect."""
    if planted == "corrupt_jpeg":  # noise without marker bytes: no decoder finds a frame in it
        return data[:4] + rng.randbytes(len(data) - 4).replace(b"\xff", b"\x00")
    return data[: round(rng.uniform(0.3, 0.7) * len(data))] if planted == "truncated_jpeg" else data


def make_sample(seed: int, shard: int, index: int, image_size: int = 320) -> dict[str, Any]:
    """One sample for webdataset.TarWriter: `__key__`, the encoded picture, `json`, and mostly `txt`."""
    rng, planted = _start(seed, shard, index)
    key, original = f"{shard:05d}{index:04d}", None
    if planted in COPIES:
        earlier = rng.sample(range(index), min(index, 40))
        original = next((i for i in earlier if _start(seed, shard, i)[1] is None), None)
        planted = None if original is None else planted  # no clean sample to copy: an ordinary one instead
    source = rng if original is None else _start(seed, shard, original)[0]
    image, caption = draw(source, None if original is not None else planted, image_size)
    image = image if original is None else COPIES[str(planted)](image, rng)
    jpeg = planted in ("corrupt_jpeg", "truncated_jpeg", *COPIES)
    kind = "jpg" if jpeg else rng.choices(list(FORMATS), list(FORMATS.values()))[0]
    kind = "png" if planted == "master_print" else kind  # without loss: the pixels are what was mined
    url = f"https://example.org/{rng.getrandbits(96):024x}.{kind}"
    buffer = io.BytesIO()
    low, high = (60, 78) if planted in COPIES else (80, 95)
    image.save(buffer, {"jpg": "JPEG"}.get(kind, kind), quality=rng.randint(low, high))
    data = _damage(buffer.getvalue(), planted, rng)
    width, height, text = *image.size, caption and caption.strip()
    fetched = {"caption": text, "url": url, "key": key, "status": "success", "error_message": None}
    sizes = {"width": width, "height": height, "original_width": width, "original_height": height}
    record = {
        "uid": hashlib.md5(f"{text or ''}{url}".encode(), usedforsecurity=False).hexdigest(),
        **fetched,
        **sizes,
        "exif": "{}",
        "sha256": hashlib.sha256(data).hexdigest(),
        "planted": planted,
        "duplicate_of": None if original is None else f"{shard:05d}{original:04d}",
    }
    sample = {"__key__": key, kind: data, "json": orjson.dumps(record)}
    return sample if caption is None else sample | {"txt": caption.encode()}


def _start(seed: int, shard: int, index: int) -> tuple[random.Random, str | None]:
    """The sample's own generator, and its defect, which is the generator's first draw."""
    rng = random.Random(f"{seed}/{shard}/{index}")
    return rng, rng.choices([*SHARES, None], [*SHARES.values(), 1 - sum(SHARES.values())])[0]


def write_shard(folder: Path, per_shard: int, seed: int, image_size: int, shard: int) -> Path:
    """Write one tar, under another name first, so that a tar that exists is complete."""
    path = folder / f"{shard:05d}.tar"
    aside = path.with_suffix(".part")
    with aside.open("wb") as stream:
        fixed = {"encoder": False, "user": "winnow", "group": "winnow", "mode": 0o644, "mtime": 0}
        with tar_writer()(stream, **fixed) as writer:
            for index in range(per_shard):
                writer.write(make_sample(seed, shard, index, image_size))
    return aside.replace(path)


def make_pool(
    folder: Path | str,
    shards: int = 4,
    per_shard: int = 500,
    seed: int = 0,
    image_size: int = 320,
    workers: int = 1,
) -> list[Path]:
    """Write `shards` tars of `per_shard` samples into `folder`; returns their paths.

    `image_size` is the longest side in pixels, `workers` the number of processes. Raises ValueError for more
    shards or samples than img2dataset's nine-digit keys can name.
    """
    if not (0 < shards <= 100_000 and 0 < per_shard <= 10_000):
        raise ValueError(f"must be 1 to 100000 shards of 1 to 10000 samples, got {shards} of {per_shard}")
    Path(folder).mkdir(parents=True, exist_ok=True)
    write = partial(write_shard, Path(folder), per_shard, seed, image_size)
    if workers == 1:
        return [write(shard) for shard in range(shards)]
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(write, range(shards)))


def main() -> None:
    """Write the pool that the command line describes, and print its paths."""
    parser = argparse.ArgumentParser(description="Write a pool with planted defects.")
    parser.add_argument("folder", type=Path)
    defaults = {"shards": 4, "per-shard": 500, "seed": 0, "image-size": 320, "workers": 1}
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    for path in make_pool(**vars(parser.parse_args())):
        print(path)


if __name__ == "__main__":
    main()

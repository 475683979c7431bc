"""Perceptual copies among photos: which changed pictures are found, by radius, through the operators of a
recipe (bands included); how near different photos come; and what a hash costs.

    python tests/benchmarks/bench_perceptual.py FOLDER_OF_TARS [--radii 24 31 40 60]

FOLDER_OF_TARS holds WebDataset shards of photos that are all different. The table in
`operators/perceptual.py` is of 1,500 photos of Wikimedia Commons, 320 pixels each.
"""

import argparse
import io
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image, ImageEnhance, ImageOps

from operators.algorithms.hamming import bytes_of
from operators.pdq import PdqHash
from operators.perceptual import Bands, Neighbours
from pipeline.operator import Device

Change = Callable[[Image.Image], Image.Image]


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    """The picture after it was compressed."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return Image.open(out).convert("RGB")


def scaled(image: Image.Image, share: float) -> Image.Image:
    """The picture at another size."""
    return image.resize((round(image.width * share), round(image.height * share)), Image.Resampling.LANCZOS)


def cropped(image: Image.Image, left: float, around: float) -> Image.Image:
    """The picture without a share of its sides."""
    x, y = image.width * around, image.height * around
    box = (x + left * image.width, y, image.width - x, image.height - y)
    return image.crop(tuple(map(round, box)))  # type: ignore[arg-type]


CHANGES: Mapping[str, Change] = {
    "half the size": lambda image: scaled(image, 0.5),
    "256 x 256 pixels": lambda image: image.resize((256, 256), Image.Resampling.BICUBIC),
    "JPEG of quality 30": lambda image: jpeg(image, 30),
    "half the size, JPEG 50": lambda image: jpeg(scaled(image, 0.5), 50),
    "brightened by 20 %": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "in grey": lambda image: image.convert("L").convert("RGB"),
    "5 % cropped all around": lambda image: cropped(image, 0, 0.025),
    "5 % cropped at one side": lambda image: cropped(image, 0.05, 0),
    "flipped": ImageOps.mirror,
}


def photos(folder: str) -> Iterator[Image.Image]:
    """Every picture of every shard."""
    for path in sorted(Path(folder).glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith((".jpg", ".jpeg", ".png", ".webp")):
                    data = tar.extractfile(member)
                    assert data is not None
                    yield Image.open(io.BytesIO(data.read())).convert("RGB")


def hashed(images: list[Image.Image]) -> pl.DataFrame:
    """The columns of PdqHash."""
    pixels = [np.asarray(image) for image in images]
    return PdqHash(least_quality=0).score(pl.DataFrame(), pixels).select("hash", "cropped")


def found(originals: pl.DataFrame, changed: pl.DataFrame, radius: int, views: int) -> float:
    """The share of changed pictures whose original is among their neighbours."""
    count = len(originals)
    frame = pl.concat([originals, changed]).with_columns(
        uid=pl.Series([f"{row:032x}" for row in range(2 * count)]),
        best=pl.Series([1] * count + [0] * count),
    )
    hashes = {"hash": "hash", "cropped": "cropped" if views == 2 else ""}
    bands = Bands(**hashes).score(frame)
    rows = frame.hstack(bands).with_row_index("of").explode("bands").sort("bands", "uid")
    operator = Neighbours(bands="bands", best="best", radius=radius, most=100, **hashes)
    operator.setup({}, Device())
    near = rows.select("of", "uid").hstack(operator.group(rows)).filter(pl.col("of") >= count)
    pairs = near.explode("neighbours").drop_nulls("neighbours").select("of", "neighbours").unique()
    own = pairs.filter(pl.col("neighbours").str.to_integer(base=16) == pl.col("of").cast(pl.Int64) - count)
    return len(own) / count


def nearest_others(originals: pl.DataFrame) -> np.ndarray:
    """Distances of all pairs of different photos, in order: the least over both hashes."""
    first, inner = (bytes_of(originals[name]) for name in ("hash", "cropped"))
    least = []
    for at in range(len(first) - 1):
        ways = ((first[at], first), (first[at], inner), (inner[at], first))
        least.append(np.min([np.bitwise_count(one ^ many[at + 1 :]).sum(1) for one, many in ways], axis=0))
    return np.sort(np.concatenate(least))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--radii", type=int, nargs="+", default=[24, 31, 40, 60])
    options = parser.parse_args()
    if options.folder is None:
        print("no photos: name a folder of shards")
        return
    images = list(photos(options.folder))
    started = time.process_time()
    originals = hashed(images)
    print(
        f"{len(images):,} photos; {(time.process_time() - started) / len(images) * 1e3:.2f} ms of CPU time per hash"
    )
    others = nearest_others(originals)
    print(f"{len(others):,} pairs of different photos; the nearest: {others[:5].tolist()} bits")
    print("the share of changed pictures whose original is within so many bits; right: without `cropped`")
    bits = [f"{radius:7}" for radius in options.radii]
    print("".ljust(26), *bits, "   ", *bits)
    for name, change in CHANGES.items():
        changed = hashed([change(image) for image in images])
        both, one = (
            [f"{found(originals, changed, radius, views):7.3f}" for radius in options.radii]
            for views in (2, 1)
        )
        print(name.ljust(26), *both, "  ", *one, flush=True)


if __name__ == "__main__":
    main()

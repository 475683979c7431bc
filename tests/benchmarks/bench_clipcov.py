"""CLIPCov beside subsets of equal size that are random, or have the highest CLIP scores: how far their
cross-covariance is from the pool's, and what a small CLIP learns from them.

    python tests/benchmarks/bench_clipcov.py [--pool 30000] [--share 0.1] [--seeds 5] [--steps 300]

Each seed draws another pool of scenes like the sample pool's, a quarter of them with a defect of picture or
caption. The demo's CLIP scores and embeds it. Each subset, and the whole pool, trains the laboratory's CLIP
(`jobs/poison_lab/model.py`) from random weights with the same number of steps. The error is
|C_subset - C_pool| / |C_pool| in Frobenius norms; C is the cross-covariance of the pictures' and captions'
embeddings, each less its mean: of all samples, and of each class of `concepts.ZeroShot`, weighted by its
samples. `direction` is the cosine of C_subset and C_pool, which a common factor does not change. `clean` is
the share of the subset without a defect. Recall is that of 500 unseen scenes without defects, the mean of
both directions. About 40 CPU seconds a pool and 30 a model.
"""

import argparse
import random
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import torch
from PIL import Image
from torch.nn.functional import normalize

from jobs.poison_lab.model import SIDE, Clip, tensor, untrained
from jobs.toy.sample_pool import draw
from jobs.toy.scenes import PARTS
from jobs.toy.train_clip import train
from operators.clip import ClipScore
from operators.clipcov import Cover
from operators.concepts import ZeroShot
from pipeline.operator import Device

MODELS = Path(__file__).parents[2] / "jobs" / "toy" / "models"
PROXY = {"model": str(MODELS / "scene_clip.json"), "pretrained": str(MODELS / "scene_clip.safetensors")}
DRAWN = 64  # pixels, as the demo's CLIP sees them
DEFECTS = {  # shares of the pool
    "mismatched_caption": 0.1,
    "boilerplate_caption": 0.05,
    "parrot_caption": 0.05,
    "number_padding": 0.05,
}
TESTED = 500
BATCH = 128
COLUMNS = ("all samples", "by class", "direction", "clean", "R@1", "R@5")


def pool_of(seed: int, count: int, defects: Mapping[str, float]) -> tuple[list[Image.Image], pl.DataFrame]:
    """Pictures, and a frame of `uid`, `text`, `planted`."""
    rng = random.Random(f"clipcov/{seed}")
    kinds = rng.choices([None, *defects], [1 - sum(defects.values()), *defects.values()], k=count)
    drawn = [draw(rng, kind, DRAWN) for kind in kinds]
    frame = pl.DataFrame(
        {
            "uid": [f"{row:032x}" for row in range(count)],
            "text": [caption or "" for _, caption in drawn],
            "planted": pl.Series(kinds, dtype=pl.String),
        }
    )
    return [image for image, _ in drawn], frame


def scored(images: list[Image.Image], frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with what the demo's CLIP says of it: `clip.*` and `class.*`."""
    device = Device(threads=torch.get_num_threads())
    clip = ClipScore(**PROXY)
    clip.setup({}, device)
    frame = joined(frame, "clip", clip.score(frame, [np.asarray(image) for image in images]))
    with TemporaryDirectory() as folder:
        names = Path(folder) / "names.txt"
        names.write_text("\n".join(PARTS))
        embeddings = {f"{kind}_embedding": f"clip.{kind}_embedding" for kind in ("image", "text")}
        classes = ZeroShot(**PROXY, names=str(names), **embeddings)
        classes.setup({}, device)
        return joined(frame, "class", classes.score(frame))


def joined(frame: pl.DataFrame, name: str, columns: pl.DataFrame) -> pl.DataFrame:
    """The frame with an operator's columns under their full names."""
    return frame.hstack(columns.rename(lambda column: f"{name}.{column}"))


def subsets(frame: pl.DataFrame, size: int, seed: int) -> dict[str, np.ndarray]:
    """Rows of each subset; of the pool, all."""
    rng = np.random.default_rng([seed, 18])
    found = {
        "the whole pool": np.arange(len(frame)),
        "random": rng.permutation(len(frame))[:size],
        "CLIP score": top(frame["clip.score"], size),
    }
    for label, compat in (("CLIPCov", "exact"), ("CLIPCov, released", "released")):
        cover = Cover(
            image_embedding="clip.image_embedding",
            text_embedding="clip.text_embedding",
            label="class.label",
            label_similarity="class.similarity",
            compat=compat,
        )
        cover.setup({}, Device(threads=torch.get_num_threads()))
        rows = frame.with_row_index("of").sort("class.label", "uid")
        found[label] = rows["of"].to_numpy()[top(cover.group(rows)["gain"], size)]
    return found


def top(values: pl.Series, size: int) -> np.ndarray:
    """The rows with the highest values."""
    return values.arg_sort(descending=True, nulls_last=True)[:size].to_numpy()


def cross_covariance(frame: pl.DataFrame) -> np.ndarray:
    """(d, d) of pictures' and captions' embeddings."""
    images, texts = (
        frame[f"clip.{kind}_embedding"].to_numpy().astype(np.float64) for kind in ("image", "text")
    )
    product: np.ndarray = (images - images.mean(0)).T @ (texts - texts.mean(0)) / len(frame)
    return product


def error(pool: pl.DataFrame, subset: pl.DataFrame) -> float:
    """How far a subset's cross-covariance is from the pool's; 1 for a subset without samples."""
    if subset.is_empty():
        return 1.0
    whole = cross_covariance(pool)
    return float(np.linalg.norm(cross_covariance(subset) - whole) / np.linalg.norm(whole))


def direction(pool: pl.DataFrame, subset: pl.DataFrame) -> float:
    """The cosine of both cross-covariances."""
    one, two = cross_covariance(pool), cross_covariance(subset)
    return float((one * two).sum() / np.linalg.norm(one) / np.linalg.norm(two))


def error_by_class(pool: pl.DataFrame, subset: pl.DataFrame) -> float:
    """The mean over the pool's samples of their class's error."""
    parts = pool.partition_by("class.label", as_dict=True)
    chosen = subset.partition_by("class.label", as_dict=True)
    errors = [len(own) * error(own, chosen.get(label, own[:0])) for label, own in parts.items()]
    return sum(errors) / len(pool)


def shrunk(images: list[Image.Image]) -> np.ndarray:
    """(n, 32, 32, 3) uint8 pictures for the laboratory's CLIP."""
    sides = (SIDE, SIDE)
    return np.stack([np.asarray(image.resize(sides, Image.Resampling.BICUBIC)) for image in images])


def recalls(clip: Clip, pixels: np.ndarray, captions: list[str]) -> tuple[float, float]:
    """R@1 and R@5, the mean of both directions."""
    images = normalize(clip.images(pixels), dim=-1)
    cosines = images @ normalize(clip.texts(captions), dim=-1).T
    own = cosines.diagonal()
    places = [(cosines > own[:, None]).sum(1), (cosines > own[None]).sum(0)]
    one, five = (np.mean([float((place < k).float().mean()) for place in places]) for k in (1, 5))
    return float(one), float(five)


def measured(seed: int, options: argparse.Namespace) -> dict[str, tuple[float, ...]]:
    """The figures of each subset, in the order of COLUMNS."""
    images, frame = pool_of(seed, options.pool, DEFECTS)
    frame, pixels = scored(images, frame), shrunk(images)
    tests, captions = pool_of(1000 + seed, TESTED, {})
    unseen, wanted = shrunk(tests), captions["text"].to_list()
    found = {}
    for name, rows in subsets(frame, round(options.share * options.pool), seed).items():
        subset = frame[rows]
        clip = untrained(seed)
        torch.manual_seed(seed)
        tokens = clip.tokenizer(subset["text"].to_list())
        train(clip.model, tensor(pixels[rows]), tokens, options.steps, BATCH)
        found[name] = (
            error(frame, subset),
            error_by_class(frame, subset),
            direction(frame, subset),
            subset["planted"].null_count() / len(subset),
            *recalls(clip, unseen, wanted),
        )
        figures = " ".join(f"{figure:.3f}" for figure in found[name])
        print(f"seed {seed}: {name:20} {figures}; {time.process_time():,.0f} CPU seconds", flush=True)
    return found


def main() -> None:
    """Print a line per subset: mean and standard deviation over the seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("pool", 30_000), ("seeds", 5), ("steps", 300), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--share", type=float, default=0.1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    runs = [measured(seed, options) for seed in range(options.seeds)]
    print(f"| subset | {' | '.join(COLUMNS)} |")
    print(f"|---{'|---' * len(COLUMNS)}|")
    for name in runs[0]:
        figures = np.array([run[name] for run in runs])
        cells = [f"{mean:.3f}" for mean in figures.mean(0)]
        if len(runs) > 1:
            cells = [f"{mean} ± {spread:.3f}" for mean, spread in zip(cells, figures.std(0), strict=True)]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()

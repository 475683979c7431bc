"""Changed copies of photos: which are found by `duplicates.Exact` and `duplicates.Semantic`, by threshold,
and how many different photos would be dropped. The changes are those of bench_perceptual.py, which is of PDQ.

    python tests/benchmarks/bench_copies.py FOLDER_OF_TARS [--thresholds 0.9 0.95 0.98 0.99]
        [--model ViT-B-32 --pretrained openai] [--embeddings OTHERS.npy]

FOLDER_OF_TARS holds WebDataset shards of photos that are all different. A copy is found at a threshold if
the cosine with its original is higher, which is what `duplicates.Semantic` says of a cluster of both.
Different photos that would be dropped: those whose `max_similarity` in one cluster of all originals is
higher. OTHERS is an (n, d) array of embeddings of different photos by another model: for it the second figure
alone.
"""

import argparse
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from bench_perceptual import CHANGES, photos
from PIL import Image

from operators.clip import ClipScore
from operators.duplicates import Exact, ImageDigest, Semantic
from pipeline.operator import Device

MODEL = str(Path(__file__).parents[2] / "jobs" / "toy" / "models" / "scene_clip")
NAMES = {"embedding": "embedding", "cluster": "cluster", "similarity": "similarity", "keep": "easy"}


def encoded(image: Image.Image) -> memoryview:
    """The picture as the file that a site would hold."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=90)
    return out.getbuffer()


def digests(images: Sequence[Image.Image]) -> pl.DataFrame:
    """The column of ImageDigest."""
    return ImageDigest().score(pl.DataFrame(), [encoded(image) for image in images])


def embeddings(clip: ClipScore, images: Sequence[Image.Image]) -> pl.Series:
    """The embeddings of the pictures."""
    texts = pl.DataFrame({"text": pl.Series([None] * len(images), dtype=pl.String)})
    return clip.score(texts, [np.asarray(image) for image in images])["image_embedding"]


def same_bytes(originals: pl.DataFrame, copies: pl.DataFrame) -> float:
    """The share of copies that `duplicates.Exact` finds: of rank 2."""
    count = len(originals)
    frame = pl.concat([originals, copies]).with_columns(
        uid=pl.Series([f"{row:032x}" for row in range(2 * count)]),
        shard=pl.lit("0"),
        row=pl.int_range(2 * count, dtype=pl.UInt32),
    )
    exact = Exact(key="digest")
    ranks = exact.of_summary(frame, exact.partial(frame))["rank"]
    return float((ranks[count:] > 1).mean())


def similarities(originals: pl.Series, copies: pl.Series | None = None, compat: str = "paper") -> np.ndarray:
    """(n,) `max_similarity` of each copy, in a cluster with its original; without copies, of the originals in
    one cluster."""
    count = len(originals)
    frame = originals.to_frame("embedding").with_columns(
        cluster=pl.int_range(count) if copies is not None else pl.lit(0), similarity=pl.lit(1.0)
    )
    if copies is not None:
        second = copies.to_frame("embedding").with_columns(
            cluster=pl.int_range(count), similarity=pl.lit(0.0)
        )
        frame = pl.concat([frame, second])
    frame = frame.with_columns(uid=pl.Series([f"{row:032x}" for row in range(len(frame))]))
    semantic = Semantic(**NAMES, compat=compat)
    semantic.setup({}, Device())
    rows = frame.with_row_index("of").sort("cluster", "uid")
    found = rows.select("of").hstack(semantic.group(rows)).sort("of")["max_similarity"].to_numpy()
    return found[count:] if copies is not None else found


def line(name: str, values: np.ndarray, thresholds: Sequence[float]) -> str:
    """The share of values above each threshold."""
    cells = (f"{(values > threshold).mean():.3f}" for threshold in thresholds)
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.9, 0.95, 0.98, 0.99])
    parser.add_argument("--model", default=f"{MODEL}.json")
    parser.add_argument("--pretrained", default=f"{MODEL}.safetensors")
    parser.add_argument("--embeddings", help="embeddings of different photos by another model")
    options = parser.parse_args()
    others = np.load(options.embeddings) if options.embeddings else None
    if others is not None and others.ndim != 2:
        parser.error(
            f"--embeddings {options.embeddings}: an array of shape {others.shape}; it must be (n, d)"
        )
    images = list(photos(options.folder))
    clip = ClipScore(model=options.model, pretrained=options.pretrained)
    clip.setup({}, Device())
    own, vectors = digests(images), embeddings(clip, images)
    print(f"{len(images):,} photos, {Path(options.model).stem}")
    print(f"| change | same bytes | {' | '.join(f'> {t}' for t in options.thresholds)} |")
    print("|---" * (2 + len(options.thresholds)) + "|")
    for name, change in {"nothing": lambda image: image, **CHANGES}.items():
        changed = [change(image) for image in images]
        exact = same_bytes(own, digests(changed))
        cosines = similarities(vectors, embeddings(clip, changed))
        print(line(f"{name} | {exact:.3f}", cosines, options.thresholds), flush=True)
    sets = {"different photos": vectors}
    if others is not None:
        sets["OTHERS"] = pl.Series(others)
    for name, of in sets.items():
        for compat in ("paper", "released"):
            dropped = similarities(of, compat=compat)
            print(line(f"{name}, dropped ({compat}) |", dropped, options.thresholds))


if __name__ == "__main__":
    main()

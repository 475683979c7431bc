"""What `preprocess: fast` saves, and what it costs: images per CPU second of one core from JPEG to the
model's size, and how far scores drift.

    PYTHONPATH=. python tests/benchmarks/bench_preprocess.py [--photos FOLDER] [--large 1500]
        [--model CONFIG.json --weights FILE]

The photos as they are, and enlarged to 2,000 pixels. The scores are those of the demo's CLIP, which is small
but trained, unless another model is named. `device` is the resize that a GPU does, here on the CPU, of equal
pixels.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import torch

from operators.algorithms.clip.model import load
from operators.clip import ClipScore
from pipeline.operator import Device
from pipeline.run.decode import decode
from tests.benchmarks.gpu.agreement import drift
from tests.benchmarks.gpu.made import PHOTOS, TRAINED, Clip, enlarged, pictures_of

SIDE = 2000  # pixels of enlarged photos
TIMED = 100  # pictures of which the time is taken
ROUNDS = 5  # after one that warms up
PART = 50  # pictures in memory at a time: 0.5 GB if they are enlarged


def in_turns(ways: Sequence[Callable[[bytes], object]], jpegs: Sequence[bytes]) -> list[float]:
    """Images per CPU second of each way on this thread: each picture by one way after the other; the median
    of ROUNDS."""
    rounds = []
    for _ in range(1 + ROUNDS):
        spent = [0.0] * len(ways)
        for jpeg in jpegs:
            for number, way in enumerate(ways):
                started = time.thread_time()
                way(jpeg)
                spent[number] += time.thread_time() - started
        rounds.append(spent)
    return [len(jpegs) / statistics.median(spent) for spent in zip(*rounds[1:], strict=True)]


def speeds(sets: dict[str, Sequence[bytes]]) -> None:
    """Print images per CPU second of decoding and preparing, exact and fast."""
    from open_clip.transform import image_transform

    from operators.algorithms.clip.transform import split

    head, _, frame = split(image_transform(224, is_train=False))
    assert frame is not None
    ways = [decode, lambda jpeg: head(decode(jpeg)[0]), lambda jpeg: frame.quick(decode(jpeg)[0])]
    print("| photos | decode | decode, prepare exact | decode, prepare fast | ratio | of the resize alone |")
    print("|---|---|---|---|---|---|")
    for name, jpegs in sets.items():
        decoded, exact, fast = in_turns(ways, jpegs)
        resize = (1 / exact - 1 / decoded) / (1 / fast - 1 / decoded)
        print(
            f"| {name} | {decoded:,.0f} | {exact:,.0f} | {fast:,.0f} | {fast / exact:.2f} | {resize:.1f} |",
            flush=True,
        )


def drifts(
    name: str, parts: Iterable[Sequence[tuple[bytes, str]]], clip: Clip, others: Sequence[str]
) -> None:
    """Print how far the scores of (JPEG, caption) pairs are from the exact ones by other ways."""
    ways: dict[str, ClipScore] = {}
    for way in ("exact", *others):
        preprocess = "exact" if way == "exact" else "fast"
        ways[way] = ClipScore(model=clip.config, pretrained=clip.weights, preprocess=preprocess)
        ways[way].setup({}, Device("cpu", torch.get_num_threads()))
    found: dict[str, list[np.ndarray]] = {way: [] for way in ways}
    for part in parts:
        captions = pl.DataFrame({"text": [caption for _, caption in part]})
        images = [decode(jpeg)[0] for jpeg, _ in part]
        for way, operator in ways.items():
            operator._clip.ahead = way == "device"  # all three share one model
            found[way].append(operator.score(captions, images)["score"].to_numpy())
    scores = {way: np.concatenate(some) for way, some in found.items()}
    for way in others:
        row = drift(scores[way], scores["exact"])
        cells = [f"{row[key]:.1e}" for key in ("mean", "p999", "spread")]
        cells += [f"{row['rank_correlation']:.6f}", f"{row['cut_changes']:.2%}"]
        print(f"| {len(scores[way]):,} {name}, {way} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--large", type=int, default=1500, help="photos to enlarge for the second table")
    parser.add_argument("--model", default=f"{TRAINED}.json")
    parser.add_argument("--weights", default=f"{TRAINED}.safetensors")
    args = parser.parse_args()
    torch.set_num_threads(1)
    clip = Clip(args.model, args.weights)
    load(*clip, Device())
    samples = [sample for tar in sorted(args.photos.glob("*.tar")) for sample in pictures_of(tar)]
    print(f"{platform.processor() or platform.machine()}, one core, {len(samples)} photos, {args.model}\n")
    large = enlarged(samples[:TIMED], SIDE, 1)
    speeds({"as they are": [j for j, _ in samples[:TIMED]], f"{SIDE:,} px": [j for j, _ in large]})
    print("\n| scores of | mean | 99.9 % | spread | rank correlation | top-30 % cut changes |")
    print("|---|---|---|---|---|---|")
    drifts("as they are", parted(samples), clip, ["fast", "device"])
    parts = (enlarged(part, SIDE, 1) for part in parted(samples[: args.large]))
    drifts(f"of {SIDE:,} px", parts, clip, ["fast"])
    drifts(f"of {SIDE:,} px", parted(large), clip, ["device"])


def parted(samples: Sequence[tuple[bytes, str]]) -> Iterable[Sequence[tuple[bytes, str]]]:
    """The samples, PART at a time: as many enlarged ones as fit into memory."""
    return (samples[start : start + PART] for start in range(0, len(samples), PART))


if __name__ == "__main__":
    main()

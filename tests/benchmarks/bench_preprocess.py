"""What `preprocess: fast` saves, and what it costs: images per second of one core from JPEG to the model's
size, and how far scores drift.

    PYTHONPATH=. python tests/benchmarks/bench_preprocess.py [--photos FOLDER]
        [--model CONFIG.json --weights FILE]

The photos as they are, and enlarged to 2,000 pixels. The scores are those of the demo's CLIP, which is small
but trained, unless another model is named. `device` is the resize that a GPU does, here on the CPU, of equal
pixels.
"""

import argparse
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import torch

from operators.algorithms.clip_model import load
from operators.clip import ClipScore
from pipeline.operator import Device
from pipeline.run.decode import decode
from tests.benchmarks.gpu.agreement import drift
from tests.benchmarks.gpu.made import PHOTOS, TRAINED, Clip, enlarged, pictures_of

SIDE = 2000  # pixels of enlarged photos
TIMED = 100  # pictures of which the time is taken


def rate(way: Callable[[bytes], object], jpegs: Sequence[bytes]) -> float:
    """Images per second on this thread."""
    started = time.perf_counter()
    for jpeg in jpegs:
        way(jpeg)
    return len(jpegs) / (time.perf_counter() - started)


def speeds(sets: dict[str, Sequence[bytes]]) -> None:
    """Print images per second of decoding and preparing, exact and fast."""
    from open_clip.transform import image_transform

    from operators.algorithms.clip_model import _split

    head, _, frame = _split(image_transform(224, is_train=False))
    assert frame is not None
    print("| photos | decode | decode, prepare exact | decode, prepare fast | ratio |\n|---|---|---|---|---|")
    for name, jpegs in sets.items():
        decoded = rate(decode, jpegs)
        exact = rate(lambda jpeg: head(decode(jpeg)[0]), jpegs)
        fast = rate(lambda jpeg: frame.quick(decode(jpeg)[0]), jpegs)
        print(f"| {name} | {decoded:,.0f} | {exact:,.0f} | {fast:,.0f} | {fast / exact:.2f} |", flush=True)


def drifts(sets: dict[str, Sequence[tuple[bytes, str]]], clip: Clip) -> None:
    """Print how far scores are from the exact ones."""
    print("\n| scores of | mean | 99.9 % | spread | rank correlation | top-30 % cut changes |")
    print("|---|---|---|---|---|---|")
    for name, samples in sets.items():
        captions = pl.DataFrame({"text": [caption for _, caption in samples]})
        images = [decode(jpeg)[0] for jpeg, _ in samples]
        found: dict[str, np.ndarray] = {}
        for way in ("exact", "fast", "device"):
            preprocess = "exact" if way == "exact" else "fast"
            operator = ClipScore(model=clip.config, pretrained=clip.weights, preprocess=preprocess)
            operator.setup({}, Device("cpu", torch.get_num_threads()))
            operator._clip.ahead = way == "device"
            found[way] = operator.score(captions, images)["score"].to_numpy()
        for way in ("fast", "device"):
            row = drift(found[way], found["exact"])
            cells = [f"{row[key]:.1e}" for key in ("mean", "p999", "spread")]
            cells += [f"{row['rank_correlation']:.6f}", f"{row['cut_changes']:.2%}"]
            print(f"| {name}, {way} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--model", default=f"{TRAINED}.json")
    parser.add_argument("--weights", default=f"{TRAINED}.safetensors")
    args = parser.parse_args()
    torch.set_num_threads(1)
    load(args.model, args.weights, Device())
    samples = [sample for tar in sorted(args.photos.glob("*.tar")) for sample in pictures_of(tar)]
    large = enlarged(samples[:TIMED], SIDE, 1)
    print(f"{platform.processor() or platform.machine()}, one core, {len(samples)} photos, {args.model}\n")
    speeds({"as they are": [j for j, _ in samples[:TIMED]], f"{SIDE} px": [j for j, _ in large]})
    drifts({"as they are": samples, f"{SIDE} px": large}, Clip(args.model, args.weights))


if __name__ == "__main__":
    main()

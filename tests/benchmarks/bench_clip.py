"""CLIP scoring of real or drawn pictures: Winnow's pass (Ray, and the plain loop) beside a direct open_clip
loop as a user would write it, in one process run, on the same shards. Also checks that the scores agree.

    python tests/benchmarks/bench_clip.py [--shards 'DIR/*.tar'] [--model ViT-B-32]

Without pretrained weights at hand the checkpoint is random: speed and agreement do not depend on it.
"""

import argparse
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from pipeline.plan.session import Session
from pipeline.recipe.load import parse
from pipeline.recipe.sections import Recipe
from pipeline.run.compute import compute
from pipeline.run.executor import Executor, LocalExecutor

SHARED = Path(__file__).parents[3] / "shared" / "data" / "photos"


def checkpoint(model: str, folder: Path) -> str:
    """A random checkpoint file of an open_clip model."""
    import open_clip
    from safetensors.torch import save_file

    torch.manual_seed(0)
    path = folder / f"{model}.safetensors"
    save_file({k: v.contiguous() for k, v in open_clip.create_model(model).state_dict().items()}, path)
    return str(path)


def direct(shards: str, model: str, weights: str, batch: int = 32) -> tuple[np.ndarray, dict[str, float]]:
    """The plain loop: webdataset, Pillow, open_clip's transform and tokenizer, in batches. -> scores,
    seconds."""
    import glob

    import open_clip
    import webdataset

    net, _, preprocess = open_clip.create_model_and_transforms(model, pretrained=weights)
    net.eval()
    tokenizer = open_clip.get_tokenizer(model)
    seconds = {"decode and transform": 0.0, "forward": 0.0}
    scores: list[np.ndarray] = []
    data = (
        webdataset.WebDataset(sorted(glob.glob(shards)), shardshuffle=False)
        .decode("pilrgb")
        .to_tuple("jpg", "txt")
    )
    with torch.inference_mode():
        for images, texts in data.batched(batch, collation_fn=lambda rows: list(zip(*rows, strict=True))):
            start = time.perf_counter()
            pixels = torch.stack([preprocess(image) for image in images])
            middle = time.perf_counter()
            image = torch.nn.functional.normalize(net.encode_image(pixels), dim=-1)
            text = torch.nn.functional.normalize(net.encode_text(tokenizer(list(texts))), dim=-1)
            scores.append((image * text).sum(-1).numpy())
            seconds["decode and transform"] += middle - start
            seconds["forward"] += time.perf_counter() - middle
    return np.concatenate(scores), seconds


def winnow(made: Recipe, executor: Executor) -> tuple[np.ndarray, Any]:
    """Scores in pool order, and the run's log."""
    session = Session.open(made)
    log = compute(session, executor)
    parts = [
        session.store.read(f"{session.folder('clip')}/{s.name}.parquet", ["clip.score"])
        for s in session.shards
    ]
    return pl.concat(parts)["clip.score"].to_numpy(), log


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", default=str(SHARED / "*.tar"))
    parser.add_argument("--model", default="ViT-B-32")
    args = parser.parse_args()
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        weights = checkpoint(args.model, folder)

        def recipe(store: str) -> Recipe:
            clip = {"use": "clip.ClipScore", "model": args.model, "pretrained": weights}
            pool = {"shards": args.shards, "store": str(folder / store)}
            return parse({"pool": pool, "compute": {"clip": clip}})

        print(
            f"{platform.processor() or platform.machine()}, 2 threads, {args.model}, random weights",
            flush=True,
        )
        start = time.perf_counter()
        expected, parts = direct(args.shards, args.model, weights)
        base = time.perf_counter() - start
        print(f"open_clip loop   {base:6.1f} s  {len(expected) / base:6.1f} samples/s  {parts}", flush=True)
        print(f"  physical bound: forward alone {len(expected) / parts['forward']:.1f} samples/s", flush=True)
        for name, executor in (("plain loop", LocalExecutor(threads=2)), ("Ray", None)):
            start = time.perf_counter()
            if executor is None:
                from pipeline.run.on_ray import RayExecutor

                executor = RayExecutor(recipe("ray"))
            scores, log = winnow(recipe(name.replace(" ", "")), executor)
            seconds = time.perf_counter() - start
            worst = float(np.nanmax(np.abs(scores - expected)))
            print(
                f"winnow, {name:10s} {seconds:6.1f} s  {len(scores) / seconds:6.1f} samples/s  "
                f"{base / seconds:.2f} x open_clip  largest score difference {worst:.1e}  {dict(log.tally.seconds)}",
                flush=True,
            )


if __name__ == "__main__":
    main()

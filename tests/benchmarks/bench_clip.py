"""CLIP scoring of real or drawn pictures: Winnow's pass (Ray, and the plain loop) beside a direct open_clip
loop as a user would write it, in one process run, on the same shards. Also checks that the scores agree.

    python tests/benchmarks/bench_clip.py [--shards "DIR/*.tar"] [--model ViT-B-32] [--clip-retrieval DIR]

With `--clip-retrieval` also clip-retrieval's inference. It cannot be installed beside Winnow, since it needs
numpy 1, an older pyarrow and an older open_clip. So DIR is a folder of packages that come before those of
this environment, made with `pip install --no-deps --target PACKAGES`: clip-retrieval 2.45, numpy 1.26,
pyarrow 15, open-clip-torch 2.32, webdataset 0.2.86, and what they import.

Without pretrained weights at hand the checkpoint is random: speed and agreement do not depend on it.
"""

import argparse
import glob
import json
import os
import platform
import subprocess
import sys
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


PEER = """
import sys
sys.path.insert(0, sys.argv[1])
from clip_retrieval.clip_inference.main import main
main(input_dataset=sys.argv[2], output_folder=sys.argv[3], input_format="webdataset", output_partition_count=1,
     batch_size=64, num_prepro_workers=2, enable_metadata=False, clip_model=sys.argv[4], use_jit=False)
"""


def clip_retrieval(packages: str, shards: str, model: str, weights: str, folder: Path) -> tuple[int, float]:
    """clip-retrieval's inference in a process of its own -> samples, seconds of reading, inference and
    writing. Its warm-up and imports are not among them."""
    pool, out = folder / "peer_pool", folder / "peer"
    pool.mkdir()
    names = sorted(glob.glob(shards))
    for number, name in enumerate(names):
        (pool / f"{number:05d}.tar").symlink_to(Path(name).resolve())
    pattern = f"{pool}/{{00000..{len(names) - 1:05d}}}.tar"
    words = [packages, pattern, str(out), f"open_clip:{model}/{weights}"]
    environment = {**os.environ, "PYTHONPATH": ""}
    subprocess.run([sys.executable, "-c", PEER, *words], check=True, capture_output=True, env=environment)
    told = json.loads(next((out / "stats").glob("*.json")).read_text())
    return told["sample_count"], told["total_duration"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", default=str(SHARED / "*.tar"))
    parser.add_argument("--model", default="ViT-B-32")
    parser.add_argument("--clip-retrieval", metavar="PACKAGES")
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
        if args.clip_retrieval:
            count, seconds = clip_retrieval(args.clip_retrieval, args.shards, args.model, weights, folder)
            print(
                f"clip-retrieval   {seconds:6.1f} s  {count / seconds:6.1f} samples/s  "
                f"{base / seconds / len(expected) * count:.2f} x open_clip, after its warm-up",
                flush=True,
            )


if __name__ == "__main__":
    main()

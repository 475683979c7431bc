"""CLIP scoring of real or drawn pictures: Winnow's pass (Ray, and the plain loop) beside a direct open_clip
loop as a user would write it, in one process run, on the same shards. Also checks that the scores agree.

    python tests/benchmarks/bench_clip.py [--samples 1500] [--ray] [--clip-retrieval DIR]
        [--bfloat16] [--shards "DIR/*.tar"] [--model ViT-B-32] [--threads 2] [--rounds 1]

Takes the first samples of the shards. The runs take turns, and the quickest of each counts. CPU seconds
change less on a busy machine; Ray's are not known, since its workers have ended. Both hold the loading of the
model.

With `--clip-retrieval` also clip-retrieval's inference. It cannot be installed beside Winnow, since it needs
numpy 1, an older pyarrow and an older open_clip. So DIR is a folder of packages that come before those of
this environment, made with `pip install --no-deps --target PACKAGES`: clip-retrieval 2.45, numpy 1.26,
pyarrow 15, open-clip-torch 2.32, webdataset 0.2.86, and what they import: all_clip, autofaiss,
clip-anytorch, embedding_reader, faiss-cpu 1.8, fire, flask_restful, aniso8601, h5py, huggingface_hub 0.25,
pandas 2, prometheus_client, pytz, scipy 1.13, sentence-transformers 2.7, setuptools 69, termcolor,
tokenizers 0.20, transformers 4.45, wandb.

Without pretrained weights at hand the checkpoint is random: speed and agreement do not depend on it.
"""

import argparse
import glob
import itertools
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import psutil
import torch

from pipeline.plan.session import Session
from pipeline.recipe.load import parse
from pipeline.recipe.sections import Recipe
from pipeline.run.compute import compute
from pipeline.run.executor import Executor, LocalExecutor

RAY = "winnow, Ray"
SHARED = Path(__file__).parents[3] / "shared" / "data" / "photos"


def checkpoint(model: str, folder: Path) -> str:
    """A random checkpoint file of an open_clip model."""
    import open_clip
    from safetensors.torch import save_file

    torch.manual_seed(0)
    path = folder / f"{model}.safetensors"
    save_file({k: v.contiguous() for k, v in open_clip.create_model(model).state_dict().items()}, path)
    return str(path)


def direct(shards: str, model: str, weights: str, precision: str, batch: int = 32) -> np.ndarray:
    """The plain loop: webdataset, Pillow, open_clip's transform and tokenizer, in batches. -> scores."""
    import open_clip
    import webdataset

    kind = {"float32": "fp32", "bfloat16": "bf16"}[precision]
    net, _, preprocess = open_clip.create_model_and_transforms(model, pretrained=weights, precision=kind)
    net.eval()
    tokenizer = open_clip.get_tokenizer(model)
    scores: list[np.ndarray] = []
    data = (
        webdataset.WebDataset(sorted(glob.glob(shards)), shardshuffle=False)
        .decode("pilrgb")
        .to_tuple("jpg", "txt")
    )
    with torch.inference_mode():
        for images, texts in data.batched(batch, collation_fn=lambda rows: list(zip(*rows, strict=True))):
            pixels = torch.stack([preprocess(image) for image in images]).to(getattr(torch, precision))
            image = torch.nn.functional.normalize(net.encode_image(pixels), dim=-1)
            text = torch.nn.functional.normalize(net.encode_text(tokenizer(list(texts))), dim=-1)
            scores.append((image.float() * text.float()).sum(-1).numpy())
    return np.concatenate(scores)


def winnow(made: Recipe, executor: Executor) -> np.ndarray:
    """Scores in pool order."""
    session = Session.open(made)
    compute(session, executor)
    parts = [
        session.store.read(f"{session.folder('clip')}/{s.name}.parquet", ["clip.score"])
        for s in session.shards
    ]
    return pl.concat(parts)["clip.score"].to_numpy()


def first_samples(shards: str, count: int, folder: Path) -> str:
    """The pattern of new tars with the first samples of the shards."""
    left = count
    for number, path in enumerate(sorted(glob.glob(shards))):
        names = set[str]()
        with tarfile.open(path) as old, tarfile.open(folder / f"{number:05d}.tar", "w") as new:
            for member in old:
                names.add(member.name.split(".")[0])
                if len(names) > left:
                    break
                new.addfile(member, old.extractfile(member))
        left -= len(names)
        if left <= 0:
            break
    return f"{folder}/*.tar"


def cpu_seconds() -> float:
    """Of this process and of its children, living and ended."""
    own = os.times()
    living = psutil.Process().children(recursive=True)
    return own.user + own.system + own.children_user + own.children_system + sum(map(_cpu, living))


def _cpu(process: psutil.Process) -> float:
    """CPU seconds of a process with its ended children; 0 if it is gone."""
    try:
        return float(sum(process.cpu_times()[:4]))
    except psutil.NoSuchProcess:
        return 0.0


PEER = """
import sys
sys.path.insert(0, sys.argv[1])
from clip_retrieval.clip_inference.main import main
main(input_dataset=sys.argv[2], output_folder=sys.argv[3], input_format="webdataset", output_partition_count=1,
     batch_size=64, num_prepro_workers=2, enable_metadata=False, clip_model=sys.argv[4], use_jit=False)
"""


def clip_retrieval(
    packages: str, shards: str, model: str, weights: str, folder: Path
) -> tuple[int, float, float]:
    """clip-retrieval's inference in a process of its own -> samples, seconds of reading, inference and
    writing as it tells them, and those of the whole process, which imports and loads the model, too."""
    pool, out = folder / "peer_pool", folder / "peer"
    pool.mkdir()
    names = sorted(glob.glob(shards))
    for number, name in enumerate(names):
        (pool / f"{number:05d}.tar").symlink_to(Path(name).resolve())
    pattern = f"{pool}/{{00000..{len(names) - 1:05d}}}.tar"
    words = [packages, pattern, str(out), f"open_clip:{model}/{weights}"]
    environment = {**os.environ, "PYTHONPATH": ""}
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", PEER, *words], check=True, capture_output=True, env=environment)
    whole = time.perf_counter() - started
    told = json.loads(next((out / "stats").glob("*.json")).read_text())
    return told["sample_count"], told["total_duration"], whole


Timed = tuple[float, float, np.ndarray]  # seconds, CPU seconds, scores


def timed(way: Callable[[], np.ndarray]) -> Timed:
    """A way, timed."""
    start, cpu = time.perf_counter(), cpu_seconds()
    scores = way()
    return time.perf_counter() - start, cpu_seconds() - cpu, scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--shards", default=str(SHARED / "*.tar"))
    parser.add_argument("--samples", type=int, default=1500)
    parser.add_argument("--model", default="ViT-B-32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--ray", action="store_true", help="on Ray, too")
    parser.add_argument("--bfloat16", action="store_true", help="each way with the network in bfloat16, too")
    parser.add_argument("--clip-retrieval", metavar="PACKAGES")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        weights = checkpoint(args.model, folder)
        (folder / "pool").mkdir()
        shards = first_samples(args.shards, args.samples, folder / "pool")
        stores = itertools.count()

        def recipe(precision: str) -> Recipe:
            clip = {
                "use": "clip.ClipScore",
                "model": args.model,
                "pretrained": weights,
                "precision": precision,
            }
            return parse(
                {"pool": {"shards": shards, "store": f"{folder}/{next(stores)}"}, "compute": {"clip": clip}}
            )

        def loop(precision: str) -> np.ndarray:
            torch.set_num_threads(args.threads)
            return direct(shards, args.model, weights, precision)

        def here(precision: str) -> np.ndarray:
            return winnow(recipe(precision), LocalExecutor(args.threads))

        def on_ray(precision: str) -> np.ndarray:
            from pipeline.run.on_ray import RayExecutor

            made = recipe(precision)
            return winnow(made, RayExecutor(made))

        plain = {"open_clip loop": loop, "winnow, plain loop": here, **({RAY: on_ray} if args.ray else {})}
        ways: dict[str, Callable[[], np.ndarray]] = {}
        for precision in ("float32", "bfloat16") if args.bfloat16 else ("float32",):
            more = "" if precision == "float32" else f", {precision}"
            ways |= {f"{name}{more}": partial(way, precision) for name, way in plain.items()}
        ways = dict(
            sorted(ways.items(), key=lambda way: way[0].startswith(RAY))
        )  # its CPU seconds blur others'
        found: dict[str, list[Timed]] = {way: [] for way in ways}
        for _ in range(args.rounds):
            for way, run in ways.items():
                found[way].append(timed(run))
        print(f"{args.model}, random weights, {args.threads} threads, {args.samples} samples\n")
        print("| way | seconds | the loop's | CPU seconds | the loop's | largest score difference |")
        print("|---|---|---|---|---|---|")
        base, base_cpu = (min(run[at] for run in found["open_clip loop"]) for at in (0, 1))
        expected = found["open_clip loop"][0][2]
        for way, runs in found.items():
            seconds, cpu = (min(run[at] for run in runs) for at in (0, 1))
            worst = float(np.nanmax(np.abs(runs[0][2] - expected)))
            spent = " | " if way.startswith(RAY) else f"{cpu:.1f} | {base_cpu / cpu:.2f}"
            print(f"| {way} | {seconds:.1f} | {base / seconds:.2f} | {spent} | {worst:.1e} |", flush=True)
        if args.clip_retrieval:
            cpu = cpu_seconds()
            count, seconds, whole = clip_retrieval(args.clip_retrieval, shards, args.model, weights, folder)
            cpu = cpu_seconds() - cpu
            print(
                f"| clip-retrieval, {count} samples | {seconds:.1f} | {base / seconds:.2f} | {cpu:.1f} | "
                f"{base_cpu / cpu:.2f} | |\n| with its imports and loading | {whole:.1f} | {base / whole:.2f} | | | |",
                flush=True,
            )


if __name__ == "__main__":
    main()

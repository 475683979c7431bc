"""What Ray costs: the image pass through Ray beside the plain loop on the same cores, and beside two plain
processes of one thread with half of the shards each. The runs take turns; medians are printed.

    PYTHONPATH=. python tests/benchmarks/bench_ray.py [--shards "DIR/*.tar"] [--copies 12] [--rounds 3]

Start-up is the time to the first batch (imports, models, actors) and is shown apart; the rate counts what
came after it. On a busy machine compare samples per CPU second, of all processes, Ray's own included.
The default is a small open_clip model with random weights. `--model scene`: the repository's own.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data" / "photos"
SCENE = ROOT / "jobs" / "toy" / "models" / "scene_clip"
WAYS = {"plain loop": ["local"], "two processes": ["half 0", "half 1"], "Ray": ["ray"]}


def work(way: str, pool: str, model: str, weights: str) -> None:
    """A child: one pass over its shards; prints when the first batch came, the end, and what it did."""
    from pipeline.plan.session import Session
    from pipeline.recipe.load import parse
    from pipeline.run.compute import compute
    from pipeline.run.executor import Event, LocalExecutor

    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as store:
        clip = {"use": "clip.ClipScore", "model": model, "pretrained": weights}
        recipe = parse({"pool": {"shards": pool, "store": store}, "compute": {"clip": clip}})
        session = Session.open(recipe)
        if way.startswith("half"):
            session = session.without({s.name for s in session.shards[int(way[-1]) :: 2]})
        if way == "ray":
            from pipeline.run.on_ray import RayExecutor

            executor: Any = RayExecutor(recipe)
        else:
            executor = LocalExecutor(threads=1 if way.startswith("half") else 2)
        seen: list[tuple[float, int]] = []

        def hear(event: Event) -> None:
            if event.rows:
                seen.append((time.perf_counter() - began, event.rows))

        log = compute(session, executor, observe=lambda todo: hear)
    rows = sum(n for _, n in seen)
    print(json.dumps({"first": seen[0], "last": seen[-1][0], "rows": rows, "seconds": log.tally.seconds}))


def timed(children: list[list[str]], threads: int) -> dict[str, float]:
    """Run children side by side: samples/s after the first batch, start-up, samples per CPU second."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    environment["RAY_worker_niceness"] = "0"  # 15 unless told: the other ways run at 0, and so does the rest
    if threads > 1:
        del environment["OMP_NUM_THREADS"]
    running = [subprocess.Popen(c, env=environment, stdout=subprocess.PIPE, text=True) for c in children]
    cpu: dict[int, float] = {}
    while any(process.poll() is None for process in running):
        for process in [p for top in running if top.poll() is None for p in _tree(top.pid)]:
            try:
                cpu[process.pid] = sum(process.cpu_times()[:2])
            except psutil.Error:
                continue
        time.sleep(0.25)
    told = [json.loads(process.communicate()[0].splitlines()[-1]) for process in running]
    rows, first = sum(t["rows"] for t in told), min(t["first"][0] for t in told)
    last = max(t["last"] for t in told)
    before = sum(t["first"][1] for t in told)
    used = {name: sum(t["seconds"].get(name, 0.0) for t in told) for name in ("read", "decode", "clip")}
    return {
        "start": first,
        "rate": (rows - before) / (last - first),
        "whole": rows / last,
        "per_cpu": rows / sum(cpu.values()),
        **{name: rows / seconds for name, seconds in used.items() if seconds},
    }


def _tree(pid: int) -> list[psutil.Process]:
    try:
        top = psutil.Process(pid)
        return [top, *top.children(recursive=True)]
    except psutil.Error:
        return []


def checkpoint(model: str, folder: Path) -> tuple[str, str]:
    """Model and weights: of the repository, or random ones of an open_clip model."""
    if model == "scene":
        return f"{SCENE}.json", f"{SCENE}.safetensors"
    from tests.benchmarks.bench_clip import checkpoint as random_weights

    return model, random_weights(model, folder)


def copies(shards: str, count: int, folder: Path) -> str:
    """A pool of so many shards: the given ones, again and again."""
    found = sorted(Path(shards).parent.glob(Path(shards).name))
    for number in range(count):
        shutil.copy(found[number % len(found)], folder / f"{number:05d}.tar")
    return f"{folder}/*.tar"


def main() -> None:
    """Run everything in turns and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", default=f"{SHARED}/*.tar")
    parser.add_argument("--copies", type=int, default=12, help="shards of the pool, made of these")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="ViT-S-32-alt")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        work(*args.child)
        return
    results: dict[str, list[dict[str, float]]] = {name: [] for name in WAYS}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "pool").mkdir()
        model, weights = checkpoint(args.model, folder)
        pool = copies(args.shards, args.copies, folder / "pool")
        print(
            f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {args.model}", flush=True
        )
        print(
            "seconds to the first batch (start); samples per second after it (rate), with it (whole), per CPU "
            "second,\nand of reading, decoding and the model alone"
        )
        for number in range(args.rounds):
            for name, ways in WAYS.items():
                words = [sys.executable, __file__, "--child"]
                load = os.getloadavg()[0]
                found = timed([[*words, way, pool, model, weights] for way in ways], threads=3 - len(ways))
                results[name].append(found)
                said = "  ".join(f"{key} {value:.1f}" for key, value in found.items())
                print(f"round {number}  {name:14s} load {load:4.1f}  {said}", flush=True)
    print(f"\nmedians of {args.rounds}   start-up s  samples/s  whole pass  samples per CPU s")
    middle = {
        name: {key: statistics.median(found[key] for found in some) for key in some[0]}
        for name, some in results.items()
    }
    for name, found in middle.items():
        columns = ((10, "start", 1), (9, "rate", 1), (10, "whole", 1), (10, "per_cpu", 2))
        print(
            name.ljust(14), *(f"{found[key]:{width}.{digits}f}" for width, key, digits in columns), sep="  "
        )
    one = middle["two processes"]
    print(
        f"bound, per core: forward pass alone {one['clip']:.1f} samples/s, decoding alone {one['decode']:.1f}"
    )
    for other in ("plain loop", "two processes"):
        rate, cpu = (
            statistics.median(r[key] / o[key] for r, o in zip(results["Ray"], results[other], strict=True))
            for key in ("rate", "per_cpu")
        )
        print(f"Ray / {other:14s} rate {rate:.2f}   per CPU second {cpu:.2f}")


if __name__ == "__main__":
    main()

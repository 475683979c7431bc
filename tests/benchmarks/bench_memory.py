"""Peak memory of the driver and of each kind of worker, over pools of 20,000 and of 200,000 tiny samples.

    python tests/benchmarks/bench_memory.py [--shards 2 20]

Memory is what a process has for itself (RssAnon): Ray's object store is shared, has a fixed size, and fills
up whatever the pool. Flat means: ten times the samples, no higher peaks. A long run is looked at more often
than a short one, so the small pool is run three times, and the highest figure counts. Tars of 2,500 samples:
also the small pool fills several.
"""

import argparse
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import psutil
import yaml

from jobs.toy.sample_pool import make_pool

MODEL = Path(__file__).parents[2] / "jobs" / "toy" / "models" / "scene_clip"
KINDS = ("raylet", "gcs_server")  # besides Ray's workers, which call themselves `ray::...`


def recipe(folder: Path, shards: int) -> Path:
    """The demo's operators over the first `shards` shards, with exports."""
    data = {
        "pool": {
            "shards": f"{folder}/pool/{{00000..{shards - 1:05d}}}.tar",
            "store": f"{folder}/store{shards}",
        },
        "compute": {
            "caption": {"use": "caption.Caption"},
            "clip": {"use": "clip.ClipScore", "model": f"{MODEL}.json", "pretrained": f"{MODEL}.safetensors"},
        },
        "keep": {"caption.words": {"min": 3}, "clip.score": {"top": 0.5}},
        "export": {
            "shards": f"{folder}/out{shards}",
            "samples_per_shard": 2_500,
            "subset": f"{folder}/subset{shards}.npy",
            "index": {"embedding": "clip.image_embedding", "path": f"{folder}/index{shards}"},
        },
    }
    path = folder / f"recipe{shards}.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


def kind(process: psutil.Process) -> str | None:
    """`ray::MapWorker`, `raylet`... by what the process calls itself; None for other processes."""
    line = " ".join(process.cmdline())
    if "ray::" in line:
        return "ray::" + line.split("ray::")[1].split("(")[-1].split(")")[0].split(".")[0].strip()
    return next((name for name in KINDS if name in line), None)


def own(process: psutil.Process) -> int:
    """Bytes of anonymous memory: neither mapped files nor Ray's object store, which lies in /dev/shm."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("RssAnon"))


def peaks(command: list[str]) -> tuple[dict[str, int], float]:
    """Peak unique memory by kind of process while a command runs, and its seconds."""
    started = time.perf_counter()
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    found: dict[str, int] = defaultdict(int)
    while driver.poll() is None:
        root = psutil.Process(driver.pid)
        for process in [root, *root.children(recursive=True)]:
            try:
                name = "driver" if process.pid == driver.pid else kind(process)
                if name:
                    found[name] = max(found[name], own(process))
            except (psutil.Error, OSError, StopIteration):  # it has ended
                continue
        time.sleep(0.5)
    if driver.returncode:
        raise SystemExit(f"{command} failed with {driver.returncode}")
    return found, time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--per-shard", type=int, default=10_000)
    parser.add_argument(
        "--shards", type=int, nargs=2, default=(2, 20), help="of the small pool and the large one"
    )
    args = parser.parse_args()
    per_shard, (small, large) = args.per_shard, args.shards
    print(platform.processor() or platform.machine())
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_pool(folder / "pool", shards=large, per_shard=per_shard, image_size=32, workers=2)
        seen: dict[int, dict[str, int]] = {}
        for shards in (small, small, small, large):
            path = recipe(folder, shards)
            for name in (f"store{shards}", f"out{shards}", f"index{shards}"):
                shutil.rmtree(folder / name, ignore_errors=True)
            found, seconds = peaks([sys.executable, "-m", "jobs", "run", str(path)])
            before = seen.get(shards, {})
            seen[shards] = {name: max(found.get(name, 0), before.get(name, 0)) for name in found | before}
            print(f"{shards * per_shard:,} samples in {seconds:.0f} s", flush=True)
        print(f"{'process':28s} {small * per_shard:>12,} {large * per_shard:>12,}  (peak MiB of its own)")
        for name in sorted(seen[small] | seen[large]):
            print(
                f"{name:28s} {seen[small].get(name, 0) / 2**20:12.0f} {seen[large].get(name, 0) / 2**20:12.0f}"
            )


if __name__ == "__main__":
    main()

"""Many shards: seconds to plan, compute, resume, keep, export and compact where every shard holds ten
samples.

    python tests/benchmarks/bench_many.py [--shards 20000] [--folder DIR]

Every step is a command in a process of its own, as a user types it. With --folder the pool is made once and
left there, and so is the store. A step is linear if its milliseconds per shard stay the same as --shards
grows.
"""

import argparse
import io
import os
import platform
import random
import subprocess
import sys
import tarfile
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import yaml
from PIL import Image

ROOT = Path(__file__).parents[2]
EACH = 10
WORDS = (
    "a",
    "the",
    "red",
    "old",
    "dog",
    "cat",
    "house",
    "tree",
    "river",
    "boat",
    "of",
    "near",
    "with",
    "photo",
)


def member(name: str, content: bytes) -> bytes:
    """A tar member: header, content, padding."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    return info.tobuf(tarfile.USTAR_FORMAT) + content + b"\0" * (-len(content) % 512)


def make_shard(folder: Path, picture: bytes, shard: int) -> None:
    """A tar of EACH samples: the same picture, captions of 1 to 12 words."""
    rng = random.Random(shard)
    parts = []
    for row in range(EACH):
        key = f"{shard:06d}{row:02d}"
        caption = " ".join([*rng.choices(WORDS, k=rng.randint(0, 11)), f"number {rng.randrange(1000)}"])
        parts += [member(f"{key}.jpg", picture), member(f"{key}.txt", caption.encode())]
    (folder / f"{shard:06d}.tar").write_bytes(b"".join(parts) + b"\0" * 1024)


def make_pool(folder: Path, shards: int) -> None:
    """The tars that are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    out = io.BytesIO()
    Image.new("RGB", (96, 64), "red").save(out, "JPEG")
    there = {int(name.removesuffix(".tar")) for name in os.listdir(folder)}
    missing = [shard for shard in range(shards) if shard not in there]
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        list(pool.map(partial(make_shard, folder, out.getvalue()), missing, chunksize=256))


def make_recipe(folder: Path, shards: int) -> Path:
    """Two Scores with a Stat between them, three rules, and a subset file."""
    data = {
        "pool": {
            "shards": f"{folder}/pool/{{000000..{shards - 1:06d}}}.tar",
            "store": f"{folder}/store{shards}",
        },
        "compute": {
            "caption": {"use": "caption.Caption"},
            "words": {"use": "wfpp.WordFrequency"},
            "wfpp": {"use": "wfpp.WordFrequencyScore", "frequency": "words"},
        },
        "keep": {
            "caption.words": {"min": 3},
            "caption.side": {"min": 32},
            "wfpp.score": {"top": 0.8},
        },
        "export": {"subset": f"{folder}/subset{shards}.npy"},
    }
    path = folder / f"many{shards}.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


def timed(label: str, shards: int, *words: object) -> None:
    """Run one command; print its seconds, wall and CPU, and milliseconds of CPU time per shard."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "jobs", *map(str, words)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {said.decode()}")
    wall, cpu = time.perf_counter() - started, used.ru_utime + used.ru_stime
    peak = used.ru_maxrss / 2**10
    print(
        f"{label:34s} {wall:8.1f} s {cpu:8.1f} CPU s {1000 * cpu / shards:8.2f} ms per shard {peak:7.0f} MiB",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--shards", type=int, default=10_000)
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench_many") as temporary:
        folder, shards = args.folder or Path(temporary), args.shards
        make_pool(folder / "pool", shards)
        recipe = make_recipe(folder, shards)
        load = os.getloadavg()[0]
        machine = platform.processor() or platform.machine()
        print(f"{machine}, {os.cpu_count()} cores, load {load:.1f}; {shards:,} shards of {EACH} samples")
        print("seconds by the clock; CPU seconds and peak memory of the command, without Ray's own processes")
        timed("plan, nothing stored", shards, "plan", recipe)
        timed("compute --local", shards, "compute", recipe, "--local")
        timed("compute, Ray if it takes long", shards, "compute", recipe, "--set", f"pool.store={folder}/ray")
        timed("plan, all stored", shards, "plan", recipe)
        timed("plan, asked again", shards, "plan", recipe)
        timed("compute --local, all done", shards, "compute", recipe, "--local")
        timed("keep", shards, "keep", recipe)
        timed("keep, asked again", shards, "keep", recipe)
        timed("keep, another threshold", shards, "keep", recipe, "--set", "keep.wfpp.score.top=0.5")
        timed("export, the subset", shards, "export", recipe, "--local")
        timed("compact", shards, "compact", recipe)
        timed("plan, packed", shards, "plan", recipe)
        timed("compute --local, all done, packed", shards, "compute", recipe, "--local")
        timed("keep, packed, another threshold", shards, "keep", recipe, "--set", "keep.wfpp.score.top=0.6")
        timed("keep, packed, asked again", shards, "keep", recipe)


if __name__ == "__main__":
    main()

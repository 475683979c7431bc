"""What Ray costs where shards are tiny: 2,000 shards of ten photos through `winnow compute`, in the plain
loop and on Ray. CPU seconds are of all processes, Ray's own included; both stores must be equal.

    PYTHONPATH=. python tests/benchmarks/bench_tiny.py [--shards 2000] [--rounds 1] [--only pixels]

`bytes` reads each picture's file (duplicates.ImageDigest), `pixels` decodes it and takes a mean, `hash` is
pdq.PdqHash.
"""

import argparse
import compileall
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import polars as pl
import psutil
import yaml

from pipeline.operator import ImageScore
from tests.benchmarks.bench_many import member
from tests.benchmarks.gpu.made import PHOTOS, pictures_of
from tests.support.folders import tree

ROOT = Path(__file__).parents[2]
EACH = 10
RAYS_OWN = "Ray's own"
OPERATORS = {
    "bytes": {"use": "duplicates.ImageDigest"},
    "pixels": {"use": "bench_tiny.Mean"},
    "hash": {"use": "pdq.PdqHash"},
}


class Mean(ImageScore):
    """The mean of a picture's first row: hardly any work beside decoding."""

    writes = {"value": pl.Float32}

    def score(self, batch: pl.DataFrame, images: Sequence[np.ndarray | None]) -> pl.DataFrame:
        """(n,) means in [0, 255], null without pixels."""
        values = [None if image is None else float(image[0].mean()) for image in images]
        return pl.DataFrame({"value": pl.Series(values, dtype=pl.Float32)})


def make_pool(folder: Path, photos: Path, shards: int) -> None:
    """Shards of EACH photos with their captions; the photos come again and again."""
    found = [pair for tar in sorted(photos.glob("*.tar")) for pair in pictures_of(tar)]
    pairs = cycle(found)
    folder.mkdir()
    for shard in range(shards):
        parts = []
        for row, (jpeg, caption) in enumerate(islice(pairs, EACH)):
            key = f"{shard:06d}{row:02d}"
            parts += [member(f"{key}.jpg", jpeg), member(f"{key}.txt", caption.encode())]
        (folder / f"{shard:06d}.tar").write_bytes(b"".join(parts) + b"\0" * 1024)


def timed(words: Sequence[str]) -> tuple[float, Mapping[str, float]]:
    """Seconds of a command, and the CPU seconds of its processes by kind."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": ""}
    started = time.perf_counter()
    top = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    used: dict[int, tuple[str, float]] = {}
    while top.poll() is None:
        try:
            family = [psutil.Process(top.pid), *psutil.Process(top.pid).children(recursive=True)]
        except psutil.Error:
            continue
        for process in family:
            try:
                kind = _kind(process) if process.pid != top.pid else "command"
                before = used.get(process.pid, ("", 0.0))[0]
                used[process.pid] = (
                    kind if kind != RAYS_OWN else before or kind,
                    sum(process.cpu_times()[:2]),
                )
            except psutil.Error:
                continue
        time.sleep(0.1)
    assert top.stderr is not None
    if top.returncode:
        raise SystemExit(f"{' '.join(words)} failed: {top.stderr.read().decode()}")
    seconds = time.perf_counter() - started
    kinds = ("command", "workers", RAYS_OWN)
    return seconds, {name: sum(cpu for kind, cpu in used.values() if kind == name) for name in kinds}


def _kind(process: psutil.Process) -> str:
    """A process of Ray: one that runs our code, or one of its own."""
    ours = ("ray::MapWorker", "ray::MapBatches", "ray::CollectorActor")
    return "workers" if " ".join(process.cmdline()).startswith(ours) else RAYS_OWN


def main() -> None:
    """Run everything in turns and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--shards", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", choices=OPERATORS, nargs="*", default=list(OPERATORS))
    args = parser.parse_args()
    for package in ("jobs", "operators", "pipeline"):  # as an installed package is
        compileall.compile_dir(ROOT / package, quiet=1)
    load = os.getloadavg()[0]
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {load:.1f}")
    print("\n| operator | way | seconds | CPU s | of them workers | Ray's own | of the plain loop | stores |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="bench_tiny") as temporary:
        folder = Path(temporary)
        make_pool(folder / "pool", args.photos, args.shards)
        for name in [name for _ in range(args.rounds) for name in args.only]:
            _compare(folder, name)


def _compare(folder: Path, name: str) -> None:
    """Both ways with one operator, and their rows of the table."""
    plain = 0.0
    for way, option in (("plain loop", ["--local"]), ("Ray", [])):
        store = folder / way.replace(" ", "")
        recipe = {
            "plugins": [str(Path(__file__))],
            "pool": {"shards": f"{folder}/pool/*.tar", "store": str(store)},
            "compute": {name: OPERATORS[name]},
        }
        path = folder / "tiny.yaml"
        path.write_text(yaml.safe_dump(recipe))
        seconds, cpu = timed([sys.executable, "-m", "jobs", "compute", str(path), *option])
        whole = sum(cpu.values())
        plain = plain or whole
        same = "" if option else _compared(folder)
        print(
            f"| {name} | {way} | {seconds:.1f} | {whole:.1f} | {cpu['workers']:.1f} | {cpu[RAYS_OWN]:.1f} "
            f"| {whole / plain:.2f} | {same} |",
            flush=True,
        )
    for way in ("plainloop", "Ray"):
        shutil.rmtree(folder / way)


def _compared(folder: Path) -> str:
    """`equal` if both stores have the same bytes, notes of when and where aside."""
    one, other = (
        {
            path: data
            for path, data in tree(folder / way).items()
            if not path.startswith(("runs/", "footers/", "store.json"))
        }
        for way in ("plainloop", "Ray")
    )
    return "equal" if one == other else "DIFFERENT"


if __name__ == "__main__":
    main()

"""Does a pass run at the speed of its slowest part? A simulated device (an operator that sleeps, as a thread
that waits for a GPU does) at several ratios to decoding, through the plain loop and Ray.

    PYTHONPATH=. python tests/benchmarks/bench_overlap.py [--copies 2] [--side 640] [--ray] [--threads 2]

`of the slower`: samples per second of the pass, over those of decoding alone or the device alone, whichever
is slower; 1 is perfect. Decoding alone is measured before and after each pass. `of reading, too`: the same
with a pass whose device takes no time, which reads tars and makes columns besides, in place of decoding
alone. `one after the other`: what a worker reaches that decodes, then computes.
"""

import argparse
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from pipeline.operator import Device, ImageScore
from pipeline.plan.session import Session
from pipeline.recipe.load import parse
from pipeline.run.compute import compute
from pipeline.run.executor import Event, Executor, LocalExecutor
from pipeline.run.stage.decoder import Decoder
from tests.benchmarks.gpu.made import PHOTOS, enlarged, pictures_of, tar_of

LONG = 3.0  # seconds
RATIOS = (0.5, 1.0, 2.0)  # seconds of the device per second of decoding
PLUGIN = Path(__file__)


class Asleep(ImageScore):
    """The simulated device: so many seconds per picture, one call at a time."""

    seconds: float = 0.0

    writes = {"value": pl.Float32}

    def setup(self, stats: object, device: Device) -> None:
        """Nothing to load."""

    def score(self, batch: pl.DataFrame, images: Sequence[np.ndarray | None]) -> pl.DataFrame:
        """(n,) the mean of the first row of each picture, after the sleep."""
        time.sleep(self.seconds * len(images))
        values = [None if image is None else float(image[0].mean()) for image in images]
        return pl.DataFrame({"value": pl.Series(values, dtype=pl.Float32)})


def decode_seconds(tars: Path, threads: int) -> float:
    """Seconds per picture of decoding alone, on so many threads, measured for LONG seconds."""
    jpegs = [jpeg for jpeg, _ in pictures_of(sorted(tars.glob("*.tar"))[0])]
    decoder, rounds = Decoder(threads), 0
    decoder(jpegs)
    started = time.perf_counter()
    while (took := time.perf_counter() - started) < LONG:
        decoder(jpegs)
        rounds += 1
    return took / len(jpegs) / rounds


def rate(pool: Path, seconds: float, executor_of: object) -> float:
    """Samples per second of a pass, between a tenth and nine tenths of its work: the slope of the work over
    the time at which it is heard of. On Ray that is about once a second."""
    seen: list[tuple[float, float]] = []

    def hear(event: Event) -> None:
        if event.work:
            seen.append((time.perf_counter(), event.work))

    with tempfile.TemporaryDirectory() as store:
        recipe = parse(
            {
                "plugins": [str(PLUGIN)],
                "pool": {"shards": f"{pool}/*.tar", "store": store},
                "compute": {"asleep": {"use": "bench_overlap.Asleep", "seconds": seconds}},
                "run": {"asleep": {"workers": 1}},
            }
        )
        executor: Executor = executor_of(recipe)  # type: ignore[operator]
        compute(Session.open(recipe), executor, observe=lambda todo: hear)
    times, done = np.array(seen).T
    done = np.cumsum(done)
    steady = (done >= done[-1] / 10) & (done <= done[-1] * 9 / 10)
    return float(np.polyfit(times[steady] - times[0], done[steady], 1)[0])


def main() -> None:
    """Run every ratio and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument(
        "--copies", type=int, default=2, help="how often each tar of the photos is in the pool"
    )
    parser.add_argument("--side", type=int, help="make the longer side of the photos so many pixels")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--ray", action="store_true", help="on Ray, too")
    args = parser.parse_args()
    ways = {"plain loop": lambda recipe: LocalExecutor(args.threads)}
    if args.ray:
        from pipeline.run.on_ray import RayExecutor

        ways["Ray"] = RayExecutor
    size = f"{args.side} pixels" if args.side else "their own size"
    print(f"{platform.processor() or platform.machine()}, {args.threads} threads, photos of {size}")
    print(
        "\n| way | device : decode | decoding alone | no device | samples/s | of the slower | of reading, too "
        "| one after the other |\n|---|---|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        pool = Path(folder)
        tars = sorted(args.photos.glob("*.tar"))
        for number, tar in enumerate(tars * args.copies):
            copy = pool / f"{number:05d}.tar"
            if args.side and number < len(tars):
                tar_of(enlarged(pictures_of(tar), args.side, args.threads), copy)
            else:
                shutil.copy(pool / f"{number % len(tars):05d}.tar" if args.side else tar, copy)
        for name, executor_of in ways.items():
            for ratio in RATIOS:
                before = decode_seconds(pool, args.threads)
                device = before * ratio
                bare = 1 / rate(pool, 0.0, executor_of)
                found = rate(pool, device, executor_of)
                decode = (before + decode_seconds(pool, args.threads)) / 2
                slower = max(decode, device)
                print(
                    f"| {name} | {ratio:g} | {1 / decode:,.0f} | {1 / bare:,.0f} | {found:,.0f} "
                    f"| {found * slower:.2f} | {found * max(bare, device):.2f} "
                    f"| {slower / (decode + device):.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()

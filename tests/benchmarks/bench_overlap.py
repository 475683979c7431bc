"""Does a pass run at the speed of its slowest part? A simulated device at several ratios to decoding, through
the plain loop and Ray. An operator uses it as ClipScore does a GPU: `launch` gives it a batch, and `complete`
waits for the batch's end. The device sleeps for one batch after the other.

    PYTHONPATH=. python tests/benchmarks/bench_overlap.py [--copies 2] [--side 640] [--ray] [--threads 2]

`decoding`: samples per second of decoding alone, of pictures in memory. `reading, too`: the same of reading
tars and decoding side by side, with nothing else. Both are measured before and after each pass. `of ...`:
samples per second of the pass, over those of that or of the device alone, whichever is slower; 1 is perfect.
`in turns`: what a worker reaches of the first that decodes, then computes.
"""

import argparse
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pydantic import PrivateAttr

from pipeline.operator import Device, ImageScore
from pipeline.ordered_map import ordered_map
from pipeline.plan.passes import ROWS, ScorePass, plan
from pipeline.plan.session import Session
from pipeline.plan.stored import list_stored
from pipeline.recipe.load import parse
from pipeline.recipe.sections import Recipe
from pipeline.run.batches import Read, Work, batches
from pipeline.run.compute import compute
from pipeline.run.executor import Event, Executor, LocalExecutor
from pipeline.run.stage.decoder import Decoder
from pipeline.run.stage.runner import IN_FLIGHT
from tests.benchmarks.gpu.made import PHOTOS, enlarged, pictures_of, tar_of

LONG = 3.0  # seconds
RATIOS = (0.5, 1.0, 2.0)  # seconds of the device per second of decoding
PLUGIN = Path(__file__)


class Asleep(ImageScore):
    """The simulated device: so many seconds per picture."""

    seconds: float = 0.0

    writes = {"value": pl.Float32}
    _device: Any = PrivateAttr(None)

    def setup(self, stats: object, device: Device) -> None:
        """The device is a thread: what it is given waits for its turn."""
        self._device = ThreadPoolExecutor(1)

    def works_ahead(self) -> bool:
        """See ImageScore."""
        return True

    def prepare(self, batch: pl.DataFrame, images: Sequence[np.ndarray | None]) -> list[float | None]:
        """(n,) the mean of the first row of each picture."""
        return [None if image is None else float(image[0].mean()) for image in images]

    def launch(self, batch: pl.DataFrame, prepared: Sequence[list[float | None]]) -> Any:
        """The values, and the end of the sleep."""
        values = [value for part in prepared for value in part]
        return values, self._device.submit(time.sleep, self.seconds * len(values))

    def complete(self, batch: pl.DataFrame, launched: Any) -> pl.DataFrame:
        """(n,) the values, after the sleep."""
        values, slept = launched
        slept.result()
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


def read_and_decode_seconds(session: Session, threads: int) -> float:
    """Seconds per picture of reading tars and decoding side by side."""
    todo = plan(session.recipe, session.shards, session.keys, list_stored(session))[0]
    assert isinstance(todo, ScorePass)
    work = Work.of(session.recipe, session.keys, todo)
    read = (batch for shard in session.shards for batch in batches(work, shard, Read(shard.name)))
    decoder = Decoder(threads)
    pictures = 0
    started = time.perf_counter()
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        for decoded in ordered_map(pool, IN_FLIGHT, lambda batch: len(decoder(batch.data or [])), read):
            pictures += decoded
    return (time.perf_counter() - started) / pictures


def opened(pool: Path, store: str, seconds: float, gpus: int = 0) -> Session:
    """A session on the pool with an empty store and one operator, in batches as a GPU's."""
    recipe = parse(
        {
            "plugins": [str(PLUGIN)],
            "pool": {"shards": f"{pool}/*.tar", "store": store},
            "compute": {"asleep": {"use": "bench_overlap.Asleep", "seconds": seconds}},
            "run": {"asleep": {"workers": 1, "gpus": gpus, "batch_size": ROWS["gpu"]}},
        }
    )
    return Session.open(recipe)


def pass_seconds(pool: Path, seconds: float, executor_of: Callable[[Recipe], Executor], gpus: int) -> float:
    """Seconds per sample of a pass, between a tenth and nine tenths of its work: the slope of the work over
    the time at which it is heard of. On Ray that is about once a second."""
    seen: list[tuple[float, float]] = []

    def hear(event: Event) -> None:
        if event.work:
            seen.append((time.perf_counter(), event.work))

    with tempfile.TemporaryDirectory() as store:
        session = opened(pool, store, seconds, gpus)
        compute(session, executor_of(session.recipe), observe=lambda todo: hear)
    times, done = np.array(seen).T
    done = np.cumsum(done)
    steady = (done >= done[-1] / 10) & (done <= done[-1] * 9 / 10)
    return 1 / float(np.polyfit(times[steady] - times[0], done[steady], 1)[0])


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
    parser.add_argument("--ratios", type=float, nargs="+", default=RATIOS, help="device : decoding")
    args = parser.parse_args()
    ways: dict[str, tuple[Callable[[Recipe], Executor], int]] = {
        "plain loop": (lambda recipe: LocalExecutor(args.threads), 0)
    }
    if args.ray:
        from pipeline.run.on_ray import RayExecutor

        ways["Ray"] = partial(RayExecutor, gpus=1), 1  # it does as if there were a GPU
    size = f"{args.side} pixels" if args.side else "their own size"
    print(f"{platform.processor() or platform.machine()}, {args.threads} threads, photos of {size}")
    print(
        "\n| way | device : decoding | decoding | reading, too | samples/s | of decoding | of reading, too "
        "| in turns |\n|---|---|---|---|---|---|---|---|"
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
        for name, (executor_of, gpus) in ways.items():
            for ratio in args.ratios:
                before = alone(pool, args.threads)
                device = before[0] * ratio
                found = pass_seconds(pool, device, executor_of, gpus)
                decode, read = np.mean([before, alone(pool, args.threads)], axis=0)
                print(
                    f"| {name} | {ratio:g} | {1 / decode:,.0f} | {1 / read:,.0f} | {1 / found:,.0f} "
                    f"| {max(decode, device) / found:.2f} | {max(read, device) / found:.2f} "
                    f"| {max(decode, device) / (decode + device):.2f} |",
                    flush=True,
                )


def alone(pool: Path, threads: int) -> tuple[float, float]:
    """Seconds per picture of decoding alone, and with reading."""
    with tempfile.TemporaryDirectory() as store:
        return decode_seconds(pool, threads), read_and_decode_seconds(opened(pool, store, 0.0), threads)


if __name__ == "__main__":
    main()

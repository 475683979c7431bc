"""How fast tars are read and identified: ours, tarfile, the webdataset library, Ray Data.

    python tests/benchmarks/bench_tar.py [FOLDER_WITH_TARS] [GIGABYTES]

The tars are copied until there are as many bytes, and read from the page cache. All but the last run
in this one process, on one core; Ray Data has two. MB/s are of the tars' bytes, best of three runs (of one
for Ray Data). The last column: how many times as fast read_samples is, per core.
"""

import argparse
import itertools
import platform
import shutil
import sys
import tarfile
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from pipeline.pool.shards import list_shards
from pipeline.pool.tar import walk
from pipeline.pool.tar_reader import read_samples
from pipeline.storage.ranges import identify

PHOTOS = Path(__file__).parents[3] / "shared" / "data" / "photos"


def by_walk(paths: list[str]) -> int:
    """Headers alone are looked at; every byte counts towards the content."""
    return sum(1 for path in paths for member in walk(path) if member.name.endswith(".jpg"))


def by_walk_and_copy(paths: list[str]) -> int:
    """Every member copied to bytes, as the other libraries do."""
    members = (member for path in paths for member in walk(path))
    return sum(1 for member in members if bytes(member.data) and member.name.endswith(".jpg"))


def by_read_samples(paths: list[str]) -> int:
    """Arrow tables: samples, captions, JSON, image sizes, uids, image bytes."""
    return sum(len(frame) for shard in list_shards(paths).shards for frame, _ in read_samples(shard))


def by_identify(paths: list[str]) -> int:
    """Bytes alone, for the content; no samples."""
    return sum(len(identify(path).content) == 0 for path in paths)


def by_tarfile(paths: list[str], mode: str) -> int:
    """Members as bytes, neither grouped nor parsed."""
    samples = 0
    for path in paths:
        with tarfile.open(path, mode) as file:
            for member in file:
                file.extractfile(member).read()
                samples += member.name.endswith(".jpg")
    return samples


def by_webdataset(paths: list[str]) -> int:
    """Dicts of bytes, grouped, not parsed."""
    import webdataset

    return sum(1 for _ in webdataset.WebDataset(paths, shardshuffle=False))


def by_ray(paths: list[str]) -> int:
    """Batches of bytes on two CPUs, images and captions left as they are."""
    import ray

    samples = ray.data.read_webdataset(paths, decoder=None)
    return sum(len(batch["jpg"]) for batch in samples.iter_batches(batch_size=256))


READERS: dict[str, tuple[Callable[[list[str]], int], int]] = {
    "winnow identify": (by_identify, 1),
    "winnow walk": (by_walk, 1),
    "winnow walk, copied": (by_walk_and_copy, 1),
    "winnow read_samples": (by_read_samples, 1),
    "tarfile": (lambda paths: by_tarfile(paths, "r:"), 1),
    "tarfile, streamed": (lambda paths: by_tarfile(paths, "r|*"), 1),
    "webdataset": (by_webdataset, 1),
    "ray.data.read_webdataset": (by_ray, 2),
}


def replicate(source: Path, folder: Path, size: int) -> list[str]:
    """Copies of the tars in `source` that have `size` bytes together, in the page cache."""
    paths: list[str] = []
    for number, path in enumerate(itertools.cycle(sorted(source.glob("*.tar")))):
        if size <= 0:
            return paths
        copy = folder / f"{number:05}.tar"
        shutil.copyfile(path, copy)
        size -= copy.stat().st_size
        paths.append(str(copy))
    raise SystemExit(f"no tars in {source}")


def seconds(reader: Callable[[list[str]], int], paths: list[str], runs: int) -> tuple[float, int]:
    """(best time, samples) of some runs."""
    best = float("inf")
    for _ in range(runs):
        started = time.perf_counter()
        samples = reader(paths)
        best = min(best, time.perf_counter() - started)
    return best, samples


def machine() -> str:
    """The processor, as the system names it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names) or '?'} x {names[0] if names else platform.processor()}"


def measure(paths: list[str]) -> None:
    """Run every reader and print a table; ratios are to read_samples, per core."""
    size = sum(Path(path).stat().st_size for path in paths)
    print(f"{size / 1e9:.2f} GB in {len(paths)} tars, {machine()}, Python {platform.python_version()}\n")
    results = {}
    by_ray(paths[:1])  # its workers start
    for name, (reader, cores) in READERS.items():
        best, samples = seconds(reader, paths, 1 if cores > 1 else 3)
        results[name] = (cores, samples, size / best / 1e6)
    ours = results["winnow read_samples"][2]
    print("| reader | cores | samples | MB/s | MB/s per core | read_samples is |\n|---|---|---|---|---|---|")
    for name, (cores, samples, speed) in results.items():
        ratio = f"{ours / (speed / cores):.2f} x"
        print(f"| {name} | {cores} | {samples} | {speed:.0f} | {speed / cores:.0f} | {ratio} |")


def main() -> None:
    """Make the pool, measure, print."""
    import ray

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=PHOTOS, help="a folder of tars")
    parser.add_argument("gigabytes", nargs="?", type=float, default=1.0)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        paths = replicate(asked.folder, Path(folder), int(asked.gigabytes * 1e9))
        ray.init(num_cpus=2, logging_level="ERROR", log_to_driver=False)
        ray.data.DataContext.get_current().enable_progress_bars = False
        measure(paths)
        ray.shutdown()


if __name__ == "__main__":
    main()

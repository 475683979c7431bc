"""Nothing has changed: seconds to plan, and to resume, 10,000 tiny shards, on a local disk and on a loopback
S3 (with the number of requests). And all files touched: how fast it shows that nothing is new.

    PYTHONPATH=. python tests/benchmarks/bench_plan.py
    PYTHONPATH=. python tests/benchmarks/bench_plan.py --checkout ../before   # with another version's code
    PYTHONPATH=. python tests/benchmarks/bench_plan.py --only local,touch --shards 2000

Every step is a command in a process of its own, as a user types it; figures are medians of --times. Only the
command line is used, so any version can be measured.
"""

import argparse
import io
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml
from PIL import Image

ROOT = Path(__file__).parents[2]
PARTS = ("local", "s3", "touch")
S3_SHARDS = int(os.environ.get("S3_SHARDS", "1000"))  # at most: the loopback server takes 10 ms a request
EACH = 2  # samples in a tiny shard
LARGE = 200 << 10  # bytes of a picture of the pool that is touched
IN_A_TAR = 500  # of these, in each of its tars
TOLD = 0.5  # seconds that a touch must take longer, so that a rate says something


def jpeg(size: int = 0) -> bytes:
    """A tiny JPEG, filled up with zeros to a size in bytes, which decoders pass over."""
    out = io.BytesIO()
    Image.new("RGB", (24, 16), (90, 120, 30)).save(out, "JPEG")
    return out.getvalue().ljust(size, b"\0")


def member(name: str, content: bytes) -> bytes:
    """A tar member: header, content, padding."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    return info.tobuf(tarfile.USTAR_FORMAT) + content + b"\0" * (-len(content) % 512)


def tar_of(shard: int, samples: int, picture: bytes) -> Iterator[bytes]:
    """The bytes of a tar, sample by sample."""
    for row in range(samples):
        key = f"{shard:06d}{row:04d}"
        caption = f"a red dog near house number {row} of street {shard}"
        yield member(f"{key}.jpg", picture) + member(f"{key}.txt", caption.encode())
    yield b"\0" * 1024


class Bench:
    """The code to measure, and how often. `folder` holds pools, stores and recipes."""

    def __init__(self, checkout: Path, times: int, shards: int, folder: Path) -> None:
        self.checkout, self.times, self.shards, self.folder = checkout, times, shards, folder

    def winnow(self, *words: str) -> float:
        """Run a command; returns its seconds. Raises RuntimeError with what it said if it fails."""
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "jobs", *words],
            cwd=self.checkout,
            env={**os.environ, "PYTHONPATH": str(self.checkout)},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"winnow {' '.join(words)}: {done.stderr[-3000:]}")
        return time.perf_counter() - started

    def recipe(self, pool: str, store: str, name: str) -> str:
        """A recipe of two cheap operators; returns its path."""
        recipe = {
            "pool": {"shards": pool, "store": store},
            "compute": {"caption": {"use": "caption.Caption"}, "facts": {"use": "datacomp.Facts"}},
            "keep": {"caption.words": {"min": 3}},
            "export": {"subset": str(self.folder / f"{name}.npy")},
        }
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(recipe))
        return str(path)

    def unchanged(self, recipe: str, counted: Callable[[int], str] = lambda commands: "") -> None:
        """Compute once; then plan, and run again, with nothing to do. `counted`: requests per command since
        the last call."""
        print(f"  start-up alone           {self.median('--version'):8.2f} s", flush=True)
        counted(1)
        seconds = self.winnow("run", recipe, "--local")
        print(f"  first run                {seconds:8.2f} s  {counted(1)}", flush=True)
        self.winnow("plan", recipe)
        for words in (("plan", recipe), ("keep", recipe), ("run", recipe, "--local")):
            counted(1)
            seconds = self.median(*words)
            print(f"  {words[0]:8} nothing to do   {seconds:8.2f} s  {counted(self.times)}", flush=True)

    def median(self, *words: str) -> float:
        """The median of the command's seconds."""
        return statistics.median(self.winnow(*words) for _ in range(self.times))


def local(bench: Bench) -> None:
    """A pool on this machine's disk."""
    print(f"local disk, {bench.shards:,} shards", flush=True)
    pool, picture = bench.folder / "pool", jpeg()
    pool.mkdir()
    for shard in range(bench.shards):
        (pool / f"{shard:06d}.tar").write_bytes(b"".join(tar_of(shard, EACH, picture)))
    bench.unchanged(bench.recipe(f"{pool}/*.tar", str(bench.folder / "store"), "local"))


def s3(bench: Bench) -> None:
    """A pool and a store on a loopback S3, whose requests are counted."""
    shards = min(bench.shards, S3_SHARDS)
    print(f"loopback S3, {shards:,} shards", flush=True)
    sys.path.insert(0, str(ROOT))
    from tests.support.s3_server import s3 as serve

    with serve() as server:
        import boto3

        client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
        client.create_bucket(Bucket="bench")
        picture = jpeg()
        for shard in range(shards):
            data = b"".join(tar_of(shard, EACH, picture))
            client.put_object(Bucket="bench", Key=f"pool/{shard:06d}.tar", Body=data)

        def counted(commands: int) -> str:
            kinds = Counter(call.split(" ")[0] for call in server.calls)
            kinds["listings"] = server.count("GET .*list-type")
            kinds["GET"] -= kinds["listings"]
            requests = len(server.calls) / commands
            server.calls.clear()
            each = ", ".join(
                f"{count / commands:,.0f} {kind}" for kind, count in kinds.most_common() if count
            )
            return f"{requests:,.0f} requests: {each}"

        recipe = bench.recipe("s3://bench/pool/*.tar", "s3://bench/store", "s3")
        bench.unchanged(recipe, counted)


def touch(bench: Bench, gigabytes: float) -> None:
    """Tars in the page cache, all touched between two runs."""
    pool, picture = bench.folder / "large", jpeg(LARGE)
    pool.mkdir()
    tars = max(1, round(gigabytes * 1e9 / (LARGE * IN_A_TAR)))
    for shard in range(tars):
        with open(pool / f"{shard:06d}.tar", "wb") as file:
            file.writelines(tar_of(shard, IN_A_TAR, picture))
    size = sum(path.stat().st_size for path in pool.iterdir()) / 1e9
    print(f"touched: {tars} tars, {size:.2f} GB", flush=True)
    recipe = bench.recipe(f"{pool}/*.tar", str(bench.folder / "store_large"), "large")
    print(f"  first run                {bench.winnow('run', recipe, '--local'):8.2f} s", flush=True)
    idle = bench.median("run", recipe, "--local")
    print(f"  nothing to do            {idle:8.2f} s", flush=True)
    with in_page_cache(sorted(pool.iterdir())):
        for path in pool.iterdir():
            os.utime(path)
        seconds = bench.winnow("run", recipe, "--local")
    over = seconds - idle
    rate = f"{size / over:.2f} GB/s over the time of nothing to do" if over > TOLD else "nothing that shows"
    print(f"  after the touch          {seconds:8.2f} s  {rate}")
    print(f"  once more                {bench.winnow('run', recipe, '--local'):8.2f} s", flush=True)


@contextmanager
def in_page_cache(paths: Sequence[Path]) -> Iterator[None]:
    """The files have been read just before the block."""
    for path in paths:
        with open(path, "rb") as file:
            while file.read(1 << 24):
                pass
    yield


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description="Seconds of planning where nothing has changed.")
    parser.add_argument("--checkout", type=Path, default=ROOT, help="the code to measure")
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--shards", type=int, default=10_000)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary folder")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench_plan", dir=asked.folder))
    bench = Bench(asked.checkout.resolve(), asked.times, asked.shards, folder)
    if bench.checkout != ROOT:
        print(f"code: {bench.checkout}")
    try:
        for part in asked.only.split(","):
            {"local": local, "s3": s3, "touch": lambda b: touch(b, asked.gigabytes)}[part](bench)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()

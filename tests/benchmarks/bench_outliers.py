"""Outlier scores of a large pool of embeddings: rows a second, peak memory, beside the published procedure.

    python tests/benchmarks/bench_outliers.py [--rows 3000000] [--size 2048] [--draws 8] [--threads 2]

Embeddings are made in chunks, 512 numbers around 1,000 centres, float16 as ClipScore stores them. First, in
turns on the same rows and the same reference: Winnow (all four scores), the released code's procedure in
torch (cdist, a full sort, the reference's own distances and sort for every batch of 2,048; DAO alone), both
ways cdist has, and the bound, the matrix product of rows and reference alone. Then the whole pool in a
process of its own, and a tenth of it, for the peaks of memory: sampling the reference, and scoring.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
import torch

from operators.outliers import Dao, KDistance, Lid, Reference, Slof
from pipeline.operator import Device

WIDTH, CENTRES, SHARD, BATCH, K = 512, 1000, 10_000, 2048, 16
CLASSES = (KDistance, Slof, Lid, Dao)


def chunk(number: int, rows: int) -> pl.DataFrame:
    """So many rows of the pool: uid, shard, row, text, and an embedding of length about 10."""
    centres = np.random.default_rng(0).standard_normal((CENTRES, WIDTH), dtype=np.float32)
    rng = np.random.default_rng([1, number])
    vectors = centres[rng.integers(0, CENTRES, rows)] * 0.4
    vectors += 0.2 * rng.standard_normal((rows, WIDTH), dtype=np.float32)
    return pl.DataFrame(
        {
            "uid": [rng.bytes(16).hex() for _ in range(rows)],
            "shard": pl.repeat(f"{number:05d}", rows, eager=True),
            "row": pl.int_range(rows, dtype=pl.UInt32, eager=True),
            "text": pl.repeat("a caption", rows, eager=True),
            "clip.image_embedding": vectors.astype(np.float16),
        }
    )


def chunks(rows: int) -> Iterator[pl.DataFrame]:
    """The pool."""
    return (chunk(n, min(SHARD, rows - n * SHARD)) for n in range(-(-rows // SHARD)))


def reference(rows: int, size: int, draws: int) -> pl.DataFrame:
    """The table over the pool, reduced shard by shard."""
    stat = Reference(embedding="clip.image_embedding", normalise=False, size=size, draws=draws, k=K)
    merged = None
    for part in map(stat.partial, chunks(rows)):
        merged = stat.merge(part if merged is None else pl.concat([merged, part]))
    assert merged is not None
    return stat.finish(merged)


def winnow(table: pl.DataFrame, threads: int) -> Callable[[pl.DataFrame], dict[str, np.ndarray]]:
    """What gives a batch its four scores, as a stage of a pass does."""
    made = [c(embedding="clip.image_embedding", reference="r").model_copy() for c in CLASSES]
    for operator in made:
        operator.setup({"r": table}, Device(threads=threads))
    return lambda batch: {type(o).__name__: o.score(batch)["score"].to_numpy() for o in made}


def published(table: pl.DataFrame, mode: str) -> Callable[[pl.DataFrame], np.ndarray]:
    """DAO by the steps of the released code, with its indices put right: the same neighbours, batch by
    batch."""
    draws = [torch.from_numpy(d["vector"].to_numpy().copy()) for d in table.partition_by("draw")]

    def one(data: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        a, idx = torch.sort(torch.cdist(data, points, compute_mode=mode), dim=1)
        full, _ = torch.sort(torch.cdist(points, points, compute_mode=mode), dim=1)
        near = full[:, 1 : K + 1]
        lids = -K / torch.log(near / near[:, -1:] + 1e-4).sum(1)
        ratios = a[:, K - 1, None] / near[:, -1][idx[:, :K]]
        return (lids[idx[:, :K]] * torch.log(ratios)).mean(1)

    def scores(batch: pl.DataFrame) -> np.ndarray:
        data = torch.from_numpy(batch["clip.image_embedding"].to_numpy().astype(np.float32))
        parts = [torch.stack([one(part, points) for points in draws]).mean(0) for part in data.split(BATCH)]
        return torch.cat(parts).numpy()

    return scores


def bound(table: pl.DataFrame) -> Callable[[pl.DataFrame], object]:
    """The product alone, thrown away."""
    points = torch.from_numpy(table["vector"].to_numpy().copy()).T.contiguous()

    def product(batch: pl.DataFrame) -> None:
        data = torch.from_numpy(batch["clip.image_embedding"].to_numpy().astype(np.float32))
        for part in data.split(BATCH):
            part @ points

    return product


def in_turns(table: pl.DataFrame, rounds: int, threads: int) -> None:
    """Medians over rounds, each of one batch that nobody has seen, by wall clock and by CPU time."""
    torch.set_num_threads(threads)
    ways: dict[str, Callable[[pl.DataFrame], object]] = {
        "winnow: k-distance, SLOF, LID, DAO": winnow(table, threads),
        "published, cdist by matrix product": published(table, "use_mm_for_euclid_dist"),
        "published, cdist exact (the paper's runs)": published(table, "donot_use_mm_for_euclid_dist"),
        "bound: the matrix product alone": bound(table),
    }
    wall: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        batch = chunk(10**6 + turn, BATCH)
        for name, way in ways.items():
            started, used = time.perf_counter(), time.process_time()
            found = way(batch)
            if turn:  # the first warms up
                wall[name].append(len(batch) / (time.perf_counter() - started))
                cpu[name].append(len(batch) / (time.process_time() - used))
            if isinstance(found, dict):
                ours = found["Dao"]
            elif found is not None:
                off = np.abs(np.asarray(found) - ours)
                assert np.quantile(off, 0.99) < 1e-4, f"{name}: not the same neighbours"  # but for a near tie
    first = next(iter(ways))
    for name in ways:
        a, b = statistics.median(wall[name]), statistics.median(cpu[name])
        ratios = [
            statistics.median(x / y for x, y in zip(t[first], t[name], strict=True)) for t in (wall, cpu)
        ]
        print(
            f"  {name:44s} {a:8,.0f} rows/s {b:8,.0f} per CPU second   winnow is {ratios[0]:5.2f} x, {ratios[1]:5.2f} x"
        )


def whole(rows: int, size: int, draws: int, threads: int) -> dict[str, float]:
    """Sample, then score a pool; seconds spent in each, and the peak of memory."""
    started = time.perf_counter()
    table = reference(rows, size, draws)
    sampled = time.perf_counter() - started
    score, spent, used = winnow(table, threads), 0.0, 0.0
    for part in chunks(rows):
        begun, cpu = time.perf_counter(), time.process_time()
        for batch in part.iter_slices(8192):
            score(batch)
        spent, used = spent + time.perf_counter() - begun, used + time.process_time() - cpu
    status = Path("/proc/self/status").read_text()  # getrusage's peak would include that of the parent
    peak = int(status.split("VmHWM:")[1].split()[0]) / 2**20
    return {"rows": rows, "sampling": sampled, "scoring": spent, "cpu": used, "peak": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in {"rows": 3_000_000, "size": 2048, "draws": 8, "threads": 2, "rounds": 5}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--whole", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.whole:
        print(json.dumps(whole(args.rows, args.size, args.draws, args.threads)))
        return
    print(
        f"{platform.processor() or platform.machine()}, {args.threads} threads, {args.draws} draws of {args.size:,}, "
        f"{WIDTH} numbers, k = {K}"
    )
    in_turns(reference(10 * args.size, args.size, args.draws), args.rounds, args.threads)
    for rows in (args.rows // 10, args.rows):
        sizes = [f"--{n}={v}" for n, v in (("rows", rows), ("size", args.size), ("draws", args.draws))]
        command = [sys.executable, __file__, "--whole", *sizes, f"--threads={args.threads}"]
        found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        print(
            f"  {rows:10,} rows: reference {found['sampling']:6.1f} s (with making the pool), scores "
            f"{found['scoring']:7.1f} s = {rows / found['scoring']:,.0f} rows/s, {rows / found['cpu']:,.0f} per CPU "
            f"second, peak {found['peak']:.2f} GiB",
            flush=True,
        )


if __name__ == "__main__":
    main()

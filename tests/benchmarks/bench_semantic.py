"""SemDeDup and CLIPCov on made-up embeddings: rows per second, beside the bare matrix products of the same
clusters, which no exact method does without; exact duplicates of keys; and memory.

    python tests/benchmarks/bench_semantic.py [--rows 50000] [--clusters 12] [--width 512] [--threads 1]
    python tests/benchmarks/bench_semantic.py --semantic --rows 1000000 --clusters 240

Clusters have about rows / clusters samples each. Seconds are CPU seconds of this process, so that a busy
machine changes little; give more threads on an idle machine. With --semantic, SemDeDup alone, whose clusters
come in tasks of 50,000 rows at most, as from a partition; memory is printed on the way.
"""

import argparse
import resource
import time
from collections.abc import Callable

import numpy as np
import polars as pl

from operators.algorithms.threads import blas_threads
from operators.clipcov import Cover
from operators.duplicates import Exact, Semantic
from pipeline.operator import Device, Group

BLOCK = 1024  # rows of the bare product


def unit(vectors: np.ndarray) -> np.ndarray:
    """The same directions at length 1."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def made(rows: int, clusters: int, width: int, seed: int = 0) -> pl.DataFrame:
    """Pairs like those of a CLIP: images and captions lie in two cones, and no cosine between them is below
    0. Sorted by cluster, then by uid."""
    rng = np.random.default_rng(seed)
    cone, topics = rng.standard_normal((2, width), np.float32), rng.standard_normal((50, width), np.float32)
    topic = topics[rng.integers(0, 50, rows)]
    images = 1.2 * cone[0] + topic + rng.standard_normal((rows, width), np.float32)
    texts = 0.4 * cone[0] + 1.2 * cone[1] + 0.6 * topic + 1.2 * rng.standard_normal((rows, width), np.float32)
    return pl.DataFrame(
        {
            "shard": ["s"] * rows,
            "row": pl.Series(range(rows), dtype=pl.UInt32),
            "uid": [f"{row:032x}" for row in range(rows)],
            "image": pl.Series(unit(images).astype(np.float16)),
            "text": pl.Series(unit(texts).astype(np.float16)),
            "cluster": np.sort(rng.integers(0, clusters, rows)).astype(np.int32),
            "similarity": rng.random(rows, np.float32),
            "key": [rng.bytes(16) if row % 20 else b"k" * 16 for row in range(rows)],
        }
    )


SLICE = 50_000  # rows of a task


def measure_semantic(options: argparse.Namespace) -> None:
    """SemDeDup and the bare product, a slice of whole clusters at a time, which is made when it comes."""
    semantic = {"embedding": "image", "cluster": "cluster", "similarity": "similarity", "limit": 100_000}
    ways: dict[str, Group] = {
        "duplicates.Semantic": Semantic(**semantic),
        "duplicates.Semantic, released": Semantic(**semantic, compat="released"),
    }
    slices = -(-options.rows // SLICE)
    seconds = dict.fromkeys(["bare product", *ways], 0.0)
    for number in range(slices):
        frame = made(options.rows // slices, max(1, options.clusters // slices), options.width, number)
        with blas_threads(options.threads):
            seconds["bare product"] += spent(lambda frame=frame: bare(frame))  # type: ignore[misc]
        for name, operator in ways.items():
            operator.setup({}, Device(threads=options.threads))
            seconds[name] += spent(lambda operator=operator, frame=frame: operator.group(frame))  # type: ignore[misc]
        if number in (0, slices // 2, slices - 1):
            done = (number + 1) * (options.rows // slices)
            print(f"{done:,} rows: memory {peak():.2f} GiB at most", flush=True)
    rows = slices * (options.rows // slices)
    for name, took in seconds.items():
        share = seconds["bare product"] / took
        print(f"{name:36}{rows / took:12,.0f} rows per CPU second   {share:6.2f} of the product's speed")


def peak() -> float:
    """The most memory so far, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def spent(function: Callable[[], object]) -> float:
    """CPU seconds."""
    started = time.process_time()
    function()
    return time.process_time() - started


def bare(frame: pl.DataFrame) -> None:
    """All cosines of each cluster, block after block, thrown away."""
    for own in frame.partition_by("cluster", maintain_order=True):
        vectors = own["image"].to_numpy().astype(np.float32)
        for start in range(0, len(vectors), BLOCK):
            vectors[start : start + BLOCK] @ vectors.T


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, default in (("rows", 50_000), ("clusters", 12), ("width", 512), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--semantic", action="store_true", help="SemDeDup alone, in tasks")
    options = parser.parse_args()
    if options.semantic:
        measure_semantic(options)
        return
    frame = made(options.rows, options.clusters, options.width)
    semantic = {"embedding": "image", "cluster": "cluster", "similarity": "similarity", "limit": 100_000}
    cover = {"image_embedding": "image", "text_embedding": "text", "label": "cluster"}
    operators: dict[str, Group] = {
        "duplicates.Semantic": Semantic(**semantic),
        "duplicates.Semantic, released": Semantic(**semantic, compat="released"),
        "clipcov.Cover": Cover(**cover),
        "clipcov.Cover, share 0.1": Cover(**cover, share=0.1),
        "clipcov.Cover, released, share 0.1": Cover(**cover, share=0.1, compat="released"),
        "duplicates.Exact": Exact(key="key"),
    }
    each = options.rows / options.clusters
    print(
        f"{options.rows:,} rows of {options.width} numbers, {each:,.0f} per cluster; {options.threads} threads"
    )
    with blas_threads(options.threads):
        product = spent(lambda: bare(frame))
    print(f"{'bare product':36}{options.rows / product:12,.0f} rows per CPU second")
    for name, operator in operators.items():
        operator.setup({}, Device(threads=options.threads))
        seconds = spent(lambda operator=operator: operator.group(frame))  # type: ignore[misc]
        print(f"{name:36}{options.rows / seconds:12,.0f}   {product / seconds:6.2f} of the product's speed")
    print(f"memory: {peak():.1f} GiB at most")


if __name__ == "__main__":
    main()

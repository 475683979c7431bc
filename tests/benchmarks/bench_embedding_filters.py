"""negCLIPLoss and NormSim on embeddings: rows a second of one core, beside the matrix products alone (no
exact method does with less) and beside the released code's way (numpy and torch, whole batches at once); and
memory.

    python tests/benchmarks/bench_embedding_filters.py [--rows 1000000] [--batches 10] [--batch-size 32768]

Seconds are CPU seconds of this process, so that a busy machine changes little. By default a reduced run of a
minute: the work for a row does not depend on how many rows there are, only on the reference and the proxies.
"""

import argparse
import platform
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
import torch

from operators.negcliploss import BLOCK, ROWS, NegClipLoss, Reference
from operators.normsim import NormSim
from pipeline.operator import Device

BATCH = 8192  # rows the engine hands over at a time
COLUMNS = {"image_embedding": "c.image", "text_embedding": "c.text"}
T = 0.01


def batches(rows: int, width: int) -> Iterator[pl.DataFrame]:
    """Pairs that fit more or less, float16, of unit norm."""
    for start in range(0, rows, BATCH):
        rng = np.random.default_rng(start)
        count = min(BATCH, rows - start)
        images = rng.standard_normal((count, width), np.float32)
        texts = images * 0.5 + rng.standard_normal((count, width), np.float32)
        sides = [(v / np.linalg.norm(v, axis=1, keepdims=True)).astype(np.float16) for v in (images, texts)]
        uids = [
            f"{high:016x}{low:016x}" for high, low in rng.integers(0, 2**64, (count, 2), np.uint64).tolist()
        ]
        row = pl.Series(range(start, start + count), dtype=pl.UInt32)
        yield pl.DataFrame(
            {"shard": ["s"] * count, "row": row, "uid": uids, "c.image": sides[0], "c.text": sides[1]}
        )


def peak() -> float:
    """Highest resident memory of this process so far, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def spent(function: Callable[[], object]) -> float:
    """CPU seconds."""
    start = time.process_time()
    function()
    return time.process_time() - start


def products(width: int, others: int) -> float:
    """Rows a second if a row's products with `others` vectors were all."""
    rows, block = torch.randn(ROWS, width), torch.randn(width, BLOCK)
    rows @ block
    repeats = 40
    seconds = spent(lambda: [rows @ block for _ in range(repeats)])
    return repeats * ROWS * BLOCK / seconds / others


def through(operator: NegClipLoss | NormSim, rows: int, width: int) -> tuple[float, str]:
    """Rows a second of an operator, and what memory did between the second batch and the last."""
    seconds, after = 0.0, 0.0
    for number, batch in enumerate(batches(rows, width)):
        seconds += spent(lambda batch=batch: operator.score(batch))  # type: ignore[misc]
        after = peak() if number == 1 else after
    return rows / seconds, f"{after or peak():.2f} -> {peak():.2f} GiB"


def released_loss(size: int, width: int, batchings: int) -> float:
    """Rows a second where each row is in one batch per batching: the matrix, exp, sums over both sides."""
    frame = next(batches(size, width))
    image, text = (torch.from_numpy(frame[n].to_numpy().astype(np.float32)) for n in COLUMNS.values())

    def loss() -> None:
        logits = (image @ text.T / T).exp()
        (image * text).sum(1) - T / 2 * (logits.sum(0).log() + logits.sum(1).log())

    loss()
    return size / spent(loss) / batchings


def released_norm(proxies: np.ndarray, width: int, p: float) -> float:
    """Rows a second of the cosines with all proxies at once, and their norm."""
    image = torch.from_numpy(next(batches(512, width))["c.image"].to_numpy().astype(np.float32))
    others = torch.from_numpy(proxies.astype(np.float32)).T
    return 512 / spent(lambda: torch.linalg.vector_norm(image @ others, p, dim=1))


def line(name: str, own: float, bound: float, released: float, memory: str) -> None:
    ratios = f"{own / bound:9.2f} x {own / released:9.2f} x"
    print(f"{name:22s} {own:11,.0f} {bound:11,.0f} {released:11,.0f} {ratios}   {memory}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=16_384)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--batches", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=4096)
    parser.add_argument("--proxies", type=int, default=50_000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    width, others = args.width, args.batches * args.batch_size
    print(
        f"{platform.processor() or platform.machine()}, one thread, {args.rows:,} x {width} float16; reference "
        f"{args.batches} x {args.batch_size:,}; {args.proxies:,} proxies; rows a second of CPU time"
    )
    names = ("winnow", "products", "released", "of products", "of released")
    print(f"{'':22s}" + "".join(f" {name:>11s}" for name in names) + "   memory")
    stat = Reference(**COLUMNS, batches=args.batches, batch_size=args.batch_size)
    table, seconds = None, 0.0
    for batch in batches(max(args.rows, others), width):
        start = time.process_time()
        part = stat.partial(batch)
        table = part if table is None else stat.merge(pl.concat([table, part]))
        seconds += time.process_time() - start
    assert table is not None
    print(
        f"{'Reference (the draw)':22s} {max(args.rows, others) / seconds:11,.0f}{'':48s}   {peak():.2f} GiB"
    )
    loss = NegClipLoss(**COLUMNS, reference="r", temperature=T)
    loss.setup({"r": stat.finish(table)}, Device())
    own, memory = through(loss, args.rows, width)
    # as many others to compare with: a row's batch of the released code counts for the rows of both sides
    other = released_loss(min(args.batch_size, BATCH), width, args.batches)
    line("negCLIPLoss", own, products(width, 2 * others), other, memory)
    with tempfile.TemporaryDirectory() as folder:
        proxies = np.random.default_rng(0).standard_normal((args.proxies, width), np.float32)
        np.save(Path(folder) / "proxies.npy", proxies.astype(np.float16))
        for p in (2, "inf"):
            norm = NormSim(image_embedding="c.image", proxy=f"{folder}/proxies.npy", p=p)
            norm.setup({}, Device())
            own, memory = through(norm, args.rows, width)
            line(
                f"NormSim p = {p}",
                own,
                products(width, args.proxies),
                released_norm(proxies, width, float(p)),
                memory,
            )


if __name__ == "__main__":
    main()

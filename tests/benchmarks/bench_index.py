"""`export.index` beside a bare FAISS build of the same index and autofaiss's choice for the size: CPU
seconds, peak memory, file size, recall@10; equal bytes with four tasks; parts against the joined file; an
index to which the last shard is added (`grow`, compare with `ours`).

    python tests/benchmarks/bench_index.py /tmp/bench --rows 1000000 --width 512
    python tests/benchmarks/bench_index.py /tmp/bench20 --rows 20000000 --width 128 --steps parts

The vectors are clustered and heavy-tailed, as CLIP's are: a cone, clusters whose sizes follow a power law,
and whose widths do. They go the real way: a pool of tables, an operator whose column is in the store, a
decision. Each step is a process of its own. CPU seconds are of all threads, so that a busy machine changes
little. `autofaiss`, no step by default, is the factory of its 2.18.
"""

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import polars as pl

from pipeline.decide.decide import decide
from pipeline.export.indexes.faiss_file import join
from pipeline.export.indexes.index_exporter import write_index
from pipeline.export.kept_vectors import KeptVectors
from pipeline.plan.index_choice import choose, shape_of
from pipeline.plan.session import Session
from pipeline.progress import watching
from pipeline.recipe.load import parse
from pipeline.run.compute import compute
from pipeline.run.executor import LITTLE, Asked, LocalExecutor

ROWS_PER_SHARD = 20_000
QUERIES = 1_000
STEPS = ("ours", "grow", "bare", "tasks", "parts")
PLUGIN = '''
import numpy as np
import polars as pl
from pipeline.operator import Score


class Made(Score):
    """Unit vectors in a cone: clusters with sizes and widths of a power law."""

    needs = ("uid",)
    width: int
    writes = {"e": pl.Array(pl.Float16, WIDTH)}

    def score(self, batch):
        fixed = np.random.default_rng(0)
        centres = fixed.standard_normal((20_000, 64), np.float32) @ fixed.standard_normal((64, self.width), np.float32)
        centres = centres / 8 + 4 * fixed.standard_normal(self.width).astype(np.float32) / 2
        widths = 0.5 * fixed.lognormal(0, 0.5, 20_000).astype(np.float32)
        draw = np.random.default_rng(int(batch["uid"][0][:15], 16))
        share = np.arange(1, 20_001) ** -0.8
        cluster = draw.choice(20_000, len(batch), p=share / share.sum())
        rows = centres[cluster] + widths[cluster, None] * draw.standard_normal((len(batch), self.width), np.float32)
        rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
        return pl.DataFrame({"e": pl.Series("e", rows, pl.Array(pl.Float16, self.width))})
'''


class FourTasks(LocalExecutor):
    """As four machines: a process for each of four tasks at a time, which end in any order."""

    def each(
        self, function: Callable[[Any], Any], items: Iterable[Any], asked: Asked = LITTLE
    ) -> Iterator[Any]:
        """See Executor."""
        with multiprocessing.get_context("spawn").Pool(4) as pool:
            yield from pool.imap_unordered(function, items)


def session(folder: Path, width: int, out: str, shards: int | None = None, **index: Any) -> Session:
    """The pool with every column, or its first shards, and an index to write."""
    (folder / "made.py").write_text(PLUGIN.replace("WIDTH", str(width)))
    recipe = {
        "name": "bench",
        "pool": {"shards": str(folder / "pool"), "store": str(folder / "store")},
        "plugins": [str(folder / "made.py")],
        "compute": {"made": {"use": "made.Made", "width": width}},
        "export": {"index": {"embedding": "made.e", "path": str(folder / out), **index}},
        "run": {"made": {"batch_size": 16_384}},
    }
    return Session.open(parse(recipe), shards)


def prepare(folder: Path, rows: int, width: int) -> None:
    """A pool of tables, its column of vectors, the decision; and the same vectors as one array."""
    (folder / "pool").mkdir(parents=True, exist_ok=True)
    for shard, start in enumerate(range(0, rows, ROWS_PER_SHARD)):
        ids = np.arange(start, min(rows, start + ROWS_PER_SHARD))
        spread = ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        uids = [f"{high:016x}{low:016x}" for high, low in zip(spread.tolist(), ids.tolist(), strict=True)]
        table = pl.DataFrame(
            {"uid": uids, "url": [f"u{n}" for n in ids], "text": [f"caption {n}" for n in ids]}
        )
        table.write_parquet(folder / "pool" / f"{shard:05d}.parquet")
    done = compute(session(folder, width, "ours"), LocalExecutor()).session
    decide(done)


def ours(
    folder: Path, rows: int, width: int, out: str = "ours", executor: Any = None, **index: Any
) -> dict[str, Any]:
    """The export."""
    told = list[tuple[str, float]]()

    def watcher(what: str, total: int | None) -> Callable[[int], None]:
        told.append((what, time.process_time()))
        return lambda count: None

    with watching(watcher):
        result = write_index(session(folder, width, out, **index), executor)
    size = sum(path.stat().st_size for path in (folder / out).glob("**/*.index"))
    ends = [*(when for _, when in told[1:]), time.process_time()]
    steps = {what: round(end - began, 1) for (what, began), end in zip(told, ends, strict=True)}
    return {
        "key": result.key,
        **result.measured,
        "qps": result.queries_per_second,
        "bytes": size,
        "steps": steps,
    }


def grow(folder: Path, rows: int, width: int) -> dict[str, Any]:
    """The last shard is added to an index of the others."""
    few = session(folder, width, "grown", -(-rows // ROWS_PER_SHARD) - 1, grow=True)
    decide(few)
    trained = write_index(few)
    began = time.process_time()
    found = ours(folder, rows, width, "grown", grow=True)
    added = rows - trained.rows
    return {**found, "added": added, "cpu of growing": round(time.process_time() - began, 1)}


def bare(folder: Path, rows: int, width: int, factory: str = "") -> dict[str, Any]:
    """FAISS alone, on vectors that lie in one file: train, add, write."""
    queries = np.load(folder / "queries.npz")
    asked, truth = queries["vectors"], queries["ids"]
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    factory = factory or choose(rows, width, 32 << 30)
    index = faiss.index_factory(width, factory, faiss.METRIC_INNER_PRODUCT)
    count = min(rows, shape_of(factory, width).training_rows or 1)
    chosen = np.sort(np.random.default_rng(0).choice(rows, count, replace=False))
    began = time.process_time()
    index.train(np.ascontiguousarray(vectors[chosen], np.float32))
    trained = time.process_time()
    for start in range(0, rows, 65_536):
        index.add(np.ascontiguousarray(vectors[start : start + 65_536], np.float32))
    added = time.process_time()
    faiss.write_index(index, str(folder / "bare.index"))
    recall = {}
    for probes in (16, 32, 64, 128) if "IVF" in factory else (0,):
        if probes:
            faiss.extract_index_ivf(index).nprobe = probes
        found = index.search(asked, 11)[1]
        recall[probes] = round(
            np.mean([len(set(a) & set(b)) / 11 for a, b in zip(found, truth, strict=True)]), 4
        )
    steps = {"train": round(trained - began, 1), "add": round(added - trained, 1)}
    return {
        "key": factory,
        "recall@11 by probes": recall,
        "bytes": os.path.getsize(folder / "bare.index"),
        "steps": steps,
        "build": round(time.process_time() if not recall else added - began, 1),
    }


def dump(folder: Path, rows: int, width: int) -> dict[str, Any]:
    """The vectors as one array, for `bare`, and its queries with their exact nearest."""
    made = session(folder, width, "ours")
    vectors = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float16, (rows, width))
    place = 0
    for batch, _ in KeptVectors.of(made, "made.e").with_names("uid"):
        vectors[place : place + len(batch)] = batch
        place += len(batch)
    rng = np.random.default_rng(1)
    asked = np.ascontiguousarray(vectors[np.sort(rng.choice(rows, QUERIES, replace=False))], np.float32)
    heap = faiss.ResultHeap(QUERIES, 11, keep_max=True)
    for start in range(0, rows, 65_536):
        block = np.ascontiguousarray(vectors[start : start + 65_536], np.float32)
        scores, ids = faiss.knn(asked, block, 11, metric=faiss.METRIC_INNER_PRODUCT)
        heap.add_result(scores, ids + start)
    heap.finalize()
    np.savez(folder / "queries.npz", vectors=asked, ids=heap.I)
    return {}


def parts(folder: Path, rows: int, width: int) -> dict[str, Any]:
    """The index left in parts, for want of memory; then joined into one file, which must give the same
    answers."""
    built = ours(folder, rows, width, "parts", factory=choose(rows, width, 32 << 30), memory=1e-3)
    about = json.loads((folder / "parts" / "image.json").read_bytes())
    if "parts" not in about:
        return {**built, "parts": 1}
    files = {str(folder / "parts" / part["index"]): part["rows"] for part in about["parts"]}
    began = time.process_time()
    head = faiss.read_index(next(iter(files)))
    head.reset()
    with open(joined := folder / "parts" / "joined.index", "wb") as file:
        join(head, files, file.write)
    joining = round(time.process_time() - began, 1)
    rng = np.random.default_rng(2)
    asked = rng.standard_normal((500, width), np.float32)
    asked /= np.linalg.norm(asked, axis=1, keepdims=True)
    heap, first, probes = faiss.ResultHeap(500, 10, keep_max=True), 0, about["measured"]["probes"]
    for path, count in files.items():
        index = faiss.read_index(path)
        faiss.extract_index_ivf(index).nprobe = probes
        scores, ids = index.search(asked, 10)
        heap.add_result(scores, np.where(ids < 0, ids, ids + first))
        first += count
    heap.finalize()
    whole = faiss.read_index(str(joined))
    faiss.extract_index_ivf(whole).nprobe = probes
    expected, wanted = whole.search(asked, 10)
    return {
        **built,
        "parts": len(files),
        "joining": joining,
        "joined bytes": joined.stat().st_size,
        "equal scores": bool((expected == heap.D).all()),
        "equal ids": round(float((wanted == heap.I).mean()), 6),
    }


def tasks(folder: Path, rows: int, width: int) -> dict[str, Any]:
    """Four tasks at a time: the bytes of one after the other."""
    result = ours(folder, rows, width, "tasks", FourTasks())
    names = [path.relative_to(folder / "ours") for path in (folder / "ours").rglob("*") if path.is_file()]
    equal = all(
        (folder / "ours" / name).read_bytes() == (folder / "tasks" / name).read_bytes()
        for name in names
        if not name.name.startswith(".")
    )
    return {**result, "equal bytes": equal, "peak of a task, MB": peak(resource.RUSAGE_CHILDREN)}


def autofaiss(folder: Path, rows: int, width: int) -> dict[str, Any]:
    """autofaiss's choice: HNSW with as many links as fit its 16 GB, 32 at most."""
    links = min(32, int((16e9 / (4 * rows) - width) // 2))
    return bare(folder, rows, width, f"HNSW{links}" if links >= 8 else choose(rows, width, 16e9))


def peak(who: int = resource.RUSAGE_SELF) -> int:
    """The most memory that was resident, in MB."""
    return resource.getrusage(who).ru_maxrss // 1000


def alone(step: str, folder: Path, rows: int, width: int) -> None:
    """One step, in this process: prints what it found."""
    began, clock = time.process_time(), time.perf_counter()
    found = globals()[step](folder, rows, width) or {}
    cpu = time.process_time() - began + sum(os.times()[2:4])
    took = round(time.perf_counter() - clock, 1)
    print(json.dumps({"CPU seconds": round(cpu, 1), "seconds": took, "peak, MB": peak(), **found}))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, nargs="?", help="what is made here is used again")
    for name, default in (("rows", 200_000), ("width", 64)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--steps", default=",".join(STEPS))
    parser.add_argument("--alone", help="one step, in this process")
    options = parser.parse_args()
    if options.alone:
        alone(options.alone, options.folder, options.rows, options.width)
        return
    with tempfile.TemporaryDirectory(prefix="bench_index") as temporary:
        steps(options.folder or Path(temporary), options.rows, options.width, options.steps.split(","))


def steps(folder: Path, rows: int, width: int, names: Sequence[str]) -> None:
    """Each step in a process of its own, and what it found."""
    made = {"prepare": "store/decisions", "dump": "queries.npz"}
    first = [step for step, file in made.items() if not (folder / file).exists()]
    print(f"{rows:,} vectors of {width} numbers")
    for step in [*first, *names]:
        command = [sys.executable, __file__, str(folder), "--rows", str(rows), "--width", str(width)]
        done = subprocess.run([*command, "--alone", step], stdout=subprocess.PIPE, check=True)
        print(f"{step}, load {os.getloadavg()[0]:.1f}")
        for name, value in json.loads(done.stdout).items():
            print(f"    {name}: {value}".replace("'", "").replace("{", "").replace("}", ""), flush=True)


if __name__ == "__main__":
    main()

"""DataComp small from its metadata: `clip_score --fraction 0.3` from nothing to subset.npy, a second
threshold after it, and a six-rule recipe, beside the plain pandas and numpy way of DataComp's own scripts, on
the same files.

    python tests/benchmarks/bench_datacomp.py [--rows 12800000] [--folder DIR] [--captions FILE]

The pool is made here: parquet of captions, sizes, scores and uids, 500,000 rows a file; no npz, which none of
this reads. The plain way is `baselines/apply_filter.py` in its own steps, a worker per core: every score in
memory, a sort, then uids by file; it remembers nothing, so its second threshold costs what its first does.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from jobs.datacomp.pool import Plan, make_pool, read_captions

WORDS = [
    "photo",
    "of",
    "a",
    "red",
    "dog",
    "on",
    "the",
    "beach",
    "with",
    "two",
    "friends",
    "and",
    "an",
    "old",
    "car",
]
RECIPE = """
pool: {{datacomp: {folder}/metadata, store: {folder}/store}}
compute:
  facts: {{use: datacomp.Facts}}
keep:
{rules}
"""
ONE = "  clip_score: {column: datacomp.l14_score, top: 0.3, ties: datacomp}"
SIX = f"""{ONE}
  datacomp.b32_score: {{min: 0.2}}
  facts.words: {{min: 3}}
  facts.characters: {{min: 6}}
  facts.side: {{min: 200}}
  facts.aspect: {{max: 3}}"""
PLAIN = """
import sys, time
from functools import partial
from multiprocessing import Pool
from pathlib import Path
import numpy as np, pandas as pd
KEY = "clip_l14_similarity_score"
def uids(path, threshold, six):
    columns = ["uid", KEY] + (["text", "original_width", "original_height", "clip_b32_similarity_score"] if six else [])
    df = pd.read_parquet(path, columns=columns)
    keep = df[KEY] >= threshold
    if six:
        low = np.minimum(df.original_width, df.original_height)
        keep &= (df.clip_b32_similarity_score >= 0.2) & (low >= 200)
        keep &= np.maximum(df.original_width, df.original_height) / low <= 3.0
        keep &= (df.text.apply(lambda x: len(x.split())) >= 3) & (df.text.apply(len) >= 6)
    return np.array([(int(u[:16], 16), int(u[16:32], 16)) for u in df[keep]["uid"].values], np.dtype("u8,u8"))
if __name__ == "__main__":
    folder, fraction, six, workers = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3] == "six", int(sys.argv[4])
    paths = sorted((folder / "metadata").glob("*.parquet"))
    with Pool(workers) as pool:
        scores = pd.concat(pool.map(partial(pd.read_parquet, columns=[KEY]), paths))[KEY].values
        threshold = -np.sort(-scores)[int(len(scores) * fraction)]
        found = np.concatenate(pool.map(partial(uids, threshold=threshold, six=six), paths))
    found.sort()
    np.save(folder / "plain.npy", found)
"""
PEAK = """
import os, sys, resource, subprocess, threading, time
import psutil
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
peak = 0
def watch():
    global peak
    while child.poll() is None:
        try:
            of = [psutil.Process(child.pid), *psutil.Process(child.pid).children(recursive=True)]
            peak = max(peak, sum(p.memory_info().rss for p in of))
        except psutil.Error:
            pass
        time.sleep(0.05)
watcher = threading.Thread(target=watch); watcher.start()
errors = child.stderr.read(); child.wait(); watcher.join()
if child.returncode: sys.exit(errors.decode())
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(peak / 2**30, used.ru_utime + used.ru_stime)
"""


def timed(label: str, *command: str) -> float:
    """Run a command; print its seconds, CPU seconds, and the peak memory of it and its workers together."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", PEAK, *command], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"{label}: {done.stderr}")
    peak, cpu = map(float, done.stdout.split())
    print(f"{label:52s} {seconds:7.1f} s   CPU {cpu:7.1f} s   peak {peak:5.2f} GiB", flush=True)
    return seconds


def same(folder: Path) -> None:
    """Both ways have the same bytes."""
    ours, theirs = (folder / name for name in ("subset.npy", "plain.npy"))
    if ours.read_bytes() != theirs.read_bytes():
        sys.exit(f"{ours} and {theirs} differ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=12_800_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--captions", type=Path, help="a caption a line; by default words at random")
    args = parser.parse_args()
    folder, workers = args.folder or Path(tempfile.mkdtemp(prefix="bench_datacomp")), os.cpu_count() or 1
    rng = np.random.default_rng(0)
    captions = (
        read_captions(args.captions)
        if args.captions
        else [" ".join(rng.choice(WORDS, rng.integers(1, 20))) for _ in range(50_000)]
    )
    print(f"{platform.processor() or platform.machine()}, {workers} cores, {args.rows:,} rows", flush=True)
    start = time.perf_counter()
    if not (folder / "metadata").exists():
        make_pool(Plan(folder / "metadata", args.rows), captions, workers)
    size = sum(path.stat().st_size for path in (folder / "metadata").iterdir())
    print(f"pool of {size / 2**30:.1f} GiB made in {time.perf_counter() - start:.0f} s", flush=True)
    for name, rules in (("one", ONE), ("six", SIX)):
        text = RECIPE.format(folder=folder, rules=rules)
        (folder / f"{name}.yaml").write_text(
            text if name == "six" else text.replace("  facts: {use: datacomp.Facts}", "")
        )
    (folder / "plain.py").write_text(PLAIN)
    try:
        compare(folder, str(workers))
    finally:
        if not args.folder:
            shutil.rmtree(folder)


def compare(folder: Path, workers: str) -> None:
    """Every figure, on the pool that is there; the first reading of the files goes to neither."""
    for path in (folder / "metadata").iterdir():
        path.read_bytes()
    shutil.rmtree(folder / "store", ignore_errors=True)
    winnow, plain = (sys.executable, "-m", "jobs"), (sys.executable, str(folder / "plain.py"), str(folder))
    subset, one, six = ["--subset", f"{folder}/subset.npy"], f"{folder}/one.yaml", f"{folder}/six.yaml"
    ratios = []
    for share in ("0.3", "0.2"):
        which = "from nothing" if share == "0.3" else "second idea"
        ours = timed(
            f"winnow keep, clip_score {share}, {which}",
            *winnow,
            "keep",
            one,
            *subset,
            "--set",
            f"keep.clip_score.top={share}",
        )
        theirs = timed(f"pandas and numpy, clip_score {share}", *plain, share, "one", workers)
        same(folder)
        ratios.append((which, theirs / ours))
    timed("winnow compute, captions and frames, once", *winnow, "compute", six, "--local")
    ours = timed("winnow keep, six rules", *winnow, "keep", six, *subset, "--overlap")
    theirs = timed("pandas and numpy, six rules", *plain, "0.3", "six", workers)
    same(folder)
    ratios.append(("six rules", theirs / ours))
    uid = pl.read_parquet(sorted((folder / "metadata").glob("*.parquet"))[-1], columns=["uid"])["uid"][-1]
    timed("winnow explain UID", *winnow, "explain", six, uid)
    for which, ratio in ratios:
        print(f"{which}: winnow is {ratio:.1f} x as fast as pandas and numpy")


if __name__ == "__main__":
    main()

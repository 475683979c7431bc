"""Subset files of a pool of 12.8 million samples (DataComp small): `and` of two, overlap of three, and
looking samples up, side by side with numpy's way on the whole arrays; CPU seconds and peak memory.

    python tests/benchmarks/bench_subset.py [--rows 12800000]

Peak memory counts the mapped files, which the kernel takes back when it needs to.
"""

import argparse
import platform
import subprocess
import sys
import tempfile

import numpy as np

WINNOW = "from pipeline.export.subset_algebra import combine, describe; "
TASKS = {
    "and of two, winnow": WINNOW + "print(combine([{a!r}, {b!r}], 'and', {out!r}).rows, end=' ')",
    "and of two, numpy": "import numpy as np; o = np.intersect1d(np.load({a!r}), np.load({b!r})); "
    "np.save({out!r}, o); print(len(o), end=' ')",
    "overlap of three, winnow": WINNOW + "print(describe([{a!r}, {b!r}, {c!r}]).overlap[0][2], end=' ')",
    "100,000 uids, winnow": """
import numpy as np, polars as pl; from operators.subset import Copies; from pipeline.operator import Device
rows = np.load({a!r}, mmap_mode="r")[np.random.default_rng(0).integers(0, 7_000_000, 100_000) % {rows} // 2]
uids = [f"{{a:016x}}{{b:016x}}" for a, b in rows.tolist()]
made = Copies(file={a!r}); made.setup({{}}, Device()); start = time.process_time()
frames = [made.score(pl.DataFrame({{"uid": uids[i : i + 8192]}})) for i in range(0, len(uids), 8192)]
print(sum(int(f["copies"].sum()) for f in frames), end=" ")
""",
}


def run(label: str, code: str) -> float:
    """Run code in a process of its own; print its CPU seconds and peak memory."""
    before = "import time, resource; start = time.process_time()\n"
    after = "\nprint(time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)"
    done = subprocess.run(
        [sys.executable, "-c", before + code + after], capture_output=True, text=True, check=True
    )
    found, seconds, peak = done.stdout.split()
    print(f"{label:26s} {float(seconds):7.2f} s   peak {float(peak):5.2f} GiB   {int(found):,}", flush=True)
    return float(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=12_800_000)
    rows = parser.parse_args().rows
    pool = np.random.default_rng(0).integers(0, 2**64, (rows, 2), np.uint64)
    pool = pool[np.argsort(pool[:, 0])]
    print(f"{platform.processor() or platform.machine()}, a pool of {rows:,}, each file has 60 % of it")
    print("CPU seconds, peak memory, rows found")
    with tempfile.TemporaryDirectory() as folder:
        for seed, name in enumerate("abc"):
            chosen = pool[np.random.default_rng(seed).random(rows) < 0.6]
            np.save(f"{folder}/{name}.npy", np.ascontiguousarray(chosen).view("u8,u8")[:, 0])
        names = {name: f"{folder}/{name}.npy" for name in ("a", "b", "c", "out")}
        seconds = {label: run(label, code.format(rows=rows, **names)) for label, code in TASKS.items()}
    print(
        f"winnow takes {seconds['and of two, winnow'] / seconds['and of two, numpy']:.3f} x the seconds of numpy"
    )


if __name__ == "__main__":
    main()

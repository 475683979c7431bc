"""`winnow report` on a DataComp pool of 12.8 million rows with six rules: seconds, CPU seconds, the peak
memory of the process, and the size of the page. Then the same pool's first tenth, whose memory should be
about as large: it does not grow with the pool. Then `columns`, `gallery` and `compare`, the last by rows and
by uids: the second pool has the same files under other names.

    python tests/benchmarks/bench_report.py [--rows 12800000] [--folder DIR]

The pool is that of bench_datacomp.py, which also says what else its folder holds. Nothing else makes such a
page from a pool; for a sense of scale the plain way is timed too: pandas, every column in memory, the counts
of one rule at a hundred bounds with the other rules as they are.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from bench_datacomp import RECIPE, SIX, WORDS, timed

from jobs.datacomp.pool import Plan, make_pool

PLAIN = """
import sys
from pathlib import Path
import numpy as np, pandas as pd
paths = sorted((Path(sys.argv[1]) / "metadata").glob("*.parquet"))
names = ["text", "original_width", "original_height", "clip_l14_similarity_score", "clip_b32_similarity_score"]
df = pd.concat([pd.read_parquet(path, columns=names) for path in paths])
low = np.minimum(df.original_width, df.original_height)
words = df.text.apply(lambda text: len(text.split()))
others = (df.clip_b32_similarity_score >= 0.2) & (low >= 200) & (words >= 3) & (df.text.apply(len) >= 6)
others &= np.maximum(df.original_width, df.original_height) / low <= 3
score = df.clip_l14_similarity_score
for share in np.linspace(0.01, 1, 100):
    passes = score >= score.quantile(1 - share)
    passes.sum(), (passes & others).sum()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=12_800_000)
    parser.add_argument("--folder", type=Path, help="keep the pool and the store here, and use them again")
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp(prefix="bench_report"))
    cores = os.cpu_count() or 1
    print(f"{platform.processor() or platform.machine()}, {cores} cores, {args.rows:,} rows", flush=True)
    try:
        prepare(folder, args.rows, cores)
        measure(folder)
    finally:
        if not args.folder:
            shutil.rmtree(folder)


def prepare(folder: Path, rows: int, cores: int) -> None:
    """The pool, its columns and the decision."""
    rng = np.random.default_rng(0)
    captions = [" ".join(rng.choice(WORDS, rng.integers(1, 20))) for _ in range(50_000)]
    make_pool(Plan(folder / "metadata", rows), captions, cores)
    (folder / "other/metadata").mkdir(parents=True, exist_ok=True)
    for path in (folder / "metadata").glob("*.parquet"):
        (folder / "other/metadata" / f"other-{path.name}").unlink(missing_ok=True)
        (folder / "other/metadata" / f"other-{path.name}").hardlink_to(path)
    for place in (folder, folder / "other"):
        (place / "six.yaml").write_text(RECIPE.format(folder=place, rules=SIX))
        for command in (["compute", "--local"], ["keep"]):
            words = [sys.executable, "-m", "jobs", command[0], f"{place}/six.yaml", *command[1:]]
            subprocess.run(words, check=True, capture_output=True)


def measure(folder: Path) -> None:
    """Every figure; the first reading of the files counts for nothing."""
    for path in (folder / "metadata").iterdir():
        path.read_bytes()
    winnow, page = (sys.executable, "-m", "jobs", "report", f"{folder}/six.yaml"), folder / "report.html"
    tenth = max(1, len(list((folder / "metadata").glob("*.parquet"))) // 10)
    timed("winnow report", *winnow, "--out", str(page))
    print(f"{'the page':52s} {page.stat().st_size / 1e6:7.1f} MB")
    timed("winnow report, a tenth of the pool", *winnow, "--shards", str(tenth), "--out", str(page))
    measure_others(folder)
    (folder / "plain_report.py").write_text(PLAIN)
    timed("pandas, one slider of six", sys.executable, str(folder / "plain_report.py"), str(folder))


def measure_others(folder: Path) -> None:
    """The other commands that look closer."""
    recipe, python = f"{folder}/six.yaml", (sys.executable, "-m", "jobs")
    timed("winnow columns", *python, "columns", recipe)
    timed("winnow columns, one of them", *python, "columns", recipe, "datacomp.l14_score")
    where = ("--where", "dropped only by clip_score and facts.words < 5", "--sort", "datacomp.l14_score")
    timed("winnow gallery, 60 of them", *python, "gallery", recipe, *where, "--out", f"{folder}/gallery.html")
    page = ("--out", f"{folder}/compare.html")
    other = ("--set", "keep.clip_score.top=0.2")
    timed("winnow compare, by shard and row", *python, "compare", recipe, *other, *page)
    timed("winnow compare, by uid", *python, "compare", recipe, f"{folder}/other/six.yaml", *page)


if __name__ == "__main__":
    main()

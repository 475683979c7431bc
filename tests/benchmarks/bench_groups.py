"""Exact duplicates in 12.8 million rows, end to end: from parquet to the size of each row's group and its
rank in it, published. Keys have 16 bytes; a twentieth of the rows repeat another row's, and one key has
500,000 rows. Then ten times as many rows, with the same bound on memory.

    python tests/benchmarks/bench_groups.py [--rows 12800000] [--ten] [--folder DIR]
    python tests/benchmarks/bench_groups.py --ray [--rows 2000000] [--hot 0.5]

Beside it, on the same files: polars with all rows in memory, and DuckDB (pip install duckdb) with a limit of
1 GB, both with window functions that do the same. The bound below all of them is reading the files: it is
timed, too.

With --ray: the Group's pass alone, on Ray, beside Ray Data's hash shuffle of the same rows: `groupby` with
`map_groups`, which calls a function for each key, and `repartition` by key with one window function for each
partition. --hot is the share of the rows that have one key. A way that takes longer than --patience seconds
is stopped.
"""

import argparse
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
from bench_datacomp import timed

SHARD = 100_000  # rows
HOT = 500_000 / 12_800_000  # of the rows have one key
REPEATED = 0.05  # of the rows have the key of another
LETTERS = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", dtype="S1")

READ = "import polars as pl, sys; pl.read_parquet(sys.argv[1] + '/pool/*.parquet')"

POLARS = """
import polars as pl, sys
frame = pl.read_parquet(sys.argv[1] + "/pool/*.parquet")
frame.select(
    "uid",
    size=pl.len().over("text"),
    rank=pl.col("uid").rank("ordinal").over("text"),
).write_parquet(sys.argv[1] + "/polars.parquet")
"""

DUCKDB = """
import duckdb, sys
connection = duckdb.connect()
connection.execute(f"SET memory_limit = '1GB'; SET temp_directory = '{sys.argv[1]}/duckdb'")
connection.execute(
    f"COPY (SELECT uid, count(*) OVER (PARTITION BY text) AS size, row_number() OVER (PARTITION BY text"
    f" ORDER BY uid) AS rank FROM read_parquet('{sys.argv[1]}/pool/*.parquet'))"
    f" TO '{sys.argv[1]}/duckdb.parquet'"
)
"""

RAY = """
import ray, sys
ray.init(num_cpus={cpus}, include_dashboard=False, log_to_driver=False)
data = ray.data.read_parquet(sys.argv[1] + "/pool", columns=["uid", "text"])
"""

MAP_GROUPS = """
import numpy as np, pyarrow as pa, pyarrow.compute as pc

def ranked(rows):
    ranks = np.empty(len(rows), np.uint32)
    ranks[pc.sort_indices(rows["uid"]).to_numpy()] = np.arange(1, len(rows) + 1)
    sizes = np.full(len(rows), len(rows), np.uint64)
    return pa.table({"uid": rows["uid"], "size": sizes, "rank": ranks})

groups = data.groupby("text", num_partitions=16)
groups.map_groups(ranked, batch_format="pyarrow").write_parquet(sys.argv[1] + "/ray")
"""

REPARTITION = """
import polars as pl

def ranked(rows):
    size, rank = pl.len().over("text"), pl.col("uid").rank("ordinal").over("text")
    return pl.DataFrame(rows).select("uid", size=size, rank=rank).to_arrow()

parts = data.repartition(16, keys=["text"])
parts.map_batches(ranked, batch_size=None, batch_format="pyarrow").write_parquet(sys.argv[1] + "/ray")
"""

RECIPE = """
name: groups
pool: {{shards: {folder}/pool, store: {folder}/store}}
compute:
  copies: {{use: duplicates.Exact, key: text}}
keep:
  copies.rank: {{max: 1}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=12_800_000)
    parser.add_argument("--ray", action="store_true", help="beside Ray Data's shuffle, on Ray")
    parser.add_argument("--hot", type=float, default=HOT, help="share of the rows that have one key")
    parser.add_argument("--patience", type=int, default=300, help="seconds of each of Ray Data's ways")
    parser.add_argument("--ten", action="store_true", help="ten times as many rows, too")
    parser.add_argument("--folder", type=Path, help="keep the pool here, and use it again")
    args = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores", flush=True)
    folder = args.folder or Path(tempfile.mkdtemp(prefix="bench_groups"))
    try:
        for rows in (args.rows, *([10 * args.rows] if args.ten else [])):
            print(f"{rows:,} rows", flush=True)
            if not (folder / str(rows) / "pool").exists():
                make_pool(folder / str(rows) / "pool", rows, args.hot)
            if args.ray:
                measure_on_ray(folder / str(rows), args.patience)
            else:
                measure(folder / str(rows), peers=rows == args.rows)
    finally:
        if not args.folder:
            shutil.rmtree(folder)


def measure(folder: Path, peers: bool) -> None:
    """Every figure of one pool."""
    (folder / "recipe.yaml").write_text(RECIPE.format(folder=folder))
    timed("polars, reading the files", sys.executable, "-c", READ, str(folder))
    shutil.rmtree(folder / "store", ignore_errors=True)
    recipe = str(folder / "recipe.yaml")
    timed("winnow compute --local", sys.executable, "-m", "jobs", "compute", recipe, "--local")
    timed("winnow keep", sys.executable, "-m", "jobs", "keep", recipe)
    if peers:
        timed("polars, all rows in memory", sys.executable, "-c", POLARS, str(folder))
        if importlib.util.find_spec("duckdb"):
            timed("DuckDB, 1 GB", sys.executable, "-c", DUCKDB, str(folder))
        else:
            print("DuckDB is not installed")


def measure_on_ray(folder: Path, patience: int) -> None:
    """The Group's pass on Ray, whose samples are stored already, and Ray Data's ways."""
    (folder / "recipe.yaml").write_text(RECIPE.format(folder=folder))
    recipe = str(folder / "recipe.yaml")
    shutil.rmtree(folder / "store", ignore_errors=True)
    timed(
        "winnow compute --local, reading included", sys.executable, "-m", "jobs", "compute", recipe, "--local"
    )
    for columns in (folder / "store" / "columns").iterdir():
        shutil.rmtree(columns)
    timed("winnow compute, the Group alone, Ray", sys.executable, "-m", "jobs", "compute", recipe)
    start = RAY.format(cpus=os.cpu_count())
    for label, way in (("repartition, map_batches", REPARTITION), ("groupby, map_groups", MAP_GROUPS)):
        shutil.rmtree(folder / "ray", ignore_errors=True)
        command = (sys.executable, "-c", start + way, str(folder))
        try:
            timed(f"Ray Data, {label}", "timeout", str(patience), *command)
        except SystemExit as error:
            print(
                f"Ray Data, {label}: stopped after {patience} s, or failed: {str(error)[-300:]}", flush=True
            )


def make_pool(folder: Path, rows: int, share: float) -> None:
    """Parquet files of uid and text; which rows share a text is drawn with a seed. `share` of the rows have
    one."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    ids = np.arange(rows, dtype=np.uint64)
    order = rng.permutation(rows)
    hot, repeated = int(rows * share), int(rows * REPEATED)
    ids[order[:hot]] = np.uint64(rows)
    ids[order[hot : hot + repeated]] = ids[order[hot + repeated : hot + 2 * repeated]]
    for start in range(0, rows, SHARD):
        count = min(SHARD, rows - start)
        digits = rng.bytes(16 * count).hex()
        uids = [digits[at : at + 32] for at in range(0, len(digits), 32)]
        texts = keys(ids[start : start + count])
        pl.DataFrame({"uid": uids, "text": texts}).write_parquet(folder / f"{start // SHARD:06}.parquet")


def keys(ids: np.ndarray) -> list[str]:
    """(n,) numbers -> n texts of 16 letters, different for different numbers."""
    first = ids * np.uint64(0x9E3779B97F4A7C15)
    second = (first ^ (first >> np.uint64(31))) * np.uint64(0xBF58476D1CE4E5B9)
    letters = [
        LETTERS[((half >> np.uint64(6 * place)) & np.uint64(63)).astype(int)]
        for half in (ids, second)
        for place in range(8)
    ]
    return np.stack(letters, 1).reshape(-1).view("S16").astype(str).tolist()


if __name__ == "__main__":
    main()

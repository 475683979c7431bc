"""`keep` on 12.8 million rows (DataComp small) with six rules: seconds and peak memory, side by side with the
plain pandas way (one table in memory, quantile, boolean masks), on the same files.

    python tests/benchmarks/bench_keep.py [--rows 12800000] [--folder DIR]
"""

import argparse
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import polars as pl

from pipeline.plan.session import Session
from pipeline.recipe.load import parse
from pipeline.recipe.sections import Recipe
from pipeline.storage.identity import local_state

PER_SHARD = 10_000


def recipe(folder: Path, shards: int) -> Recipe:
    """Six rules: a share, three bounds, a set, a draw."""
    model = Path(__file__).parents[2] / "jobs" / "toy" / "models" / "scene_clip"
    return parse(
        {
            "pool": {"shards": f"{folder}/pool/{{00000..{shards - 1:05d}}}.tar", "store": f"{folder}/store"},
            "compute": {
                "caption": {"use": "caption.Caption"},
                "clip": {
                    "use": "clip.ClipScore",
                    "model": f"{model}.json",
                    "pretrained": f"{model}.safetensors",
                },
            },
            "keep": {
                "clip.score": {"top": 0.3},
                "caption.words": {"min": 3},
                "caption.side": {"min": 200},
                "caption.aspect": {"max": 3},
                "caption.language": {"among": ["en"]},
                "caption.language_probability": {"chance": True, "seed": 0},
            },
        }
    )


def make_shard(session: Session, shard: str) -> None:
    """Published parts of one shard, as compute would leave them (embeddings aside: keep never reads them)."""
    rng = np.random.default_rng(int(shard))
    n = PER_SHARD
    uids = [rng.bytes(16).hex() for _ in range(n)]
    width, height = rng.integers(60, 1200, n), rng.integers(60, 1200, n)
    place = {"shard": pl.Series([shard] * n), "row": pl.Series(range(n), dtype=pl.UInt32)}
    none = pl.Series([None] * n, dtype=pl.String)
    samples = {**place, "uid": uids, "width": width, "height": height}
    side = np.minimum(width, height)
    caption = {
        "caption.characters": rng.integers(5, 200, n),
        "caption.words": rng.integers(1, 30, n),
        "caption.language": rng.choice(["en", "de", "fr", "zh"], n, p=[0.5, 0.2, 0.2, 0.1]),
        "caption.language_probability": rng.random(n, np.float32),
        "caption.side": side,
        "caption.aspect": (np.maximum(width, height) / side).astype(np.float32),
        "caption.error": none,
    }
    score = pl.Series(rng.normal(0.22, 0.07, n).astype(np.float32))
    bad = pl.Series(rng.random(n) < 0.01)
    clip = pl.DataFrame({**place, "clip.score": score}).with_columns(
        pl.when(~bad).then(pl.col("clip.score")).alias("clip.score"),
        pl.when(bad).then(pl.lit("image cannot be decoded: broken")).alias("clip.error"),
    )
    tar = Path(session.recipe.pool.folder).parent / "pool" / f"{shard}.tar"  # keep looks at its state only
    tar.write_bytes(bytes(1024))
    notes = {"content": f"content of {shard}"}
    state = {"state": local_state(tar.stat())}
    session.store.write(f"samples/{shard}.parquet", pl.DataFrame(samples), notes | state)
    captions = pl.DataFrame({**place, **caption})
    session.store.write(f"{session.folder('caption')}/{shard}.parquet", captions, notes)
    session.store.write(f"{session.folder('clip')}/{shard}.parquet", clip, notes)


KEEP = """
import sys, time; from pathlib import Path
sys.path.insert(0, {here!r})
from bench_keep import recipe; from pipeline.plan.session import Session; from pipeline.decide.decide import decide
from pipeline.plan.stored import complete
start = time.perf_counter()
session = complete(Session.open(recipe(Path({folder!r}), {shards})))
planned = time.perf_counter() - start
print(decide(session).kept, f"(listing {{planned:.1f}} s)", end=" ")
"""
PANDAS = """
import glob
import numpy as np, pandas as pd
def table(name, columns):
    files = sorted(glob.glob({folder!r} + "/store/" + name + "/*.parquet"))
    return pd.concat([pd.read_parquet(f, columns=["%s." % o + c if o else c for c in columns]) for f in files
                      for o in [name.split("/")[-1].split("-")[0] if "/" in name else ""]], ignore_index=True)
c = table("columns/caption-*", ["words", "side", "aspect", "language", "language_probability"])
s = table("columns/clip-*", ["score"])["clip.score"]
u = table("samples", ["uid"])["uid"]
cut = np.sort(s.dropna().to_numpy())[::-1][int(np.ceil(0.3 * s.notna().sum())) - 1]
keep = (s >= cut) & (c["caption.words"] >= 3) & (c["caption.side"] >= 200) & (c["caption.aspect"] <= 3)
keep &= (c["caption.language"] == "en") & (np.random.default_rng(0).random(len(c)) < c["caption.language_probability"])
pd.DataFrame({{"uid": u, "keep": keep}}).to_parquet({folder!r} + "/pandas.parquet")
print(int(keep.sum()), end=" ")
"""


def timed(label: str, code: str) -> float:
    """Run code in a process of its own; print seconds and its peak memory."""
    start = time.perf_counter()
    watched = (
        "import resource\n" + code + "\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)"
    )
    done = subprocess.run([sys.executable, "-c", watched], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - start
    *words, peak = done.stdout.split()
    print(f"{label:28s} {seconds:7.1f} s   peak {float(peak):5.2f} GiB   kept {' '.join(words)}", flush=True)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=12_800_000)
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp(prefix="bench_keep"))
    shards = -(-args.rows // PER_SHARD)
    (folder / "pool").mkdir(parents=True)
    session = Session.open(recipe(folder, shards))
    print(
        f"{platform.processor() or platform.machine()}, {shards * PER_SHARD:,} rows in {shards:,} shards",
        flush=True,
    )
    start = time.perf_counter()
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:  # polars has threads: no fork
        list(pool.map(partial(make_shard, session), [s.name for s in session.shards], chunksize=16))
    print(f"store made in {time.perf_counter() - start:.0f} s", flush=True)
    values = {"here": str(Path(__file__).parent), "folder": str(folder), "shards": shards}
    try:
        first = timed("winnow keep, six rules", KEEP.format(**values))
        timed("winnow keep, asked again", KEEP.format(**values))
        other = timed("pandas, one table in memory", PANDAS.format(**values))
        print(f"winnow takes {first / other:.2f} x the seconds of pandas")
    finally:
        if not args.folder:
            shutil.rmtree(folder)
    print(f"own peak {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()

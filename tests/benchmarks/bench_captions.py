"""Real captions without pictures: seconds of a pass over them in the plain loop and on Ray, each a command in
a process of its own, as a user types it.

    python tests/benchmarks/bench_captions.py [--captions 18643] [--shards 19] [--rounds 1]
"""

import argparse
import gzip
import os
import platform
import tempfile
from pathlib import Path

import polars as pl
import yaml
from bench_many import timed

CAPTIONS = Path(__file__).parents[3] / "shared" / "data" / "captions.tsv.gz"


def make_pool(folder: Path, captions: int, shards: int) -> None:
    """Tables of captions, drawn from all of the file by their place."""
    with gzip.open(CAPTIONS, "rt", encoding="utf-8", newline="\n") as file:
        texts = [line.rstrip("\n").split("\t", 2)[2] for line in file]
    drawn = texts[:: max(1, len(texts) // captions)][:captions]
    folder.mkdir()
    rows = pl.DataFrame({"uid": [f"{n:032x}" for n in range(len(drawn))], "text": drawn})
    rows = rows.with_columns(url=pl.format("https://example.org/{}.jpg", pl.col("uid")))
    each = -(-len(drawn) // shards)
    for number in range(shards):
        rows.slice(number * each, each).write_parquet(folder / f"{number:05d}.parquet")


def make_recipe(folder: Path) -> Path:
    """The operators that read captions alone: counts, words, and entries."""
    data = {
        "pool": {"shards": f"{folder}/pool/*.parquet", "store": f"{folder}/store"},
        "compute": {
            "caption": {"use": "caption.Caption"},
            "words": {"use": "wfpp.WordFrequency"},
            "wfpp": {"use": "wfpp.WordFrequencyScore", "frequency": "words"},
            "entries": {"use": "metaclip.EntryMatch"},
            "counts": {"use": "metaclip.EntryCount", "entries": "entries.ids"},
            "balance": {
                "use": "metaclip.BalanceProbability",
                "entries": "entries.ids",
                "counts": "counts",
                "t": 50,
            },
        },
    }
    path = folder / "captions.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--captions", type=int, default=18_643)
    parser.add_argument("--shards", type=int, default=19)
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench_captions") as temporary:
        folder = Path(temporary)
        make_pool(folder / "pool", args.captions, args.shards)
        recipe = make_recipe(folder)
        machine = f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
        print(f"{machine}; {args.captions:,} captions in {args.shards} shards")
        for number in range(args.rounds):
            for way, words in {"compute --local": ["--local"], "compute, Ray if it takes long": []}.items():
                store = f"pool.store={folder}/{number}{len(words)}"
                timed(way, args.shards, "compute", recipe, *words, "--set", store)


if __name__ == "__main__":
    main()

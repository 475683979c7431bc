"""MetaCLIP and WFPP over a large pool of captions, beside the ways that are published.

    python tests/benchmarks/bench_corpus.py [--captions 20000000] [--entries 500000] [--data ../shared/data]

Real captions are cut in two and put together anew, so that words keep their frequencies and few captions
repeat; entries are WordNet's lemmas and the captions' own words and pairs of words. Winnow runs as a job on
Ray, all cores; the others run on one core over a part of the same captions: MetaCLIP's substr_matching (a
loop over pyahocorasick) and a count of words with open_clip's own cleaning and a Counter. The bound that
nothing on one core can pass is Aho-Corasick alone, over texts already spaced, its matches thrown away.
"""

import argparse
import gzip
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import ahocorasick
import numpy as np
import orjson
import polars as pl
import regex
import yaml
from bench_memory import peaks
from open_clip.tokenizer import basic_clean, whitespace_clean

from operators.algorithms.matching import Matcher, read_entries, spaced_entry, spaced_texts

SHARD = 100_000  # captions in a shard
PART = 200_000  # captions that the peers work through
PIECES = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+", regex.IGNORECASE)


def captions_of(data: Path) -> pl.Series:
    """The real captions."""
    with gzip.open(data / "captions.tsv.gz", "rt", encoding="utf-8", newline="\n") as file:
        return pl.Series([line.rstrip("\n").split("\t")[-1] for line in file])


def make_shards(captions: pl.Series, folder: Path, total: int) -> None:
    """Shards of (url, text): the first half of one caption's words and the second half of another's."""
    words = captions.str.split(" ")
    half = words.list.len() // 2
    frame = pl.DataFrame({"words": words, "half": half}).select(
        head=pl.col("words").list.head(pl.col("half")).list.join(" "),
        tail=pl.col("words").list.slice(pl.col("half")).list.join(" "),
    )
    folder.mkdir()
    for shard in range(-(-total // SHARD)):
        rows = min(SHARD, total - shard * SHARD)
        heads, tails = np.random.default_rng(shard).integers(0, len(captions), (2, rows))
        number = pl.int_range(shard * SHARD, shard * SHARD + rows, eager=True).cast(pl.String)
        text = frame["head"].gather(heads) + " " + frame["tail"].gather(tails)
        table = pl.DataFrame({"url": "https://images.example/" + number + ".jpg", "text": text})
        table.write_parquet(folder / f"{shard:05d}.parquet")


def make_entries(captions: pl.Series, data: Path, path: Path, total: int) -> None:
    """Lemmas, then the captions' words and pairs by frequency, then pairs of lemmas."""
    lines = (data / "wordnet_lemmas.txt").read_text(encoding="utf-8").splitlines()
    lemmas = [line.strip().replace("_", " ") for line in lines]
    found, counts = dict.fromkeys(filter(None, lemmas)), Counter[str]()
    for caption in captions:
        words = caption.split()
        counts.update(words)
        counts.update(map(" ".join, pairwise(words)))
    found |= dict.fromkeys(sorted(counts, key=lambda word: (-counts[word], word))[: total - len(found)])
    rng = np.random.default_rng(0)
    while len(found) < total:
        found[" ".join(lemmas[i] for i in rng.integers(0, len(lemmas), 2))] = None
    path.write_text(json.dumps(list(found)[:total]), encoding="utf-8")


def recipe(folder: Path) -> Path:
    """Match, count, balance and WFPP, and the rules that read them."""
    path = folder / "recipe.yaml"
    data = {
        "pool": {"shards": f"{folder}/pool/*.parquet", "store": f"{folder}/store"},
        "compute": {
            "entries": {"use": "metaclip.EntryMatch", "metadata": f"{folder}/metadata.json"},
            "counts": {"use": "metaclip.EntryCount", "entries": "entries.ids"},
            "balance": {"use": "metaclip.BalanceThreshold", "entries": "entries.ids", "counts": "counts"},
            "words": {"use": "wfpp.WordFrequency"},
            "wfpp": {"use": "wfpp.WordFrequencyScore", "frequency": "words"},
        },
        "keep": {"balance.t": {"bottom": 0.25}, "wfpp.score": {"top": 0.8}},
    }
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


def rate(name: str, work: Callable[[], object], texts: int, found: dict[str, float]) -> None:
    """Texts a second of one core."""
    started = time.process_time()
    work()
    found[name] = texts / (time.process_time() - started)
    print(f"  {name:52s} {found[name]:12,.0f} texts/s", flush=True)


def spaced(text: str) -> str:
    """As MetaCLIP's code does it."""
    text = f" {text} "
    for mark in (",", ".", ";", ":", "?", "!", "`"):
        text = text.replace(mark, f" {mark} ")
    for blank in ("\t", "\n", "\r"):
        text = text.replace(blank, " ")
    return text


def peers(texts: list[str], entries: list[str]) -> dict[str, float]:
    """What else does the same, on one core."""
    found: dict[str, float] = {}
    automaton = ahocorasick.Automaton()
    for number, entry in enumerate(entries):
        automaton.add_word(spaced_entry(entry, "english"), number)
    automaton.make_automaton()

    def published() -> list[set[int]]:
        return [{number for _, number in automaton.iter(spaced(text))} for text in texts]

    def count() -> Counter[str]:
        words: Counter[str] = Counter()
        for text in texts:
            words.update(PIECES.findall(whitespace_clean(basic_clean(text)).lower()))
        return words

    rate("MetaCLIP's way: loop over pyahocorasick", published, len(texts), found)
    rate("plain Python word count (open_clip's cleaning)", count, len(texts), found)
    matcher = Matcher(entries, "english")
    series = pl.Series(texts)
    encoded = spaced_texts(series).cast(pl.Binary).to_list()
    find = matcher._automaton.find_overlapping
    rate(
        "bound: daachorse alone, matches thrown away",
        lambda: [None for t in encoded if find(t) is None],
        len(texts),
        found,
    )
    rate(
        "EntryMatch's matcher alone",
        lambda: [matcher(series[i : i + 8192]) for i in range(0, len(series), 8192)],
        len(texts),
        found,
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--captions", type=int, default=20_000_000)
    parser.add_argument("--entries", type=int, default=500_000)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[3] / "shared" / "data")
    asked = parser.parse_args()
    print(
        f"{platform.processor() or platform.machine()}, {asked.captions:,} captions, {asked.entries:,} entries"
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        captions = captions_of(asked.data)
        make_shards(captions, folder / "pool", asked.captions)
        make_entries(captions, asked.data, folder / "metadata.json", asked.entries)
        part = pl.read_parquet(sorted(folder.glob("pool/*"))[0:2])["text"].to_list()[:PART]
        print("one core:")
        alone = peers(part, read_entries(str(folder / "metadata.json")))
        run(recipe(folder), asked.captions, alone)


def run(path: Path, captions: int, alone: dict[str, float]) -> None:
    """The job, its speeds and its memory."""
    memory, seconds = peaks([sys.executable, "-m", "jobs", "run", str(path)])
    print(f"the whole job: {seconds:.0f} s, {captions / seconds:,.0f} captions/s on all cores")
    again = time.perf_counter()
    shown = subprocess.run(
        [sys.executable, "-m", "jobs", "keep", str(path), "--json"], capture_output=True, check=True
    )
    print(f"keep again: {time.perf_counter() - again:.1f} s, kept {orjson.loads(shown.stdout)['kept']:,}")
    from pipeline.run.log import speeds
    from pipeline.storage.store import Store

    for name, speed in speeds(Store(f"{path.parent}/store")).items():
        rows = f"{speed.rows_per_second:12,.0f} texts/s of a worker" if speed.rows_per_second else ""
        print(f"  {name:12s} {speed.seconds:8.1f} worker seconds {rows}".rstrip())
    published, count, *_ = alone.values()
    stages = speeds(Store(f"{path.parent}/store"))
    print(f"matching: {stages['entries'].rows_per_second / published:.2f} x MetaCLIP's way, per core")
    print(
        f"counting words: {captions / stages['words'].seconds / count:.2f} x plain Python, job against one core"
    )
    for name, peak in sorted(memory.items()):
        if name == "driver" or name.startswith("ray::_") or "lambda" in name:
            print(f"  peak {name:22s} {peak / 2**20:8.0f} MiB of its own")


if __name__ == "__main__":
    main()

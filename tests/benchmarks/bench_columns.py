"""Operators that read stored columns alone: rows per second of one core, with embeddings of 512 numbers.

    python tests/benchmarks/bench_columns.py [--rows 200000] [--width 512]

Seconds are CPU seconds of this process, all threads together, so that a busy machine changes little. GB/s is
what a row's embeddings have, as float16, over that time. The bound beside it is reading them: the embeddings
turned from float16 to float32 by numpy, and nothing else.

Of bias, concepts, content, first_look, heads, hubs, mix and search these are all operators; that of recaption
runs a text tower (bench_forward.py). Others on columns are measured by bench_corpus.py (metaclip, wfpp),
bench_embedding_filters.py (negcliploss, normsim), bench_outliers.py, bench_perceptual.py and
bench_semantic.py.
"""

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import polars as pl

from operators.algorithms.embeddings.neighbours import Points
from operators.bias import Mentions, MomentMatching, Patterns
from operators.concepts import ZeroShot
from operators.content import Inappropriate
from operators.first_look import Probe, Worthwhile
from operators.heads import Linear
from operators.hubs import Bank, Hubness
from operators.mix import Highest, Standardised, Weighted
from operators.search import Query
from pipeline.operator import Device, Score, Stat

BATCH = 8192  # rows that the engine hands over at a time
JUDGED = 0.02  # share of rows of which a first look knows what was found, as in its example


class Classes(ZeroShot):
    """ZeroShot whose names have random embeddings: a model's text tower would only run before the first
    row."""

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """See Score. `template` is `COUNT WIDTH {}`."""
        shape = [int(number) for number in self.template.split()[:2]]
        vectors = np.random.default_rng(0).standard_normal(shape, np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        self._points = Points(vectors, np.arange(len(vectors)), device)


def made_rows(rows: int, width: int) -> Iterator[pl.DataFrame]:
    """Pairs of unit embeddings, float16, with scores."""
    for start in range(0, rows, BATCH):
        rng = np.random.default_rng(start)
        count = min(BATCH, rows - start)
        sides = rng.standard_normal((2, count, width), np.float32)
        sides /= np.linalg.norm(sides, axis=2, keepdims=True)
        halves = rng.integers(0, 2**64, (count, 2), np.uint64).tolist()
        yield pl.DataFrame(
            {
                "text": [f"caption {number}" for number in range(start, start + count)],
                "uid": [f"{high:016x}{low:016x}" for high, low in halves],
                "shard": ["s"] * count,
                "row": pl.Series(range(start, start + count), dtype=pl.UInt32),
                "c.image": sides[0].astype(np.float16),
                "c.text": sides[1].astype(np.float16),
                "c.score": rng.random(count, np.float32),
                **{f"c.{name}": rng.random(count) < 0.4 for name in ("first", "second", "third")},
                "c.other": rng.random(count, np.float32),
                "c.found": pl.Series(rng.integers(0, 9, count)).set(
                    pl.Series(rng.random(count) >= JUDGED), None
                ),
            }
        )


def rate(work: Callable[[pl.DataFrame], object], rows: int, width: int) -> float:
    """Rows per second."""
    seconds = 0.0
    for batch in made_rows(rows, width):
        start = time.process_time()
        work(batch)
        seconds += time.process_time() - start
    return rows / seconds


def through(operator: Score | Stat, stats: dict[str, pl.DataFrame]) -> Callable[[pl.DataFrame], object]:
    """What a batch goes through."""
    if isinstance(operator, Stat):
        return operator.partial
    operator.setup(stats, Device())
    return operator.score


def table(operator: Stat, rows: int, width: int) -> pl.DataFrame:
    """The table of a Stat over all rows."""
    parts = operator.merge(pl.concat([operator.partial(batch) for batch in made_rows(rows, width)]))
    return operator.finish(parts)


def operators(folder: Path, rows: int, width: int) -> Iterator[tuple[str, Score | Stat, int, dict]]:
    """Each with a name, the embeddings that it reads, and the Stats that it needs."""
    weight = np.random.default_rng(0).standard_normal((3, width), np.float32)
    np.save(folder / "one.npy", weight[:1])
    np.save(folder / "two.npy", weight[:2])
    np.save(folder / "three.npy", weight)
    for name, activation in (("one", "sigmoid"), ("three", "softmax")):
        head = Linear(embedding="c.image", weights=f"{folder}/{name}.npy", activation=activation)
        yield f"heads.Linear, {name} output{'s' * (name != 'one')}", head, 1, {}

    content = Inappropriate(image_embedding="c.image", vectors=f"{folder}/two.npy", model="any")
    yield "content.Inappropriate", content, 1, {}
    both = {"scores": ("c.score", "c.other")}
    scales = Standardised(**both)
    yield "mix.Standardised, two scores", scales, 0, {}
    tables = {"scales": table(scales, BATCH, width)}
    for kind in (Weighted, Highest):
        for by in ("z", "rank"):
            mixed = kind(**both, weights=(1, 2), scales="scales", by=by)
            yield f"mix.{kind.__name__}, two scores, {by}", mixed, 0, tables
    bank = Bank(image_embedding="c.image", text_embedding="c.text")
    yield "hubs.Bank", bank, 2, {}
    hub = Hubness(image_embedding="c.image", bank="bank")
    yield "hubs.Hubness, 1,000 captions", hub, 1, {"bank": table(bank, BATCH, width)}
    for count in (10, 1000):
        classes = Classes(
            model="any",
            pretrained="any",
            names="any",
            image_embedding="c.image",
            template=f"{count} {width} {{}}",
        )
        yield f"concepts.ZeroShot, {count:,} names", classes, 1, {}
    for name in ("one", "three"):
        asked = Query(embedding="c.image", vectors=f"{folder}/{name}.npy")
        yield f"search.Query, {name} vector{'s' * (name != 'one')}", asked, 1, {}
    probe = Probe(embedding="c.image", found="c.found", least=3)
    yield f"first_look.Probe, {JUDGED:.0%} of rows judged", probe, 1, {}
    tables = {"probe": table(probe, 2 * BATCH, width)}
    yield "first_look.Worthwhile", Worthwhile(embedding="c.image", probe="probe"), 1, tables
    (folder / "words.txt").write_text("caption 7\ncaption 11\nwoman\nher\nshe\n")
    yield "bias.Mentions, five words", Mentions(words=f"{folder}/words.txt"), 0, {}
    names = {"attributes": "c.first", "labels": ("c.second", "c.third")}
    patterns = Patterns(**names)
    yield "bias.Patterns, three columns", patterns, 0, {}
    tables = {"patterns": table(patterns, BATCH, width)}
    matching = MomentMatching(**names, patterns="patterns", rate=0.5)
    yield "bias.MomentMatching, three columns", matching, 0, tables


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--width", type=int, default=512)
    asked = parser.parse_args()
    machine = platform.processor() or platform.machine()
    print(f"{machine}, one core, {asked.rows:,} rows of {asked.width} numbers; load {os.getloadavg()[0]:.1f}")
    print(f"{'':40s} {'rows/s':>12s} {'GB/s':>6s} {'of reading':>11s}")
    reading = rate(lambda batch: batch["c.image"].to_numpy().astype(np.float32), asked.rows, asked.width)
    print(f"{'reading: float16 to float32':40s} {reading:12,.0f} {reading * asked.width * 2 / 1e9:6.2f}")
    with tempfile.TemporaryDirectory() as folder:
        for name, operator, columns, stats in operators(Path(folder), asked.rows, asked.width):
            found = rate(through(operator, stats), asked.rows, asked.width)
            speed = found * columns * asked.width * 2 / 1e9
            print(f"{name:40s} {found:12,.0f} {speed:6.2f} {found / reading:9.2f} x", flush=True)


if __name__ == "__main__":
    main()

"""Parts that several tests share: operators to plug in, MetaCLIP's spacing, a folder as a mapping of bytes."""

from pathlib import Path

OPERATORS = '''
"""Operators for the tests, as a user would write them."""

import time

import numpy as np
import polars as pl

from pipeline.operator import Column, ImageScore, Score, Stat, Table


class Brightness(ImageScore):
    """Mean of all pixel values, in [0, 1]."""

    writes = {"mean": pl.Float32}

    def score(self, batch, images):
        means = [None if image is None else float(image.mean()) / 255 for image in images]
        return pl.DataFrame({"mean": means}, schema=dict(self.writes))


class Thumbnail(ImageScore):
    """Four times four mean colours as a unit vector, and the mean luma."""

    writes = {"vector": pl.Array, "luma": pl.Float32}

    def score(self, batch, images):
        rows = np.full((len(images), 48), np.nan, np.float32)
        for row, image in enumerate(images):
            if image is not None:
                blocks = [b.mean((0, 1)) for a in np.array_split(image, 4) for b in np.array_split(a, 4, 1) if b.size]
                rows[row] = np.resize(np.concatenate(blocks), 48) / 255 + 0.01
        luma = pl.Series(rows.mean(1), dtype=pl.Float32).fill_nan(None)
        units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        frame = pl.DataFrame({"vector": pl.Series(units.astype(np.float16)), "luma": luma})
        return frame.with_columns(vector=pl.when(luma.is_not_null()).then(pl.col("vector")))


class WordCount(Stat):
    """How often each word occurs in all captions."""

    text: Column = "text"

    def partial(self, batch):
        words = batch.select(word=pl.col(self.text).str.split(" ")).explode("word").drop_nulls()
        return words.group_by("word").agg(n=pl.len().cast(pl.UInt64))

    def merge(self, parts):
        return parts.group_by("word").agg(pl.col("n").sum())

    def finish(self, merged):
        return merged.sort("word")


class RarestWord(Score):
    """The count of a caption's rarest word."""

    words: Table
    needs = ("text",)
    writes = {"count": pl.UInt64}
    _counts: dict = {}

    def setup(self, stats, device):
        self._counts = dict(stats[self.words].iter_rows())

    def score(self, batch):
        counts = [min((self._counts[w] for w in t.split(" ")), default=None) if t else None for t in batch["text"]]
        return pl.DataFrame({"count": counts}, schema=dict(self.writes))


class Slow(Score):
    """The caption's length, after a nap: for kill tests."""

    seconds: float = 0.01
    needs = ("text",)
    writes = {"length": pl.UInt32}

    def score(self, batch):
        time.sleep(self.seconds * len(batch))
        return batch.select(length=pl.col("text").str.len_chars())


class Broken(Score):
    """Fails on every row."""

    needs = ("text",)
    writes = {"never": pl.UInt32}

    def score(self, batch):
        if not len(batch):
            return pl.DataFrame({"never": []}, schema=dict(self.writes))
        raise ValueError("no row is good enough")


class Deadly(Broken):
    """Ends its process, as a crash in a C library does."""

    def score(self, batch):
        import os

        os._exit(1)
'''


INDEX = {  # a WordNet of a few words: lemma, place in the file, offsets by frequency
    "noun": "dog n 2 1 @ 2 2 02084071 10114209\nman n 1 0 1 1 10287213\nsee n 1 0 1 0 08645963\n"
    "beach n 1 2 @ ~ 1 1 09217230\nglass n 1 0 1 1 03438257\n",
    "verb": "dog v 1 0 1 0 02001858\nsee v 2 0 2 2 02129289 00591519\nrun v 1 0 1 1 01926311\n",
    "adj": "red a 1 0 1 1 00381097\nfine a 1 0 1 1 02080937\n",
    "adv": "fast r 1 0 1 1 00086000\n",
}
EXCEPTIONS = {"noun": "geese goose\nmen man\n", "verb": "ran run\nsaw see\n", "adj": "", "adv": "best well\n"}


def write_wordnet(folder: Path) -> Path:
    """A WNDB folder: licence lines, index and exceptions."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, lines in INDEX.items():
        (folder / f"index.{part}").write_text(f"  1 This software and database is free\n{lines}")
        (folder / f"{part}.exc").write_text(EXCEPTIONS[part])
    return folder


def spaced(text: str) -> str:
    """A caption as MetaCLIP searches it, word for word after the definition."""
    text = f" {text} "
    for mark in (",", ".", ";", ":", "?", "!", "`"):
        text = text.replace(mark, f" {mark} ")
    for blank in ("\t", "\n", "\r"):
        text = text.replace(blank, " ")
    return text


def tree(folder: Path, without: tuple[str, ...] = ("runs", "footers")) -> dict[str, bytes]:
    """Relative path -> bytes of every file below a folder, those in the subfolders `without` aside."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    found = {str(path.relative_to(folder)): path.read_bytes() for path in files}
    return {name: data for name, data in found.items() if name.split("/")[0] not in without}

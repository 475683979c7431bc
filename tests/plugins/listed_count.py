"""A Stat that reads a file, which may be rewritten meanwhile: `use: listed_count.ListedCount`."""

import os

import polars as pl

from pipeline.operator import File, Score, Stat, Table


class ListedCount(Stat):
    """How many captions have a word of a list. A list called `<file>.next` takes the file's place."""

    file: File
    needs = ("text",)

    def partial(self, batch):
        with open(self.file) as file:
            words = file.read().split()
        if os.path.exists(f"{self.file}.next"):
            os.replace(f"{self.file}.next", self.file)
        return pl.DataFrame({"n": [sum(any(word in text for word in words) for text in batch["text"])]})

    def merge(self, parts):
        return parts.select(pl.col("n").sum())

    def finish(self, merged):
        return merged


class Listed(Score):
    """The count of the whole pool, at each sample."""

    counted: Table
    writes = {"n": pl.Int64}
    _n: int = 0

    def setup(self, stats, device):
        self._n = stats[self.counted]["n"][0]

    def score(self, batch):
        return pl.DataFrame({"n": [self._n] * len(batch)}, schema=dict(self.writes))

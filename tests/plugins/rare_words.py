"""A Stat and a Score that reads it, as a user would write them: `use: rare_words.RarestWord`."""

import polars as pl

from pipeline.operator import Column, Score, Stat, Table


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
        captions = [text.split(" ") if text else [] for text in batch["text"]]
        counts = [min((self._counts[word] for word in words), default=None) for words in captions]
        return pl.DataFrame({"count": counts}, schema=dict(self.writes))

"""Operators that change files while the run works: `use: saboteur.Saboteur`."""

import os

import polars as pl

from pipeline.operator import Score


class Saboteur(Score):
    """The caption's length. If the file `flag` exists, the first batch that holds a caption with `word`
    renames the file `flag` over `target`; or, if `flag` is empty, cuts `target` in half."""

    flag: str
    target: str
    word: str = ""
    needs = ("text",)
    writes = {"length": pl.UInt32}

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        if os.path.exists(self.flag) and any(self.word in (text or "") for text in batch["text"]):
            if os.path.getsize(self.flag):
                os.replace(self.flag, self.target)
            else:
                os.unlink(self.flag)
                os.truncate(self.target, os.path.getsize(self.target) // 2)
        return batch.select(length=pl.col("text").str.len_chars())

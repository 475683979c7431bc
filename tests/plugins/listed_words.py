"""An operator that reads a file, and one that reads an embedding: `use: listed_words.Listed`."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from pipeline.assets import read_bytes
from pipeline.operator import Column, Device, File, Score


class Listed(Score):
    """How many words of the caption are in a file with a word a line."""

    words: File
    needs = ("text",)
    writes = {"count": pl.UInt32}
    _words: Any = frozenset()

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        self._words = frozenset(read_bytes(self.words).decode().split())

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        counts = [sum(word in self._words for word in (text or "").split()) for text in batch["text"]]
        return pl.DataFrame({"count": counts}, schema=dict(self.writes))


class First(Score):
    """The first number of an embedding."""

    of: Column
    writes = {"value": pl.Float64}

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        return batch.select(value=pl.col(self.of).arr.first().cast(pl.Float64))

"""An operator that marks pictures, sees them otherwise, and shows evidence: `use: stickers.Sticker`."""

import polars as pl

from pipeline.operator import Mark, Score


class Sticker(Score):
    """Words of the caption; each sample's neighbour is the one whose uid its caption names."""

    needs = ("text",)
    writes = {"words": pl.UInt32}

    def score(self, batch):
        return batch.select(words=pl.col("text").str.split(" ").list.len().cast(pl.UInt32))

    def evidence(self, row, stats, sources):
        return row.select(uid=pl.col("text").str.split(" ").list.last(), words=".words")

    def marks(self, row):
        return [Mark([(0, 0), (12, 0), (12, 8), (0, 8)], row["text"][0] or "")]

    def shown(self, row, image):
        return 255 - image

"""Operators whose results are worked out by hand: `use: planted.Length`."""

import polars as pl

from pipeline.operator import Column, ImageScore, Score, Stat, Table


class Given(Score):
    """A column of every type that rules meet, all null. Tests overwrite the stored parts with their own
    values."""

    needs = ("text",)
    writes = {
        "f32": pl.Float32,
        "f64": pl.Float64,
        "u32": pl.UInt32,
        "i64": pl.Int64,
        "word": pl.String,
        "flag": pl.Boolean,
    }

    def score(self, batch):
        null = [pl.lit(None, dtype).alias(name) for name, dtype in self.writes.items()]
        return batch.select(pl.col("text").alias("_")).with_columns(null).drop("_")


class Length(Score):
    """Characters of the caption, times `scale`."""

    needs = ("text",)
    writes = {"value": pl.Float64}
    scale: int = 1

    def score(self, batch):
        return batch.select(value=batch["text"].str.len_chars().cast(pl.Float64) * self.scale)


class Plus(Score):
    """Another column plus `by`."""

    writes = {"value": pl.Float64}
    of: Column
    by: float = 1.0

    def score(self, batch):
        return batch.select(value=pl.col(self.of).cast(pl.Float64) + self.by)


class Histogram(Stat):
    """How often each value of a column occurs."""

    of: Column

    def partial(self, batch):
        values = batch.select(value=pl.col(self.of).cast(pl.Float64)).drop_nulls()
        return values.group_by("value").agg(count=pl.len().cast(pl.Int64))

    def merge(self, parts):
        return parts.group_by("value").agg(pl.col("count").sum())

    def finish(self, merged):
        return merged.sort("value")


class Nested(Histogram):
    """Breaks the law: a Stat that reads a Stat."""

    table: Table


class Frequency(Score):
    """How often a row's value occurs in the pool."""

    writes = {"count": pl.Int64}
    of: Column
    table: Table
    _table: object = None

    def setup(self, stats, device):
        self._table = stats[self.table]

    def score(self, batch):
        values = batch.select(value=pl.col(self.of).cast(pl.Float64))
        return values.join(self._table, on="value", how="left", maintain_order="left").select("count")


class Brightness(ImageScore):
    """Mean of all channels."""

    writes = {"mean": pl.Float64}

    def score(self, batch, images):
        means = [None if image is None else float(image.mean()) for image in images]
        return pl.DataFrame({"mean": means}, schema=dict(self.writes))


class Redness(ImageScore):
    """Mean of the red channel."""

    writes = {"red": pl.Float64}

    def score(self, batch, images):
        means = [None if image is None else float(image[..., 0].mean()) for image in images]
        return pl.DataFrame({"red": means}, schema=dict(self.writes))


class ImageAndColumn(ImageScore):
    """Another column, as an operator reads it that takes images too."""

    writes = {"value": pl.Float64}
    of: Column

    def score(self, batch, images):
        return batch.select(value=pl.col(self.of))

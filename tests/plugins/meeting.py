"""Groups whose results are worked out by hand: `use: meeting.Place`."""

import polars as pl

from pipeline.operator import Column, Group, Score, SummaryGroup


class Place(Group):
    """A row's place in its group, by uid, and the group's size."""

    writes = {"place": pl.UInt32, "size": pl.UInt32}
    key: Column
    most: int | None = None

    def keys(self):
        return (self.key,)

    def most_rows(self):
        return self.most

    def group(self, rows):
        place = pl.int_range(1, pl.len() + 1, dtype=pl.UInt32).over(self.key)
        return rows.select(place=place, size=pl.len().over(self.key).cast(pl.UInt32))


class Size(SummaryGroup):
    """The size of a row's group, and the lowest uid in it."""

    writes = {"size": pl.UInt32, "first": pl.String}
    key: Column
    also: Column = ""

    def keys(self):
        return (self.key, self.also) if self.also else (self.key,)

    def partial(self, rows):
        return rows.group_by(self.keys()).agg(size=pl.len(), first=pl.col("uid").min())

    def merge(self, parts):
        return parts.group_by(self.keys()).agg(pl.col("size").sum(), pl.col("first").min())

    def of_summary(self, rows, summary):
        found = rows.join(summary, on=self.keys(), how="left", maintain_order="left")
        return found.select(pl.col("size").cast(pl.UInt32), "first")


class Shared(Group):
    """How many other rows share a word of the list with this one: the sum over its words."""

    writes = {"others": pl.UInt32}
    words: Column

    def keys(self):
        return (self.words,)

    def group(self, rows):
        return rows.select(others=(pl.len().over(self.words) - 1).cast(pl.UInt32))

    def combine(self, rows):
        return rows.group_by("of", maintain_order=True).agg(pl.col("others").sum())


class Words(Score):
    """The words of the caption; null without any."""

    needs = ("text",)
    writes = {"words": pl.List(pl.String)}

    def score(self, batch):
        words = pl.col("text").str.extract_all(r"\w+")
        return batch.select(words=pl.when(words.list.len() > 0).then(words))

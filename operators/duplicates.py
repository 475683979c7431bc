"""Duplicates: samples that are the same picture, or the same pair, as another sample of the pool.

    digest: {use: duplicates.ImageDigest}
    clip:   {use: clip.ClipScore, model: ViT-B-32, pretrained: openai}
    copies: {use: duplicates.Exact, key: digest.digest, best: clip.score}
    pairs:  {use: duplicates.Exact, key: [text, url]}
    keep:
      copies.rank: {max: 1}
      pairs.rank:  {max: 1}
      copies.size: {max: 20}

`rank: {max: 1}` keeps one of each, so a group never loses its last member to it. `size: {max: 20}` drops all
of a group: a picture that is in a pool a hundred times is a placeholder ("this image is no longer
available"), and its captions do not describe it.

Columns
    ImageDigest  digest  Binary  blake3 of the image's bytes as they are in the pool, 16 bytes; null without
                                 an image
    Exact        size    UInt64  samples with this key, itself among them, 1 or more; null without a key
                 rank    UInt32  1 for the sample to keep, 2 for the next best, at most `ranks` + 1; null
                                 without a key
                 first   String  the uid of the sample with rank 1; null for itself and without a key
Errors: none of its own.
Source: exact copies as in LAION's preparation (laion-prepro: a hash of URL and text) and DataComp (its uid
    is one).
Differs: keys are compared themselves, so that no two of them are ever confused, and the sample to keep is
    the best by a column that the recipe names, not the first that happened to come.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import polars as pl
from pydantic import Field

from operators.algorithms import ranks as arithmetic
from pipeline.operator import BytesScore, Column, Columns, Operator, SummaryGroup

DIGEST_BYTES = 16  # two different pictures of 12.8 billion share a digest with a probability of 1e-18


class ImageDigest(BytesScore):
    """A digest of the image's bytes: equal if, and only if, the files are equal.

    Use it with `duplicates.Exact` to find pictures that are in the pool several times. Copies that were
    scaled or compressed again have other bytes.

    Cost: very cheap: 2 GB per second, in a pass that reads the images. Nothing is decoded.
    """

    writes: ClassVar[Mapping[str, Any]] = {"digest": pl.Binary}

    def score(self, batch: pl.DataFrame, data: Sequence[memoryview | None]) -> pl.DataFrame:
        """(n,) encoded images -> (n,) digests."""
        from blake3 import blake3

        digests = [None if item is None else blake3(item).digest(length=DIGEST_BYTES) for item in data]
        return pl.DataFrame({"digest": digests}, schema=dict(self.writes))


class Exact(SummaryGroup):
    """How many samples have the same key, and which of them is the best.

    Use it to keep one of each picture (the key is a digest), or one of each pair (the key is `[text, url]`),
    and to drop pictures that are there far too often.

    key    the column that copies share, or a list of columns that they share all of: numbers, text, or bytes
    best   a column of numbers: the sample with the highest has rank 1, such as clip.score, or caption.side
           for the largest picture. Without it, and among equals, the lowest uid comes first; a sample without
           a number comes last
    order  `highest`, or `lowest` if a lower number is better
    ranks  samples of a key that are told apart: all later ones have the rank `ranks` + 1

    Cost: very cheap: a million rows per second on a CPU core, besides reading and writing columns. A key
    takes about 60 bytes of memory for each of its best `ranks` samples, and nothing for the others, so that
    it may have any number of them.
    """

    key: Columns = Field(min_length=1)
    best: Column = ""
    order: Literal["highest", "lowest"] = "highest"
    ranks: Annotated[int, Field(ge=1, le=1000)] = 10

    needs = ("uid", "shard", "row")
    writes: ClassVar[Mapping[str, Any]] = {"size": pl.UInt64, "rank": pl.UInt32, "first": pl.String}

    def keys(self) -> tuple[str, ...]:
        """See Group."""
        return (self.key,) if isinstance(self.key, str) else tuple(dict.fromkeys(self.key))

    def partial(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The best few rows of each key, see `operators.algorithms.ranks`. Of samples that share a uid, the
        first of the pool is better."""
        value = pl.col(self.best) if self.best else pl.lit(None, pl.Boolean)
        if self.best and rows.schema[self.best].is_float():
            value = value.fill_nan(None)
        return self.merge(arithmetic.each(rows, self.keys(), value))

    def merge(self, parts: pl.DataFrame) -> pl.DataFrame:
        """See SummaryGroup."""
        return arithmetic.reduced(parts, self.keys(), self.ranks, self.order == "highest")

    def of_summary(self, rows: pl.DataFrame, summary: pl.DataFrame) -> pl.DataFrame:
        """(n,) rows -> (n,) `size`, `rank`, `first`."""
        return arithmetic.looked_up(rows, summary, self.keys(), self.ranks)

    def evidence(
        self, row: pl.DataFrame, stats: Mapping[str, pl.DataFrame], sources: Mapping[str, Operator]
    ) -> pl.DataFrame:
        """Of a sample with copies: `copies` (samples of its key), its `rank`, and the `uid` of the sample
        that has rank 1, if that is another."""
        shown = row.filter(pl.col(".size") > 1).select(copies=".size", rank=".rank", uid=".first")
        return shown if row[".first"].null_count() == 0 else shown.drop("uid")

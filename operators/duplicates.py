"""Duplicates: samples that are the same picture, or the same pair, as another sample of the pool, or nearly.

    digest:    {use: duplicates.ImageDigest}
    clip:      {use: clip.ClipScore, model: ViT-B-32, pretrained: openai}
    copies:    {use: duplicates.Exact, key: digest.digest, best: clip.score}
    pairs:     {use: duplicates.Exact, key: [text, url]}
    centroids: {use: clusters.Centroids, embedding: clip.image_embedding, k: 1000}
    near:      {use: clusters.Nearest, embedding: clip.image_embedding, centroids: centroids}
    semantic:  {use: duplicates.Semantic, embedding: clip.image_embedding, cluster: near.cluster,
                similarity: near.similarity}
    keep:
      copies.rank:             {max: 1}
      pairs.rank:              {max: 1}
      copies.size:             {max: 20}
      semantic.max_similarity: {max: 0.95}

`rank: {max: 1}` keeps one of each, so a group never loses its last member to it. All samples of the pool are
ranked: if another rule drops the best of a group, the others do not take its place. Let `best` be the column
that the strictest rule reads, or a `ranking.Eligible` of the bounds of the other rules. `size: {max: 20}`
drops all of a group: a picture that is in a pool a hundred times is a placeholder ("this image is no longer
available"), and its captions do not describe it.

Columns
    ImageDigest  digest  Binary  blake3 of the image's bytes as they are in the pool, 16 bytes; null without
                                 an image
    Exact        size    UInt64  samples with this key, itself among them, 1 or more; null without a key
                 rank    UInt32  1 for the sample to keep, 2 for the next best, at most `ranks` + 1; null
                                 without a key
                 first   String  the uid of the sample with rank 1; null for itself and without a key
    Semantic     max_similarity  Float32  cosine in [0, 1], higher is more like a better sample: a rule with
                                          a lower `max` drops it; 0 for the best of a cluster; null without
                                          a cluster or an embedding
                 neighbour       String   the uid of that better sample: it is kept, or has a neighbour
                                          itself; null where there is none
Errors: `the embedding is not finite`; `a zero vector has no direction`.
Measured: the 1,500 changed photos of `perceptual`, with an earlier CLIP of the demo, which knows drawings
    only: the share of copies whose cosine with their original is above .90, .95, .98 and .99. Exact finds
    none of them, since their bytes differ.
    - half the size: 1.00, 1.00, 1.00, 1.00
    - 256 x 256 pixels: .92, .79, .45, .23
    - JPEG of quality 30: 1.00, 1.00, .99, .98
    - half the size, JPEG of quality 50: 1.00, .99, .96, .90
    - brightened by 20 %: .88, .65, .28, .10
    - in grey: .36, .21, .09, .06
    - 5 % cropped off, all around: .99, .97, .80, .57
    - 5 % cropped off, at one side: .99, .97, .84, .63
    - flipped: .92, .74, .36, .15
    - different photos that Semantic would drop: .79, .43, .07, .01
    With OpenAI's ViT-B/16, which was made for photos, of 500 photos of COCO it would drop .06, .004, 0, 0:
    bounds are a matter of the model. How that one finds copies was not measured.
Source: exact copies as in LAION's preparation (laion-prepro: a hash of URL and text) and DataComp (its uid
    is one). SemDeDup (Abbas et al. 2023, arXiv 2303.09540), section 3; its bound is 1 - epsilon.
Differs: keys are compared themselves, so that no two of them are ever confused, and the sample to keep is
    the best by a column that the recipe names, not the first that happened to come. SemDeDup's bound is the
    recipe's, after the fact: for every bound at once, `max_similarity` tells which samples are the best of
    their group. `compat: released` is the released code's number.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import polars as pl
from pydantic import Field, PrivateAttr, field_validator, model_validator

from operators.algorithms import ranks as arithmetic
from operators.algorithms.embeddings.semantic import joins_earlier, nearest_earlier
from operators.algorithms.embeddings.vectors import features
from operators.algorithms.groups import spans
from operators.algorithms.threads import blas_threads
from pipeline.operator import (
    BytesScore,
    Column,
    Columns,
    Device,
    Embedding,
    Group,
    Numbers,
    Operator,
    SummaryGroup,
)
from pipeline.uids import draw

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

    Cost: very cheap: 3 million rows per second on a CPU core, besides reading and writing columns. A key
    takes about 60 bytes of memory for each of its best `ranks` samples, and nothing for the others, so that
    it may have any number of them.
    """

    key: Columns
    best: Numbers = ""
    order: Literal["highest", "lowest"] = "highest"
    ranks: Annotated[int, Field(ge=1, le=1000)] = 10

    needs = ("uid", "shard", "row")
    writes: ClassVar[Mapping[str, Any]] = {"size": pl.UInt64, "rank": pl.UInt32, "first": pl.String}

    @field_validator("key", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        """A column's name, or some."""
        names = [value] if isinstance(value, str) else value
        if (
            not isinstance(names, list | tuple)
            or not names
            or not all(isinstance(n, str) and n for n in names)
        ):
            raise ValueError(f"must be the name of a column, or a list of names, got {value!r:.80}")
        return value

    def keys(self) -> tuple[str, ...]:
        """See Group."""
        return (self.key,) if isinstance(self.key, str) else tuple(dict.fromkeys(self.key))

    def partial(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The best few rows of each key, see `operators.algorithms.ranks`. Of samples that share a uid, the
        first of the pool is better."""
        return self.merge(arithmetic.each(rows, self.keys(), arithmetic.value_of(rows, self.best)))

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


class Semantic(Group):
    """How similar a sample is to better samples of its cluster: SemDeDup.

    Use it to remove pictures that show the same thing in the same way, such as a product shot with another
    colour, which share no bytes. Choose the bound of `max_similarity` by looking at pairs: `winnow explain`
    names the neighbour, and `winnow gallery` shows samples by value.

    embedding   the column that clusters were made of, such as clip.image_embedding; only directions count
    cluster     numbers of clusters, such as near.cluster; pairs are compared inside a cluster only
    similarity  of a sample and the centre of its cluster, such as near.similarity; without it `keep` must be
                `random`
    keep        which sample of a group is the best: `hard`, the least like the centre, as in the paper;
                `easy`, the most like it; or `random`, by a draw from `seed` and uid
    compat      `paper`: one sample of each group is kept, where groups of a bound are those that pairs of a
                higher cosine connect. `released`: a sample goes if any better one is more similar than the
                bound, as in the released code, even if that one goes, too, and what only a worse sample
                connects stays
    limit       samples of a cluster that are compared; a larger cluster is split at random, by uid, and pairs
                of its parts are missed. A task takes 4 limit^2 bytes of memory
    seed        of `keep: random`

    Cost: moderate; no image is read. n d FLOP per row in a cluster of n samples: 18,600 rows per second on a
    CPU core with 4,200 samples of 512 numbers in a cluster, 29,300 with `compat: released`; a bare product of
    the same matrices makes 21,000 (measured).
    """

    embedding: Embedding
    cluster: Column
    similarity: Numbers = ""
    keep: Literal["hard", "easy", "random"] = "hard"
    compat: Literal["paper", "released"] = "paper"
    limit: Annotated[int, Field(ge=2, le=100_000)] = 10_000
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    needs = ("uid",)
    writes: ClassVar[Mapping[str, Any]] = {"max_similarity": pl.Float32, "neighbour": pl.String}
    _threads: int = PrivateAttr(1)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        """Hard and easy samples are told by their similarity."""
        if self.keep != "random" and not self.similarity:
            raise ValueError(f"must have `similarity` if `keep` is {self.keep}")
        return self

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Note the threads for matrix products."""
        self._threads = device.threads

    def keys(self) -> tuple[str, ...]:
        """See Group."""
        return (self.cluster,)

    def most_rows(self) -> int | None:
        """See Group."""
        return self.limit

    def group(self, rows: pl.DataFrame) -> pl.DataFrame:
        """(n,) embeddings, clusters, similarities -> (n,) `max_similarity`, `neighbour`."""
        similarity, place = np.full(len(rows), np.nan, np.float32), np.full(len(rows), -1)
        errors = [pl.Series([], dtype=pl.String)]
        compare = nearest_earlier if self.compat == "released" else joins_earlier
        for start, stop in spans(rows, self.keys()):
            own = rows[start:stop]
            vectors, usable, error = features(own[self.embedding], None, True)
            at = start + np.flatnonzero(usable)
            order = self._order(own.filter(usable))
            with blas_threads(self._threads):
                found, neighbours = compare(vectors[order])
            at = at[order]
            similarity[at] = found
            place[at] = np.where(neighbours < 0, -1, at[neighbours])
            errors.append(error)
        places = pl.Series(place)
        uids = rows["uid"].gather(places.zip_with(places >= 0, pl.repeat(None, len(rows), eager=True)))
        return pl.DataFrame(
            {
                "max_similarity": pl.Series(similarity).fill_nan(None),
                "neighbour": uids,
                "error": pl.concat(errors),
            }
        )

    def _order(self, rows: pl.DataFrame) -> np.ndarray:
        """(n,) the places of a group's rows, the best first; of equals, the lowest uid."""
        if self.keep == "random":
            return np.argsort(draw(self.seed, rows["uid"]), kind="stable")
        likeness = rows.select(at=pl.int_range(pl.len()), by=arithmetic.value_of(rows, self.similarity))
        descending = self.keep == "easy"
        return likeness.sort("by", descending=descending, nulls_last=True, maintain_order=True)[
            "at"
        ].to_numpy()

    def evidence(
        self, row: pl.DataFrame, stats: Mapping[str, pl.DataFrame], sources: Mapping[str, Operator]
    ) -> pl.DataFrame:
        """The neighbour: `uid` and `similarity`."""
        return row.filter(pl.col(".neighbour").is_not_null()).select(
            uid=".neighbour", similarity=".max_similarity"
        )

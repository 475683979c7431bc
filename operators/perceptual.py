"""Perceptual copies: pictures that look the same, though they were scaled, compressed or brightened.

    pdq:     {use: pdq.PdqHash}
    clip:    {use: clip.ClipScore, model: ViT-B-32, pretrained: openai}
    equal:   {use: duplicates.Exact, key: pdq.hash, best: clip.score}
    bands:   {use: perceptual.Bands, hash: pdq.hash, cropped: pdq.cropped, rank: equal.rank}
    near:    {use: perceptual.Neighbours, hash: pdq.hash, cropped: pdq.cropped, bands: bands.bands,
              best: clip.score}
    leaders: {use: perceptual.Leaders, neighbours: near.neighbours, distances: near.distances}
    copy:    {use: perceptual.Copies, hash: pdq.hash, leaders: leaders, first: equal.first}
    keep:
      copy.copy: {max: 0, missing: keep}

Two pictures look the same if few of the 256 bits of their hashes differ. `equal` puts equal hashes together;
`bands` and `near` find for the best of each the better ones within a radius, without comparing all pairs;
`leaders` decides which of them stay; `copy` tells each sample. A copy is always one of a sample that stays,
never of another copy, so there are no chains, and no group loses its last member.

Columns
    Bands       bands       List(UInt64)  the bits of each band and its number: samples that share one are
                                          compared; null without a hash, and for later copies of a hash
    Neighbours  neighbours  List(String)  uids of better samples within the radius, the nearest first; null
                                          without bands
                distances   List(UInt16)  of each, the bits that differ; null with `neighbours`
    Copies      copy        Boolean      true: a copy of a sample that stays; null without a hash
                leader      String       the uid of that sample; null for one that stays, and without a hash
                distance    UInt16       the bits that differ from it, 0 to the radius; null with `leader`
Errors: none of its own.
Measured: 1,500 photos of 320 pixels, each changed; the share whose original is found within 24, 31, 40 and 60
    bits, with 16 bands and both hashes. Of 1,124,250 pairs of different photos, none is within 85 bits.
    - half the size: .82, .97, 1.00, 1.00
    - 256 x 256 pixels: .98, .99, 1, 1
    - JPEG of quality 30: 1.00, 1.00, 1, 1
    - half the size, JPEG of quality 50: .82, .97, .99, 1.00
    - brightened by 20 %: 1.00, 1.00, 1.00, 1
    - in grey: 1, 1, 1, 1
    - 5 % cropped off, all around: .97, .99, 1.00, 1.00; without `cropped` .01, .05, .22, .56
    - 5 % cropped off, at one side: 0, 0, .02, .40
    - flipped: 0, 0, 0, 0
Source: PDQ (Facebook 2019, ThreatExchange), which recommends a radius of 31; bands as in multi-index hashing
    (Norouzi et al. 2012, arXiv 1307.2982).
Differs: a hash has as many keys as bands, and none of their neighbours is looked up, so pairs of more
    differing bits than bands are found with the probability above. Leaders instead of connected components,
    which chain pictures together that do not look alike.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import Field, PrivateAttr

from operators.algorithms import hamming
from operators.algorithms.groups import spans
from operators.algorithms.ranks import value_of
from operators.algorithms.tables import table_of
from pipeline.operator import Bytes, Column, Device, Group, Numbers, Operator, Role, Score, Stat, Table

Radius = Annotated[int, Field(ge=0, le=255)]
Uids = Annotated[str, Role("column", lambda d: d == pl.List(pl.String), "lists of text (uids)")]
Distances = Annotated[str, Role("column", lambda d: d == pl.List(pl.UInt16), "lists of UInt16 (bits)")]


class Bands(Score):
    """The keys by which hashes are compared: two hashes that share a band of bits may be near.

    Use it before `perceptual.Neighbours`.

    hash     hashes of 32 bytes, such as pdq.hash
    cropped  further ones of the same pictures, such as pdq.cropped, which have bands, too
    rank     of a `duplicates.Exact` of `hash`: only samples of rank 1 get bands, so that equal hashes are
             compared with others once
    count    bands of 256 / `count` bits. More are surer to find pairs and compare more: with 16, a hash
             shares a band with one of 4,000 others by chance, with 32 with every eighth, with 8 with one of
             500 million; 8 find half of the pairs within 31 bits

    Cost: very cheap.
    """

    hash: Bytes
    cropped: Bytes = ""
    rank: Numbers = ""
    count: Literal[8, 16, 32] = 16

    writes: ClassVar[Mapping[str, Any]] = {"bands": pl.List(pl.UInt64)}

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n,) hashes -> (n,) lists of `count` keys for each hash, equal ones once."""
        views = [self.hash, self.cropped] if self.cropped else [self.hash]
        chosen = pl.all_horizontal(pl.col(views).is_not_null())
        if self.rank:
            chosen &= pl.col(self.rank) == 1
        has_bands = batch.select(chosen.fill_null(False)).to_series()
        rows = batch.filter(has_bands)
        keys = [hamming.band_keys(hamming.bytes_of(rows[view]), self.count) for view in views]
        lists = pl.Series(np.hstack(keys), dtype=pl.Array(pl.UInt64, self.count * len(views)))
        lists = lists.arr.to_list().list.unique(maintain_order=True)
        place = (has_bands.cum_sum() - 1).zip_with(has_bands, pl.repeat(None, len(batch), eager=True))
        return pl.DataFrame({"bands": lists.gather(place)})


class Neighbours(Group):
    """The better samples whose hashes are within a radius.

    Use it before `perceptual.Leaders`.

    hash     hashes of 32 bytes, such as pdq.hash
    cropped  further ones of the same pictures, such as pdq.cropped; where a band is not one of `hash`, it is
             this hash that is compared
    bands    the keys of all of these, such as bands.bands
    best     a column of numbers: the higher, the better, such as clip.score; without it, and among equals,
             the lowest uid is the best
    order    `highest`, or `lowest` if a lower number is better
    radius   bits that may differ. 31 is usual for lists of hashes; `Measured` says what others find
    most     better samples that are noted per band: the best ones. So a sample has `count` x `most` at most
    limit    samples that share a band and are compared; more are split at random, by uid

    Cost: cheap; no image is read. A sample's row travels once for each band. 15,000 rows per second on a CPU
    core in a pool of 300,000 (measured); the pairs to compare grow with the square of the pool.
    """

    hash: Bytes
    bands: Column
    cropped: Bytes = ""
    best: Numbers = ""
    order: Literal["highest", "lowest"] = "highest"
    radius: Radius = 40
    most: Annotated[int, Field(ge=1, le=100)] = 4
    limit: Annotated[int, Field(ge=2, le=10_000_000)] = 100_000

    needs = ("uid",)
    writes: ClassVar[Mapping[str, Any]] = {"neighbours": pl.List(pl.String), "distances": pl.List(pl.UInt16)}
    _threads: int = PrivateAttr(1)

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Note the threads for FAISS."""
        self._threads = device.threads

    def keys(self) -> tuple[str, ...]:
        """See Group."""
        return (self.bands,)

    def most_rows(self) -> int | None:
        """See Group."""
        return self.limit

    def group(self, rows: pl.DataFrame) -> pl.DataFrame:
        """(n,) hashes of whole bands -> (n,) `neighbours` and `distances`, the best first. A sample without a
        hash has none."""
        places = rows[self.hash].is_not_null().arg_true().to_numpy()
        known = rows[places]
        order = self._by_rank(known)
        hashes = self._hashes(known)[order]
        pairs = hamming.near_pairs(hashes, spans(known, self.keys()), self.radius, self.most, self._threads)
        order = places[order]
        uids = rows["uid"]
        found = pl.DataFrame({"of": order[pairs.later], "neighbours": uids.gather(order[pairs.earlier])})
        found = found.with_columns(distances=pl.Series(pairs.distance, dtype=pl.UInt16))
        other = uids.gather(found["of"]) != found["neighbours"]
        return hamming.listed(found.filter(other), pl.int_range(len(rows), eager=True)).drop("of")

    def _hashes(self, rows: pl.DataFrame) -> np.ndarray:
        """(n, 32) uint8: the hash of each row that has its band."""
        hashes = hamming.bytes_of(rows[self.hash])
        if not self.cropped:
            return hashes
        own = hamming.has_key(hashes, rows[self.bands].to_numpy())
        return np.where(own[:, None], hashes, hamming.bytes_of(rows[self.cropped]))

    def combine(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The neighbours of all bands, each once, the nearest first."""
        flat = rows.filter(pl.col("neighbours").list.len() > 0).explode("neighbours", "distances")
        flat = flat.sort("of", "distances", "neighbours").unique(["of", "neighbours"], maintain_order=True)
        return hamming.listed(flat, rows["of"].unique(maintain_order=True))

    def _by_rank(self, rows: pl.DataFrame) -> np.ndarray:
        """(n,) places of rows, group after group, the best of each first; of equals, the lowest uid."""
        value = value_of(rows, self.best)
        keyed = rows.select(group=pl.col(self.bands).rle_id(), value=value, at=pl.int_range(pl.len()))
        descending = [False, self.order == "highest"]
        ordered = keyed.sort("group", "value", descending=descending, nulls_last=True, maintain_order=True)
        return ordered["at"].to_numpy()


class Leaders(Stat):
    """Of the samples that have better ones within the radius, those that go, and whose copies they are.

    Use it before `perceptual.Copies`. From the best to the worst, a sample goes if one that stays is within
    the radius. So a sample stays if all that are near it go themselves.

    neighbours  uids of better samples, such as near.neighbours
    distances   the bits that differ from each, such as near.distances

    Table: `uid`, `leader` (the uid of the nearest sample that stays) and `distance` UInt16, a row for each
    copy.

    Cost: cheap. One machine holds all pairs, 70 bytes each: for each copy, `most` x `count` at most, and a
    few as a rule. A billion pairs take 100 GB.
    """

    neighbours: Uids
    distances: Distances

    needs = ("uid",)

    def partial(self, batch: pl.DataFrame) -> pl.DataFrame:
        """The pairs of one batch: `later` and `earlier`, 16 bytes each, and `distance`."""
        rows = batch.select(later="uid", earlier=self.neighbours, distance=self.distances)
        rows = rows.filter(pl.col("earlier").list.len() > 0)
        pairs = rows.explode("earlier", "distance").with_columns(pl.col("later", "earlier").str.decode("hex"))
        return self.merge(pairs.cast({"distance": pl.UInt16}))

    def merge(self, parts: pl.DataFrame) -> pl.DataFrame:
        """Each pair once."""
        return parts.unique()

    def finish(self, merged: pl.DataFrame) -> pl.DataFrame:
        """The copies, in the order of uids."""
        ends = [merged.select(uid=side) for side in ("later", "earlier")]
        nodes = pl.concat(ends).unique().sort("uid").with_row_index("node")
        later, earlier = (
            side.join(nodes, on="uid", how="left", maintain_order="left")["node"].to_numpy() for side in ends
        )
        pairs = hamming.Pairs(later, earlier, merged["distance"].to_numpy())
        leader, distance = hamming.leaders(pairs, len(nodes))
        copies = np.flatnonzero(leader >= 0)
        uids = nodes["uid"].bin.encode("hex")
        return pl.DataFrame(
            {
                "uid": uids.gather(copies),
                "leader": uids.gather(leader[copies]),
                "distance": pl.Series(distance[copies], dtype=pl.UInt16),
            }
        )


class Copies(Score):
    """Whether a picture is a copy of another that stays, and of which.

    Use it to keep one of each picture: `copy.copy: {max: 0}`.

    hash     hashes of 32 bytes, such as pdq.hash
    leaders  the table of a Leaders
    first    of a `duplicates.Exact` of that column: the best sample with the same hash, if only those have
             bands

    Cost: very cheap: a look-up per row. Each worker holds the table, 150 bytes for each copy.
    """

    hash: Bytes
    leaders: Table
    first: Column = ""

    needs = ("uid",)
    writes: ClassVar[Mapping[str, Any]] = {"copy": pl.Boolean, "leader": pl.String, "distance": pl.UInt16}
    _table: Any = PrivateAttr(None)

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Keep the table. Raises ValueError for that of another Stat."""
        self._table = table_of(stats, "leaders", self.leaders, ("uid", "leader", "distance"))

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n,) uids -> (n,) copies, leaders and distances."""
        first = pl.col(self.first) if self.first else pl.lit(None, pl.String)
        rows = batch.select(first=first, uid=pl.coalesce(first, "uid"), known=pl.col(self.hash).is_not_null())
        found = rows.join(self._table, on="uid", how="left", maintain_order="left").with_columns(
            leader=pl.coalesce("leader", "first"),
            distance=pl.coalesce(
                "distance", pl.when(pl.col("first").is_not_null()).then(pl.lit(0, pl.UInt16))
            ),
        )
        return found.select(
            copy=pl.when("known").then(pl.col("leader").is_not_null()),
            leader=pl.when("known").then("leader"),
            distance=pl.when("known").then("distance"),
        )

    def evidence(
        self, row: pl.DataFrame, stats: Mapping[str, pl.DataFrame], sources: Mapping[str, Operator]
    ) -> pl.DataFrame:
        """The sample that stays: `uid` and `distance`."""
        return row.filter(pl.col(".copy").fill_null(False)).select(uid=".leader", distance=".distance")

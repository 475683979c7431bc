"""Placeholders: one picture under many captions, and one caption under many pictures.

Web servers answer with "image not available" for pictures that are gone, and shops write one caption for all
their goods. Both are found by counting equals in two readings, in memory that does not grow with the pool:
the first counts hashes in four million buckets, the second counts exactly what lies in the fullest ones.

A picture's bytes are not read for that. Pictures of equal file size, width and height are candidates, and
the page's own small pictures of a few are compared (album.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from pipeline.decide.lookup import Place
from pipeline.view.numbers.gather import DRAW

BUCKETS = 1 << 22
FULLEST = 64  # buckets whose members are counted exactly
FEWEST = 3  # samples that make a placeholder
MOST = 12  # placeholders that are shown
SHOWN = 6  # samples of each
MOST_OTHERS = 10_000  # captions of a picture, or pictures of a caption, that are told apart
TEXT = 1_000  # characters of a caption that are shown
SIZE = ("image_length", "width", "height")

PICTURES, CAPTIONS = "pictures", "captions"


@dataclass
class Equals:
    """Samples that are equal in one way.

    count   samples
    others  hashes of what tells them apart: of a picture its captions, of a caption its pictures; at most
            MOST_OTHERS
    shown   (draw, shard, row, hash) of some, one of each other hash as far as there are any; lowest draws
    text    the caption
    """

    count: int = 0
    others: set[int] = field(default_factory=set)
    shown: list[tuple[float, str, int, int]] = field(default_factory=list)
    text: str | None = None

    @property
    def places(self) -> list[Place]:
        """The places of those shown."""
        return [(shard, row) for _, shard, row, _ in self.shown]


class Crowds:
    """Counts hashes in buckets: the first reading. A gatherer (see gather.py)."""

    def __init__(self, images: bool) -> None:
        self.images = images
        self.columns = _columns(images)
        self._counts = {kind: np.zeros(BUCKETS, np.int64) for kind in _kinds(images)}

    def look(self, frame: pl.DataFrame) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """See Gatherer. Of captions and of pictures: buckets, and how many rows each has."""
        return {
            kind: np.unique(
                _hashes(frame, kind, self.images).drop_nulls().to_numpy() % BUCKETS, return_counts=True
            )
            for kind in self._counts
        }

    def add(self, seen: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
        """See Gatherer."""
        for kind, (buckets, counts) in seen.items():
            self._counts[kind][buckets.astype(np.int64)] += counts

    def fullest(self) -> dict[str, np.ndarray]:
        """Kind -> the fullest buckets that hold enough rows."""
        fullest = {}
        for kind, counts in self._counts.items():
            top = np.argsort(-counts, kind="stable")[:FULLEST]
            fullest[kind] = top[counts[top] >= FEWEST]
        return fullest


class Members:
    """Counts what lies in the fullest buckets: the second reading. A gatherer (see gather.py)."""

    def __init__(self, images: bool, fullest: dict[str, np.ndarray]) -> None:
        self.images = images
        self.columns = [DRAW, *_columns(images)]
        self.fullest = fullest
        self._equals: dict[str, dict[int, Equals]] = {kind: {} for kind in fullest}

    def look(self, frame: pl.DataFrame) -> dict[str, list[dict[str, Any]]]:
        """See Gatherer. A row per caption, and per size of picture."""
        return {kind: self._look(frame, kind) for kind in self.fullest if len(self.fullest[kind])}

    def add(self, seen: dict[str, list[dict[str, Any]]]) -> None:
        """See Gatherer."""
        for kind, rows in seen.items():
            for row in rows:
                equals = self._equals[kind].setdefault(row["hash"], Equals(text=row["text"]))
                equals.count += row["count"]
                room = MOST_OTHERS - len(equals.others)
                equals.others.update(row["others"][:room] if room < len(row["others"]) else row["others"])
                pairs = zip(row["draws"], row["shards"], row["rows"], row["firsts"], strict=True)
                equals.shown = _first_of_each([*equals.shown, *pairs])

    def found(self, kind: str) -> list[Equals]:
        """The equals of a kind that are told apart by something, most samples first."""
        equals = [e for e in self._equals.get(kind, {}).values() if e.count >= FEWEST and len(e.others) > 1]
        return sorted(equals, key=lambda e: (-e.count, e.shown[0]))

    def _look(self, frame: pl.DataFrame, kind: str) -> list[dict[str, Any]]:
        """The equals of one kind in some rows."""
        own = _hashes(frame, kind, self.images)
        full = np.zeros(BUCKETS, bool)
        full[self.fullest[kind]] = True
        rows = np.flatnonzero(own.is_not_null().to_numpy() & full[own.fill_null(0).to_numpy() % BUCKETS])
        members = frame[rows]
        table = members.select("shard", "row", DRAW, pl.col("text").str.slice(0, TEXT)).with_columns(
            hash=own[rows],
            other=_hashes(members, PICTURES if kind == CAPTIONS else CAPTIONS, self.images),
        )
        counted = table.group_by("hash").agg(pl.len().alias("count"), pl.col("text").first())
        joined = counted.join(_told_apart(table), on="hash", how="left").sort("hash")
        return joined.with_columns(pl.col(pl.List).fill_null([])).to_dicts()


def _told_apart(table: pl.DataFrame) -> pl.DataFrame:
    """Per hash: the `others`, and for those with the lowest draws, `draws`, `shards`, `rows`, `firsts`."""
    lowest = table.drop_nulls("other").sort(DRAW, "shard", "row")
    firsts = lowest.unique(["hash", "other"], keep="first", maintain_order=True)
    return firsts.group_by("hash").agg(
        pl.col("other").head(MOST_OTHERS).alias("others"),
        pl.col(DRAW).head(SHOWN).alias("draws"),
        pl.col("shard").head(SHOWN).alias("shards"),
        pl.col("row").head(SHOWN).alias("rows"),
        pl.col("other").head(SHOWN).alias("firsts"),
    )


def _kinds(images: bool) -> list[str]:
    """What is counted."""
    return [CAPTIONS, PICTURES] if images else [CAPTIONS]


def _columns(images: bool) -> list[str]:
    """The columns that the hashes are of."""
    return ["text", *(SIZE if images else ("url",))]


def _hashes(frame: pl.DataFrame, kind: str, images: bool) -> pl.Series:
    """(n,) UInt64: equal for equal captions, or for pictures of equal sizes, if the pool has none for equal
    URLs; null without one."""
    if kind == CAPTIONS:
        text = pl.col("text")
        return frame.select(hash=pl.when(text.str.strip_chars() != "").then(text.hash(0))).to_series()
    names = list(SIZE) if images else ["url"]
    present = pl.all_horizontal(pl.col(name).is_not_null() for name in names)
    return frame.select(hash=pl.when(present).then(pl.struct(names).hash(0))).to_series()


def _first_of_each(pairs: Sequence[tuple[float, str, int, int]]) -> list[tuple[float, str, int, int]]:
    """The lowest draws, one of each hash."""
    first: dict[int, tuple[float, str, int, int]] = {}
    for pair in sorted(pairs):
        first.setdefault(pair[3], pair)
    return list(first.values())[:SHOWN]

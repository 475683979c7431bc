"""A tar's samples as frames with their encoded images: read once, from front to back.

reader = read_samples(shard, batch_rows=256)
for frame, images in reader: ...
reader.damage                   # None, or where and why the tar breaks off
reader.seen                     # the tar's state and content
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import polars as pl

from pipeline.pool.archive.joining import Joined
from pipeline.pool.fields import USUAL, Limits
from pipeline.pool.shards import Shard
from pipeline.pool.tar import Damage, walk
from pipeline.pool.webdataset import describe
from pipeline.schema import CAPTIONS_COLUMN, EMPTY
from pipeline.storage.identity import Seen

BATCH_BYTES = 64 << 20
OWN = len(EMPTY.columns)  # values of a row that every sample has

Image = bytes | memoryview | None
Samples = tuple[pl.DataFrame, list[Image]]


class SampleReader:
    """Batches of a shard's samples. `rows`, `damage` and `seen` are known once the loop has ended.

    The last sample before a break is left out unless it is known to be whole. So the samples of a damaged tar
    equal the first samples of the undamaged one.
    """

    def __init__(
        self,
        shard: Shard,
        batch_rows: int,
        batch_bytes: int,
        images: bool = True,
        limits: Limits = USUAL,
        places: Sequence[str] = (),
    ) -> None:
        self._shard = shard
        self._places = places
        self._limits = limits
        self._images = images
        self._batch_rows = batch_rows
        self._batch_bytes = batch_bytes
        self.rows = 0
        self.damage: Damage | None = None
        self.seen: Seen | None = None

    def __iter__(self) -> Iterator[Samples]:
        self.rows = 0
        self.damage = None
        return cut(self._rows(), self._batch_rows, self._batch_bytes, self._images)

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        """Each sample's row, with its image."""
        seen: Counter[str] = Counter()
        members = walk(self._shard.path)
        samples = Joined(members, self._limits)
        for sample in samples:
            earlier = seen[sample.key]
            row = describe(
                sample, self._shard.name, self.rows, earlier, limits=self._limits, places=self._places
            )
            seen[sample.key] += 1
            self.rows += 1
            yield row
        self.damage = samples.damage
        self.seen = members.seen


def read_samples(
    shard: Shard,
    *,
    batch_rows: int = 256,
    batch_bytes: int = BATCH_BYTES,
    images: bool = True,
    limits: Limits = USUAL,
    places: Sequence[str] = (),
) -> SampleReader:
    """Frames of a sample's columns, with `captions` if the recipe names `places` for them, and by row the
    encoded image (None without `images`), in the order of the tar.

    The batches are cut as `cut` does it, so the cuts follow from the shard's content alone. After the
    loop, `.rows` is the number of samples, `.damage` says where the tar breaks off, if it does, and `.seen`
    what was read. Raises OSError if storage does, and ChangedError if the tar changes meanwhile.
    """
    return SampleReader(shard, batch_rows, batch_bytes, images, limits, places)


def cut(
    rows: Iterable[tuple[Any, ...]], batch_rows: int, batch_bytes: int = BATCH_BYTES, images: bool = True
) -> Iterator[Samples]:
    """Batches of rows as `webdataset.describe` gives them. A batch has at most batch_rows rows, and at most
    batch_bytes of images, captions and URLs unless one row has more. Without `images`, these are None."""
    held: list[tuple[Any, ...]] = []
    held_bytes = 0
    for described in rows:
        row = described if images else (*described[:-1], None)
        texts = [row[4] or "", row[5] or "", *(text for captions in row[OWN:-1] for text in captions)]
        size = len(row[-1] or b"") + sum(map(len, texts))
        if held and (len(held) == batch_rows or held_bytes + size > batch_bytes):
            yield _parted(held)
            held = []
            held_bytes = 0
        held.append(row)
        held_bytes += size
    if held:
        yield _parted(held)


def _parted(rows: Sequence[tuple[Any, ...]]) -> Samples:
    """The frame of some rows, and their images."""
    *columns, images = zip(*rows, strict=True)
    types = EMPTY.schema if len(columns) == OWN else {**EMPTY.schema, **CAPTIONS_COLUMN}
    named = zip(types.items(), columns, strict=True)
    return pl.DataFrame([pl.Series(name, values, kind) for (name, kind), values in named]), list(images)

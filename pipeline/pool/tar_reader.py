"""A tar's samples as Arrow tables: read once, from front to back, encoded images included.

reader = read_samples(shard, batch_rows=256)
for table in reader: ...
reader.damage                   # None, or where and why the tar breaks off
reader.seen                     # the tar's state and content
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.pool.archive.joining import Joined
from pipeline.pool.fields import USUAL, Limits
from pipeline.pool.shards import Shard
from pipeline.pool.tar import Damage, walk
from pipeline.pool.webdataset import describe
from pipeline.schema import CAPTIONS, SAMPLE_SCHEMA
from pipeline.storage.identity import Seen

BATCH_BYTES = 64 << 20
OWN = len(SAMPLE_SCHEMA)  # values of a row that every sample has


IMAGE = pa.field("image", pa.large_binary())


class SampleReader:
    """Tables of a shard's samples. `rows`, `damage` and `seen` are known once the loop has ended.

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

    def __iter__(self) -> Iterator[pa.Table]:
        self.rows = 0
        self.damage = None
        return tables(self._rows(), self._batch_rows, self._batch_bytes, self._images)

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
    """Tables of SAMPLE_SCHEMA, of `captions` if the recipe names `places` for them, and of `image` (the
    encoded bytes, or null without `images`), in the order of the tar.

    The tables are cut as `tables` does it, so the cuts follow from the shard's content alone. After the
    loop, `.rows` is the number of samples, `.damage` says where the tar breaks off, if it does, and `.seen`
    what was read. Raises OSError if storage does, and ChangedError if the tar changes meanwhile.
    """
    return SampleReader(shard, batch_rows, batch_bytes, images, limits, places)


def tables(
    rows: Iterable[tuple[Any, ...]], batch_rows: int, batch_bytes: int = BATCH_BYTES, images: bool = True
) -> Iterator[pa.Table]:
    """Tables of rows as `webdataset.describe` gives them. A table has at most batch_rows rows, and at most
    batch_bytes of images, captions and URLs unless one row has more. Without `images`, these are null."""
    held: list[tuple[Any, ...]] = []
    held_bytes = 0
    for described in rows:
        row = described if images else (*described[:-1], None)
        texts = [row[4] or "", row[5] or "", *(text for captions in row[OWN:-1] for text in captions)]
        size = len(row[-1] or b"") + sum(map(len, texts))
        if held and (len(held) == batch_rows or held_bytes + size > batch_bytes):
            yield _table(held)
            held = []
            held_bytes = 0
        held.append(row)
        held_bytes += size
    if held:
        yield _table(held)


def _table(rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    """Rows as one table."""
    *columns, images = zip(*rows, strict=True)
    schema = SAMPLE_SCHEMA if len(columns) == OWN else SAMPLE_SCHEMA.append(CAPTIONS)
    arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays([*arrays, binary(images)], schema=schema.append(IMAGE))


def binary(values: Sequence[bytes | memoryview | None]) -> pa.LargeBinaryArray:
    """Bytes, copied once into an array. pa.array is not used, since up to pyarrow 26 it never frees a
    memoryview."""
    offsets = np.zeros(len(values) + 1, np.int64)
    np.cumsum([0 if value is None else len(value) for value in values], out=offsets[1:])
    present = pa.array([value is not None for value in values], pa.bool_()).buffers()[1]
    data = b"".join(value for value in values if value is not None)
    buffers = [present, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_binary(), len(values), buffers)


def buffers(image: pa.ChunkedArray) -> list[memoryview | None]:
    """The values of a binary column, as views: nothing is copied."""
    return [memoryview(value.as_buffer()) if value.is_valid else None for value in image]

"""A pool's columns by full name, from whichever parts of the store, or of a DataComp folder, hold them.

columns = session.columns
columns.read("00000", ["uid", "clip.score"])
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from pipeline.pool.datacomp import Metadata
from pipeline.schema import owner
from pipeline.storage import layout
from pipeline.storage.store import Store

GROUP_BYTES, GROUP_SHARDS = 1 << 20, 64  # of samples parts that are decided on together


class Columns:
    """A shard's columns by full name (`text`, `clip.score`), from whichever parts hold them. `keys` maps
    operator names to cache keys; `datacomp` is the folder that holds the samples, if the store does not.
    Travels to workers."""

    def __init__(self, store: Store, keys: Mapping[str, str], datacomp: str | None = None) -> None:
        self.store, self.keys = store, dict(keys)
        self.metadata = Metadata(datacomp) if datacomp else None

    def folder(self, column: str) -> str:
        """The folder whose parts hold a column."""
        name = owner(column)
        return layout.columns_folder(name, self.keys[name]) if name else layout.SAMPLES

    def read(self, shard: str, names: Sequence[str]) -> pl.DataFrame:
        """(n, len(names)) frame in the shard's row order. Raises FileNotFoundError."""
        return self.read_many([shard], names)

    def read_many(self, shards: Sequence[str], names: Sequence[str]) -> pl.DataFrame:
        """The rows of several shards, in order; locally in one call per part, which is most of the cost."""
        parts: dict[str | None, list[str]] = {}
        for name in dict.fromkeys(names):
            parts.setdefault(owner(name), []).append(name)
        found = [self._part(shards, wanted) for wanted in parts.values()]
        return pl.concat(found, how="horizontal").select(list(dict.fromkeys(names)))

    def _part(self, shards: Sequence[str], names: Sequence[str]) -> pl.DataFrame:
        """Columns of one owner."""
        if self.metadata and owner(names[0]) is None:
            return self.metadata.read(shards, names)
        return self.store.read_parts(self.folder(names[0]), shards, names)

    def batches(self, shard: str, names: Sequence[str], rows: int) -> Iterator[pl.DataFrame]:
        """A shard's rows, `rows` at a time; at least one frame. Of a DataComp folder no more is held."""
        own = [name for name in names if self.metadata and owner(name) is None]
        stored = [name for name in names if name not in own]
        frame = self.read(shard, stored) if stored else pl.DataFrame()
        if self.metadata is None or not own:
            yield from (frame.slice(start, rows) for start in range(0, len(frame), rows) or (0,))
            return
        start = 0
        for part in self.metadata.batches(shard, own, rows):
            yield part.hstack(frame.slice(start, len(part)))
            start += len(part)

    def row(self, shard: str, row: int, names: Sequence[str]) -> dict[str, Any]:
        """A sample's own columns."""
        frame = self.metadata.row(shard, row, names) if self.metadata else self.read(shard, names)[row]
        return frame.row(0, named=True)

    def find(self, shard: str, uids: Sequence[str]) -> list[int]:
        """The rows of a shard that have one of these uids, in lower case."""
        if self.metadata:
            return self.metadata.find(shard, uids)
        return self.read(shard, ["uid"])["uid"].is_in(uids).arg_true().to_list()

    def groups(self, shards: Sequence[str]) -> Iterator[list[str]]:
        """Runs of consecutive shards, small enough to be held in memory together."""
        group: list[str] = []
        total = 0
        for shard in shards:
            total += self._size(shard)
            group.append(shard)
            if total >= GROUP_BYTES or len(group) == GROUP_SHARDS:
                yield group
                group, total = [], 0
        if group:
            yield group

    def _size(self, shard: str) -> int:
        """Bytes of a shard's samples; on object storage, where asking costs, a table of DataComp's is full."""
        if self.metadata is None:
            return self.store.part_size(layout.SAMPLES, shard)
        return os.path.getsize(self.metadata.path(shard)) if self.metadata.local else GROUP_BYTES

"""A pool's columns by full name, from whichever table holds them.

columns = session.columns
columns.read("00000", ["uid", "clip.score"])
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from pipeline.pool.sample_table import SampleTable, StoredSamples
from pipeline.schema import owner
from pipeline.storage import layout
from pipeline.storage.store import Store

GROUP_BYTES = 1 << 20  # of samples of the shards that are decided on together
GROUP_SHARDS = 64


class Columns:
    """A shard's columns by full name (`text`, `clip.score`). The columns of operators lie in the store,
    under the cache keys in `keys` (operator -> key). A sample's own lie in `samples`, by default in the
    store too. Travels to workers."""

    def __init__(self, store: Store, keys: Mapping[str, str], samples: SampleTable | None = None) -> None:
        self.store = store
        self.keys = dict(keys)
        self.samples = samples or StoredSamples(self.store)

    def folder(self, column: str) -> str:
        """The folder of the store whose parts hold a column."""
        operator = owner(column)
        return layout.columns_folder(operator, self.keys[operator]) if operator else layout.SAMPLES

    def read(self, shard: str, names: Sequence[str]) -> pl.DataFrame:
        """(n, len(names)) frame in the shard's row order. Raises FileNotFoundError."""
        return self.read_many([shard], names)

    def read_many(self, shards: Sequence[str], names: Sequence[str]) -> pl.DataFrame:
        """The rows of several shards, in order; locally in one call per part, which is most of the cost."""
        by_owner: dict[str | None, list[str]] = {}
        for name in dict.fromkeys(names):
            by_owner.setdefault(owner(name), []).append(name)
        frames = [self._of_owner(operator, shards, owned) for operator, owned in by_owner.items()]
        return pl.concat(frames, how="horizontal").select(list(dict.fromkeys(names)))

    def _of_owner(self, operator: str | None, shards: Sequence[str], names: Sequence[str]) -> pl.DataFrame:
        """Columns of one operator, or of the samples."""
        if operator is None:
            return self.samples.read(shards, names)
        return self.store.read_parts(self.folder(names[0]), shards, names)

    def batches(self, shard: str, names: Sequence[str], rows: int) -> Iterator[pl.DataFrame]:
        """A shard's rows, `rows` at a time; at least one frame."""
        own = [name for name in names if owner(name) is None]
        stored = [name for name in names if name not in own]
        frame = self.read(shard, stored) if stored else pl.DataFrame()
        if not own:
            yield from (frame.slice(start, rows) for start in range(0, len(frame), rows) or (0,))
            return
        start = 0
        for part in self.samples.batches(shard, own, rows):
            yield part.hstack(frame.slice(start, len(part)))
            start += len(part)

    def row(self, shard: str, row: int, names: Sequence[str]) -> dict[str, Any]:
        """A sample's own columns."""
        return self.samples.row(shard, row, names).row(0, named=True)

    def rows_at(self, shard: str, rows: Sequence[int], names: Sequence[str]) -> pl.DataFrame:
        """(len(rows), len(names)) some rows of a shard, in the order of `rows`. Raises FileNotFoundError."""
        own = [name for name in names if owner(name) is None]
        stored = [name for name in names if owner(name) is not None]
        frames = [self.samples.rows_at(shard, rows, own)] if own else []
        frames += [self.read(shard, stored)[list(rows)]] if stored else []
        return pl.concat(frames, how="horizontal").select(names)

    def find(self, shard: str, uids: Sequence[str]) -> list[int]:
        """The rows of a shard that have one of these uids, in lower case."""
        return self.samples.find(shard, uids)

    def groups(self, shards: Sequence[str]) -> Iterator[list[str]]:
        """Runs of consecutive shards, small enough to be held in memory together."""
        group: list[str] = []
        total = 0
        for shard in shards:
            total += self.samples.size(shard)
            group.append(shard)
            if total >= GROUP_BYTES or len(group) == GROUP_SHARDS:
                yield group
                group = []
                total = 0
        if group:
            yield group

"""The end of a batch's life: its new columns wait here until their shard is whole, and are then published.

A worker adds batches, in any order. The reader of the shard says how many rows to expect. When that many
are there, the collector puts them in order and publishes one part per operator. A shard is published whole
or not at all, and a batch that comes twice counts once.
"""

import polars as pl

from pipeline.errors import ShardError
from pipeline.operator import Writer
from pipeline.run.batches import Batch, Work
from pipeline.storage import layout
from pipeline.storage.retry import persist
from pipeline.storage.store import Store


class Collector:
    """Collects the new columns of any number of shards. `failed`: the shards that storage did not take, with
    reasons."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.store = Store(work.store)
        self.parts: dict[str, dict[int, pl.DataFrame]] = {}  # by shard, by number of the first row
        self.expected: dict[str, int] = {}
        self.failed: dict[str, str] = {}

    def add_batch(self, batch: Batch) -> None:
        """Take a batch with every new column."""
        columns = [column for name in self.work.names for column in self._columns(name)]
        self.parts.setdefault(batch.shard, {})[batch.start] = batch.frame.select("shard", "row", *columns)
        self._publish_if_whole(batch.shard)

    def expect_rows(self, shard: str, rows: int) -> None:
        """Learn how many rows a shard has."""
        self.expected[shard] = rows
        self._publish_if_whole(shard)

    def _publish_if_whole(self, shard: str) -> None:
        """Publish a shard if all its rows are here, and forget it."""
        parts = self.parts.get(shard)
        if parts is None or sum(map(len, parts.values())) != self.expected.get(shard):
            return
        frame = pl.concat([parts[start] for start in sorted(parts)], rechunk=True)
        del self.parts[shard], self.expected[shard]
        try:
            persist(lambda: self._publish(shard, frame))
        except ShardError as error:
            self.failed[shard] = str(error)

    def _publish(self, shard: str, frame: pl.DataFrame) -> None:
        """Write a whole shard's part of each operator."""
        for name in self.work.names:
            folder = layout.columns_folder(name, self.work.keys[name])
            self.store.write(layout.part(folder, shard), frame.select("shard", "row", *self._columns(name)))

    def _columns(self, name: str) -> list[str]:
        """An operator's columns, by full name, `error` last."""
        operator = self.work.entries[name].operator
        assert isinstance(operator, Writer)
        return [f"{name}.{column}" for column in (*operator.writes, "error")]

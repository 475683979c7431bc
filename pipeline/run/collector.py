"""Collects the new columns of each shard and publishes them when all its rows are there."""

import polars as pl

from pipeline.errors import ShardError
from pipeline.operator import Writer
from pipeline.run.batches import Batch, Work
from pipeline.storage import layout
from pipeline.storage.retry import persist
from pipeline.storage.store import Store


class Collector:
    """Gathers the new columns of shards in any order of batches and publishes a shard's files when all
    its rows are there, or says in `failed` why not. Idempotent: a batch that comes twice counts once."""

    def __init__(self, work: Work) -> None:
        self.work, self.store = work, Store(work.store)
        self.parts: dict[str, dict[int, pl.DataFrame]] = {}
        self.expected, self.failed = dict[str, int](), dict[str, str]()

    def add(self, batch: Batch) -> None:
        """Rows of a shard, with every new column."""
        columns = [c for n in self.work.names for c in (*_written(self.work, n), f"{n}.error")]
        self.parts.setdefault(batch.shard, {})[batch.start] = batch.frame.select("shard", "row", *columns)
        self._publish_if_whole(batch.shard)

    def expect(self, shard: str, rows: int) -> None:
        """The shard has that many rows in all."""
        self.expected[shard] = rows
        self._publish_if_whole(shard)

    def _publish_if_whole(self, shard: str) -> None:
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
        for name in self.work.names:
            columns = ("shard", "row", *_written(self.work, name), f"{name}.error")
            self.store.write(
                layout.part(layout.columns_folder(name, self.work.keys[name]), shard), frame.select(columns)
            )


def _written(work: Work, name: str) -> list[str]:
    operator = work.entries[name].operator
    assert isinstance(operator, Writer)
    return [f"{name}.{column}" for column in operator.writes]

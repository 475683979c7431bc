"""How much of a pass over the pool is done, from its first batch on.

A bar that counts shards alone says nothing before the first shard is done, which may be half of the work. So
rows are counted if the rows of every shard are known, else the bytes of the images against the sizes of the
shards, else shards.
"""

from collections.abc import Sequence

from pipeline.pool.shards import Shard
from pipeline.run.executor import Event


class PassAmount:
    """The share of a pass that its events tell."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        self.shards = len(shards)
        self.sizes = {shard.name: shard.size for shard in shards}
        sizes = [shard.size for shard in shards]
        self.all_rows = sum(shard.rows for shard in shards) if all(s.content for s in shards) else 0
        self.all_bytes = sum(size or 0 for size in sizes) if None not in sizes else 0
        self.work = self.bytes = 0.0
        self.ended = 0
        self.ended_rows = self.ended_bytes = self.ended_sizes = 0

    def add(self, event: Event) -> None:
        """Count an event."""
        self.work += event.work
        self.bytes += event.bytes
        if (read := event.read) is not None:
            self.ended += 1
            self.ended_rows += read.rows
            self.ended_bytes += read.bytes
            self.ended_sizes += self.sizes.get(read.shard) or 0

    @property
    def share(self) -> float:
        """The part of the work that is done, in [0, 1]."""
        if self.shards == self.ended:
            return 1.0
        by_shards = self.ended / self.shards
        if self.all_rows:
            return min(1.0, self.work / self.all_rows)
        if not self.all_bytes:
            return by_shards
        if self.bytes:  # a shard holds more than its images: how much more, those that have ended tell
            images = self.ended_bytes / self.ended_sizes if self.ended_sizes and self.ended_bytes else 1.0
            return min(1.0, self.bytes / (images * self.all_bytes))
        if self.ended_rows and self.ended_sizes:
            return min(1.0, self.work / (self.ended_rows / self.ended_sizes * self.all_bytes))
        return by_shards

"""Tables of captions and URLs, without images: parquet, TSV, CSV or JSON lines."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from pipeline.errors import RecipeError
from pipeline.pool.kinds.kind import PoolKind, SampleBatch
from pipeline.pool.shards import Listing, Shard, list_shards
from pipeline.pool.table_reader import check_table, identify_table, read_table
from pipeline.storage.identity import Seen


class Tables(PoolKind):
    """A table is a shard."""

    noun = "tables"
    has_images = False
    takes_columns = True

    def list_shards(self) -> Listing:
        """See PoolKind."""
        return list_shards(self.paths)

    def check_shard(self, shard: Shard) -> None:
        """See PoolKind. A table must have its columns."""
        check_table(shard, self.columns, self.limits, self.places)

    def check(self, shards: Sequence[Shard], columns: Collection[str]) -> None:
        """See PoolKind. Raises RecipeError if `pool.kind` says otherwise than the names of the files."""
        if not shards[0].table:
            raise RecipeError(f"pool.kind is tables, and {shards[0].path} is a tar")
        if "image" in self.columns:
            raise RecipeError("pool.columns.image is for tables that hold images: add kind: image_tables")

    def read(
        self, shard: Shard, rows: int, notes: dict[str, Any], images: bool = True
    ) -> Iterator[SampleBatch]:
        """See PoolKind."""
        reader = read_table(shard, self.columns, rows, limits=self.limits, captions=self.places)
        for frame in reader:
            yield frame, None
        if reader.seen:
            notes |= self.notes_of(reader.seen)
        if reader.damage:
            notes["damage"] = reader.damage._asdict()

    def identify(self, shard: Shard) -> Seen:
        """See PoolKind."""
        return self.read_as(identify_table(shard))

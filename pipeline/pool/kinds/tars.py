"""Tars with a WebDataset's samples, as img2dataset's `webdataset` output format and many others have it."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import polars as pl
import pyarrow as pa

from pipeline.errors import ChangedError, RecipeError
from pipeline.pool.img2dataset import lost_beside
from pipeline.pool.kinds.kind import Fields, MembersOf, PoolKind, SampleBatch
from pipeline.pool.shards import SUFFIX, Listing, Shard, list_shards
from pipeline.pool.tar_reader import buffers, iter_fields, read_samples
from pipeline.storage.identity import Seen, noted
from pipeline.storage.ranges import RUN_AGAIN, ByteRanges, identify


class Tars(PoolKind):
    """A tar is a shard. Its samples' files are byte ranges of it."""

    noun = "tars"
    has_images = True

    def list_shards(self) -> Listing:
        """See PoolKind."""
        return list_shards(self.paths)

    def check(self, shards: Sequence[Shard], columns: Collection[str]) -> None:
        """See PoolKind. Raises RecipeError if `pool.kind` says otherwise than the names of the files."""
        if shards[0].table:
            raise RecipeError(f"pool.kind is tars, and {shards[0].path} is a table")

    def read(
        self, shard: Shard, rows: int, notes: dict[str, Any], images: bool = True
    ) -> Iterator[SampleBatch]:
        """See PoolKind."""
        reader = read_samples(shard, batch_rows=rows, images=images)
        for table in reader:
            yield parted(table)
        notes |= noted(reader.seen)
        if reader.damage:
            notes["damage"] = reader.damage._asdict()

    def identify(self, shard: Shard) -> Seen:
        """See PoolKind."""
        return identify(shard.path)

    def lost(self, shard: Shard) -> dict[str, int]:
        """See PoolKind."""
        return lost_beside(shard.path.removesuffix(SUFFIX))

    @contextmanager
    def members(self, shard: Shard) -> Iterator[MembersOf]:
        """See PoolKind."""
        with ByteRanges(shard.path, shard.state) as tar:

            def members_of(row: Mapping[str, Any]) -> Fields:
                fields = iter_fields(tar.read(row["offset"], row["length"]), row["key"])
                if not fields:
                    tar.check()
                    raise ChangedError(
                        f"{shard.path} is not the tar that was read (no {row['key']} there): {RUN_AGAIN}"
                    )
                return fields

            yield members_of


def parted(table: pa.Table) -> SampleBatch:
    """Samples, and their images."""
    index = table.column_names.index("image")
    return pl.DataFrame(table.remove_column(index)), buffers(table.column(index))

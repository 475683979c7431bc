"""Tars with a WebDataset's samples, as img2dataset's `webdataset` output format and many others have it."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pipeline.errors import RecipeError
from pipeline.pool.archive.read_through import TarFiles
from pipeline.pool.captions import check_members
from pipeline.pool.fetching import Fetch
from pipeline.pool.img2dataset import lost_beside
from pipeline.pool.kinds.kind import MembersOf, PoolKind, SampleBatch
from pipeline.pool.shards import PACKED_TARS, SUFFIX, Listing, Shard, list_shards
from pipeline.pool.tar_reader import read_samples
from pipeline.storage.identity import Seen
from pipeline.storage.ranges import identify


class Tars(PoolKind):
    """A tar is a shard. Its samples' files are byte ranges of it; those of a packed or unsorted tar are found
    by reading it through."""

    noun = "tars"
    has_images = True

    def list_shards(self) -> Listing:
        """See PoolKind."""
        return list_shards(self.paths)

    def check(self, shards: Sequence[Shard], columns: Collection[str]) -> None:
        """See PoolKind. Raises RecipeError if `pool.kind` says otherwise than the names of the files."""
        if shards[0].table:
            raise RecipeError(f"pool.kind is tars, and {shards[0].path} is a table")
        check_members(self.places)

    def read(
        self, shard: Shard, rows: int, notes: dict[str, Any], images: bool = True
    ) -> Iterator[SampleBatch]:
        """See PoolKind."""
        places = list(map(str, self.places))
        reader = read_samples(shard, batch_rows=rows, images=images, limits=self.limits, places=places)
        yield from reader
        if reader.seen:
            notes |= self.notes_of(reader.seen)
        if reader.damage:
            notes["damage"] = reader.damage._asdict()

    def identify(self, shard: Shard) -> Seen:
        """See PoolKind."""
        return self.read_as(identify(shard.path))

    def lost(self, shard: Shard) -> dict[str, int]:
        """See PoolKind."""
        suffix = next(suffix for suffix in (SUFFIX, *PACKED_TARS, "") if shard.path.endswith(suffix))
        return lost_beside(shard.path.removesuffix(suffix))

    @contextmanager
    def members(self, shard: Shard, fetch: Fetch | None = None) -> Iterator[MembersOf]:
        """See PoolKind."""
        with TarFiles(shard.path, shard.state, fetch) as files:
            yield lambda row: files.of(row["key"], row["offset"], row["length"])

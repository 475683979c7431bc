"""A DataComp metadata folder. It is the samples table itself: nothing of it is copied into the store."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import polars as pl

from pipeline.errors import RecipeError, ShardError, worded
from pipeline.pool.datacomp_reader import EMBEDDINGS, NPZ, Metadata
from pipeline.pool.kinds.kind import PoolKind, SampleBatch
from pipeline.pool.sample_table import SampleTable
from pipeline.pool.shards import Listing, Shard
from pipeline.schema import EMPTY, READY_COLUMNS, SAMPLE_COLUMNS
from pipeline.storage import layout
from pipeline.storage.retry import from_storage
from pipeline.storage.store import Store

THREADS = 16  # footers read at a time: object storage is slow to begin
LARGE = 1 << 40  # bytes: for a table whose size would cost a request, so that it is read by itself


class DataComp(PoolKind):
    """A parquet file is a shard."""

    key = "pool.datacomp"
    noun = "tables"
    has_images = False
    ready = READY_COLUMNS["datacomp"]

    @property
    def metadata(self) -> "Metadata":
        """The folder."""
        return Metadata(self.paths[0])

    def list_shards(self) -> Listing:
        """See PoolKind. Raises RecipeError."""
        metadata = self.metadata
        try:
            files, passed_over = metadata.listed()
        except Exception as error:
            if not (isinstance(error, ImportError) or from_storage(error)):
                raise
            raise RecipeError(f"{self.key}: {worded(error)}") from None
        shards = (Shard(n, metadata.path(n), pair.size, state=pair.state) for n, pair in files.items())
        return Listing(tuple(shards), metadata.root, passed_over)

    def check(self, shards: Sequence[Shard], columns: Collection[str]) -> None:
        """See PoolKind. The npz files may be absent as a whole."""
        metadata = self.metadata
        wanted = sorted(EMBEDDINGS.keys() & columns)
        if wanted and not metadata.fs.exists(metadata.path(shards[0].name, NPZ)):
            raise RecipeError(f"{self.key}: {metadata.base} holds no npz files, and {wanted[0]} lies in them")

    def read(self, shard: Shard, rows: int, notes: dict[str, Any]) -> Iterator[SampleBatch]:
        """See PoolKind."""
        for frame in self.metadata.batches(shard.name, list(SAMPLE_COLUMNS), rows):
            yield pl.concat([EMPTY, frame], how="diagonal"), None

    def samples(self, store: Store) -> SampleTable:
        """See PoolKind. The folder itself."""
        return InPlace(self.paths[0], store)


class InPlace(Metadata):
    """The folder as the samples table of a pool. Row counts, once read, are remembered in the store."""

    folders: tuple[str, ...] = ()

    def __init__(self, folder: str, store: Store) -> None:
        super().__init__(folder)
        self.store = store

    def size(self, shard: str) -> int:
        """Bytes of the parquet file; on object storage, which would have to be asked, LARGE."""
        return os.path.getsize(self.path(shard)) if self.local else LARGE

    def counts(self, shards: Sequence[str]) -> dict[str, int]:
        """Shard -> samples. Raises RecipeError if the folder is not the one that the store was made from,
        or if it has changed since, and OSError."""
        root = self.store.root
        before: Mapping[str, Any] = (
            orjson.loads(root.read(layout.DATACOMP)) if root.exists(layout.DATACOMP) else {}
        )
        now = self.files()
        if changed := next((n for n in shards if n in before and tuple(before[n][:2]) != now[n][:2]), None):
            raise RecipeError(
                f"pool.datacomp: {self.path(changed)} or its npz is not what the store was made from; "
                "use a new store"
            )
        new = [name for name in shards if name not in before]
        with ThreadPoolExecutor(THREADS) as pool:
            try:
                counted = list(pool.map(lambda name: self.rows(name, npz=now[name].npz is not None), new))
            except ShardError as error:
                raise RecipeError(f"pool.datacomp: {error}") from None
        counts = {**before, **{n: [*now[n][:2], rows] for n, rows in zip(new, counted, strict=True)}}
        if new:
            options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS
            root.publish(layout.DATACOMP, orjson.dumps(counts, option=options))
        return {shard: counts[shard][2] for shard in shards}

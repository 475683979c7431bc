"""A DataComp metadata folder. It is the samples table itself: nothing of it is copied into the store."""

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import polars as pl

from pipeline.bounds import USUAL, Bounds
from pipeline.errors import ChangedError, RecipeError, ShardError
from pipeline.pool.datacomp.metadata import EMBEDDINGS, NPZ, PARQUET, ROWS, Metadata
from pipeline.pool.kinds.kind import LOOKED_AT, PoolKind, SampleBatch
from pipeline.pool.kinds.places import check_places
from pipeline.pool.sample_table import SampleTable, begins
from pipeline.pool.shards import Listing, Shard
from pipeline.progress import watched
from pipeline.schema import READY_COLUMNS
from pipeline.storage import layout
from pipeline.storage.faults import failure, note_json
from pipeline.storage.identity import Seen
from pipeline.storage.retry import from_storage
from pipeline.storage.store import Store
from pipeline.uids import own_uids

THREADS = 16  # footers read at a time: object storage is slow to begin
KEY = re.compile(r"\d{9,12}", re.ASCII)
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
        return Metadata(self.paths[0], self.limits, self.places)

    def list_shards(self) -> Listing:
        """See PoolKind. Raises RecipeError."""
        metadata = self.metadata
        try:
            files, passed_over = metadata.listed()
        except Exception as error:
            if not (isinstance(error, ImportError) or from_storage(error)):
                raise
            raise RecipeError(f"{self.key}: {failure(self.paths[0], error)}") from None
        shards = (Shard(n, metadata.path(n), pair.size, state=pair.state) for n, pair in files.items())
        searched = tuple((metadata.root, (f"*{suffix}",)) for suffix in (PARQUET, NPZ))
        return Listing(tuple(shards), metadata.root, passed_over, searched)

    @property
    def suffixes(self) -> tuple[str, ...]:
        """See PoolKind."""
        return PARQUET, NPZ

    def files_of(self, shard: Shard) -> list[str]:
        """See PoolKind."""
        return [shard.path, self.metadata.path(shard.name, NPZ)]

    def check(self, shards: Sequence[Shard], columns: Collection[str]) -> None:
        """See PoolKind. The npz files may be absent as a whole."""
        metadata = self.metadata
        wanted = sorted(EMBEDDINGS.keys() & columns)
        if wanted and not metadata.fs.exists(metadata.path(shards[0].name, NPZ)):
            raise RecipeError(f"{self.key}: {metadata.base} holds no npz files, and {wanted[0]} lies in them")
        check_places(self, shards)

    def first_rows(self, shard: Shard) -> pl.DataFrame | None:
        """See PoolKind. The captions alone."""
        return next(self.metadata.batches(shard.name, ["text"], LOOKED_AT), None)

    def places_of(self, shard: Shard) -> set[str]:
        """See PoolKind. The columns."""
        return set(self.metadata.column_names(shard.name))

    def read(
        self, shard: Shard, rows: int, notes: dict[str, Any], images: bool = True
    ) -> Iterator[SampleBatch]:
        """See PoolKind. The table is the folder itself, so passes read a shard this way only if it could not
        be read before, and learn why."""
        self.metadata.checked_rows(shard.name)
        names = [name for name in self.empty.columns if name != "error"]
        for frame in self.metadata.batches(shard.name, names, rows):
            yield pl.concat([self.empty, frame], how="diagonal"), None
        notes["state"], notes["content"] = self.identify(shard)

    def identify(self, shard: Shard) -> Seen:
        """See PoolKind."""
        return Seen(shard.state, self.metadata.content(shard))

    def samples(self, store: Store) -> SampleTable:
        """See PoolKind. The folder itself."""
        return InPlace(self.paths[0], store, self.limits, self.places)


class InPlace(Metadata):
    """The folder as the samples table of a pool. The store notes the rows and the content of each shard, and
    the state of its files when they were read."""

    folders: tuple[str, ...] = ()

    def __init__(
        self, folder: str, store: Store, bounds: Bounds = USUAL, captions: Sequence[str | int] = ()
    ) -> None:
        super().__init__(folder, bounds, captions)
        self.store = store

    def size(self, shard: str) -> int:
        """Bytes of the parquet file; on object storage, which would have to be asked, LARGE."""
        return os.path.getsize(self.path(shard)) if self.local else LARGE

    def known(self, shards: Sequence[Shard]) -> list[Shard]:
        """See SampleTable. Files that are new, or of another state than noted, are checked, counted and
        identified. One that cannot be read stays unknown, and `DataComp.read` says why."""
        noted = self.store.root.read_json(layout.DATACOMP) or {}
        new = [shard for shard in shards if not _is_noted(shard, noted)]
        if new:
            with ThreadPoolExecutor(THREADS) as pool:
                notes = watched("checking the metadata", pool.map(self._note, new), len(new))
                noted |= zip([shard.name for shard in new], notes, strict=True)
            note_json(self.store.root, layout.DATACOMP, noted)
        return [shard.known_as(noted[shard.name]["content"], noted[shard.name]["rows"]) for shard in shards]

    def rows_at(self, shard: str, rows: Sequence[int], names: Sequence[str]) -> pl.DataFrame:
        """See SampleTable. Little behind the last of the rows is read of a local file."""
        first, last = 0, max(rows, default=-1)
        found = list[pl.DataFrame]()
        for frame in self.batches(shard, ["row", *(name for name in names if name != "row")], ROWS):
            found.append(frame.filter(pl.col("row").is_in(list(rows))))
            first += len(frame)
            if last < first:
                whole = pl.concat(found)
                places = {row: place for place, row in enumerate(whole["row"])}
                return whole[[places[row] for row in rows]].select(names)
        raise ShardError(f"{self.path(shard)} has no row {last}")

    def starting(self, shard: str, prefixes: Sequence[str]) -> pl.DataFrame:
        """See SampleTable."""
        if self.is_plain(shard):
            spelt = [s for p in prefixes for d in {p, _dashed(p)} for s in {d, d.upper()}]
            lazy = pl.scan_parquet(self.path(shard), glob=False, row_index_name="row")
            found = lazy.filter(begins("uid", spelt)).select("row", own_uids(pl.col("uid"))).collect()
        else:
            frames = self.batches(shard, ["row", "uid"], ROWS)
            found = pl.concat(frame.filter(begins("uid", prefixes)) for frame in frames)
        return found.drop_nulls("uid")

    def keyed(self, shard: str, keys: Sequence[str]) -> pl.DataFrame:
        """See SampleTable. Keys follow from the rows' numbers."""
        rows = [int(key) for key in dict.fromkeys(keys) if KEY.fullmatch(key)]
        if not rows:
            return pl.DataFrame(schema={"row": pl.UInt32, "key": pl.String})
        rows = [row for row in rows if row < self.rows(shard)]
        return self.rows_at(shard, rows, ["row", "key"]).filter(pl.col("key").is_in(keys))

    def check(self, shard: Shard) -> None:
        """See SampleTable. Of files on object storage, reading itself notices a change."""
        if self.local and shard.state and self.state_of(shard.name) != shard.state:
            raise ChangedError(f"{shard.path} or its npz changed while it was used: it is read again")

    def _note(self, shard: Shard) -> dict[str, Any]:
        """What `datacomp.json` holds of one shard. The content of one that cannot be read is empty."""
        try:
            rows, content = self.checked_rows(shard.name), self.content(shard)
        except ShardError:
            rows, content = 0, ""
        return {"state": shard.state, "rows": rows, "content": content}


def _dashed(prefix: str) -> str:
    """The beginning of a UUID with its dashes."""
    parts = (prefix[:8], prefix[8:12], prefix[12:16], prefix[16:20], prefix[20:])
    return "-".join(part for part in parts if part)


def _is_noted(shard: Shard, noted: Mapping[str, Any]) -> bool:
    """Whether there is a note of this shard in its present state. One that could not be read is tried
    again."""
    note = noted.get(shard.name)
    if not isinstance(note, dict) or not note.keys() >= {"state", "rows", "content"}:
        return False
    return bool(note["content"]) and shard.state in ("", note["state"])

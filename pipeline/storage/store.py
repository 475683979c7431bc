"""The store: everything that is computed about a pool, as parquet and JSON files in one folder. The tree
is in the docstring of layout.py.

    store = Store("s3://pool/store")
    store.write("stats/words-0123456789abcdef.parquet", table)
    store.read_parts("samples", ["00000", "00001"], ["uid", "text"])

A file that exists is complete (`folder.py`). Equal tables make equal bytes. A part is the table of one shard
in a folder of the store. Methods that take shards find a part in its own file or in a pack (`packs.py`).
"""

import io
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Any, NamedTuple

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.storage import layout
from pipeline.storage.folder import Folder
from pipeline.storage.footers import REQUESTS, Footer, parse_footer, read_footers
from pipeline.storage.packs import PackIndex, read_pack_index
from pipeline.storage.recent import Recent

ROW_GROUP = 65_536  # rows of a row group

# The most that a Store holds in memory.
INDEXES_HELD = 64  # pack indexes, one per folder: more than a recipe has operators
PACKS_HELD = 8  # of object storage, at most 4 MB each: shards are read one after the other
DECISIONS_HELD = 2  # tables that say where a decision's verdicts are
VERDICTS_HELD = 4  # files of verdicts: small shards share one, and are read one after the other


def to_arrow(frame: pl.DataFrame) -> pa.Table:
    """A polars frame as an Arrow table of types that every parquet reader knows, in one chunk."""
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest()).combine_chunks()


def footer_notes(notes: Mapping[str, Any]) -> dict[str, bytes]:
    """Notes (JSON values by name) as parquet's footer holds them; `footers.parse_footer` reads them back."""
    return {key: orjson.dumps(value, option=orjson.OPT_SORT_KEYS) for key, value in notes.items()}


class _Rows(NamedTuple):
    """Where a decision's verdicts on one shard are: rows of a file that small shards may share, which is
    named after its first shard, `part`."""

    part: str
    start: int
    rows: int


class Store:
    """The tables of one pool. Several threads may use it at a time. Pickling keeps the folder and drops the
    caches."""

    def __init__(self, root: str) -> None:
        self.root = Folder(root)
        self._clear_caches()

    def _clear_caches(self) -> None:
        """Begin with empty caches."""
        self._indexes = Recent[str, PackIndex | None](INDEXES_HELD)
        self._packs = Recent[str, bytes](PACKS_HELD)
        self._decisions = Recent[str, dict[str, _Rows]](DECISIONS_HELD)
        self._verdicts = Recent[Any, pl.DataFrame](VERDICTS_HELD)

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.root = state["root"]
        self._clear_caches()

    # --- tables by path ---------------------------------------------------------------------------

    def write(
        self,
        relative: str,
        frame: pl.DataFrame,
        notes: Mapping[str, Any] | None = None,
        row_group: int = ROW_GROUP,
    ) -> None:
        """Publish a frame as parquet; `notes` go into the footer as JSON."""
        table = to_arrow(frame)
        if notes:
            table = table.replace_schema_metadata(footer_notes(notes))
        sink = io.BytesIO()
        pq.write_table(table, sink, compression="zstd", compression_level=1, row_group_size=row_group)
        self.root.publish(relative, sink.getbuffer())

    def read(self, relative: str, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """A published frame, or some of its columns. Raises FileNotFoundError."""
        return self.read_many([relative], columns)

    def read_many(self, relatives: Sequence[str], columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Several published frames of equal columns, one below the other. Raises FileNotFoundError."""
        sources: list[Any] = [self.root.path(relative) for relative in relatives]
        if not self.root.local:
            with ThreadPoolExecutor(min(REQUESTS, len(relatives))) as pool:
                sources = [io.BytesIO(data) for data in pool.map(self.root.read, relatives)]
        elif missing := next((path for path in sources if not os.path.exists(path)), None):
            raise FileNotFoundError(missing)
        wanted = list(columns) if columns is not None else None
        frame = pl.read_parquet(sources, columns=wanted, glob=False)
        return frame if wanted is None else frame.select(wanted)

    # --- decisions --------------------------------------------------------------------------------

    def kept(self, decision: str, shard: str) -> pl.Series:
        """(n,) Boolean: which of a shard's rows a decision keeps. Raises FileNotFoundError."""
        return self.verdicts(decision, shard, ["keep"])["keep"]

    def verdicts(self, decision: str, shard: str, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """(n, 1 + rules) Boolean: `keep`, and each rule's verdict on the shard's rows, null for a row without
        a value; or some of these columns. Raises FileNotFoundError."""
        decided = self._decisions.get(decision, lambda: self._decided_shards(decision))
        if shard not in decided:
            raise FileNotFoundError(f"{decision}: no {shard}")
        part, start, rows = decided[shard]
        path = layout.verdicts(decision, part)
        key = (path, None if columns is None else tuple(columns))
        return self._verdicts.get(key, lambda: self.read(path, columns)).slice(start, rows)

    def _decided_shards(self, decision: str) -> dict[str, _Rows]:
        """Where the verdicts on each shard are."""
        table = self.read(layout.decided_shards(decision), ["shard", "part", "start", "samples"])
        return {shard: _Rows(part, start, rows) for shard, part, start, rows in table.iter_rows()}

    # --- parts ------------------------------------------------------------------------------------

    def read_parts(
        self, folder: str, shards: Sequence[str], columns: Sequence[str] | None = None
    ) -> pl.DataFrame:
        """The parts of these shards, one below the other, or some of their columns. Raises
        FileNotFoundError."""
        try:
            frames = list(self._frames(folder, shards, columns, self.pack_index(folder)))
        except FileNotFoundError:  # another process may have packed parts since this one read the index
            frames = list(self._frames(folder, shards, columns, self.pack_index(folder, fresh=True)))
        return frames[0] if len(frames) == 1 else pl.concat(frames)

    def _frames(
        self, folder: str, shards: Sequence[str], columns: Sequence[str] | None, index: PackIndex | None
    ) -> Iterator[pl.DataFrame]:
        """The parts in order; those that follow each other in one pack, or in files of their own, are one
        frame."""
        for pack, run in groupby(shards, index.pack_of if index else lambda shard: None):
            group = list(run)
            if index is None or pack is None:
                yield self.read_many([layout.part(folder, shard) for shard in group], columns)
            else:
                yield index.read(self._pack(layout.pack(folder, pack)), group, columns)

    def _pack(self, relative: str) -> str | io.BytesIO:
        """A pack's path on a local disk, or its bytes: on object storage the whole pack is fetched once,
        while its parts are read one after the other."""
        if self.root.local:
            return self.root.path(relative)
        return io.BytesIO(self._packs.get(relative, lambda: self.root.read(relative)))

    def pack_index(self, folder: str, fresh: bool = False) -> PackIndex | None:
        """Which parts of a folder are packed, and where, or None if none is. `fresh`: as it is now; otherwise
        as this Store read it last."""
        if fresh:
            return self._indexes.put(folder, read_pack_index(self.root, folder))
        return self._indexes.get(folder, lambda: read_pack_index(self.root, folder))

    def part_names(self, folder: str) -> set[str]:
        """The shards that have a part in a folder."""
        index = self.pack_index(folder, fresh=True)
        return self.root.file_names(folder, ".parquet").union(index.shards if index else ())

    def part_size(self, folder: str, shard: str) -> int:
        """Bytes of a part; 0 on object storage, because asking costs a request. Raises FileNotFoundError."""
        try:
            return self.root.size(layout.part(folder, shard))
        except FileNotFoundError:
            if (index := self.pack_index(folder)) and shard in index.shards:
                return index.part_size(shard)
            raise

    def footer(self, folder: str, shard: str) -> Footer | None:
        """(rows, notes) of a shard's part, or None if there is no such part."""
        try:
            return parse_footer(self.root.parquet_footer(layout.part(folder, shard)))
        except FileNotFoundError:
            index = self.pack_index(folder)
            return index.footer(shard) if index else None

    def footers(self, folder: str, shards: Collection[str]) -> dict[str, Footer]:
        """The footer of each of these shards that has a part in the folder, in the order of `shards`. One
        listing, and `footers.py` remembers the rest."""
        index = self.pack_index(folder, fresh=True)
        own = read_footers(self.root, folder, shards)
        if index is None:
            return own
        footers = ((shard, own.get(shard) or index.footer(shard)) for shard in shards)
        return {shard: footer for shard, footer in footers if footer is not None}

    def row_counts(self, folder: str, shards: Collection[str]) -> dict[str, int]:
        """Rows of the part of each of these shards that has one in the folder."""
        return {shard: footer.rows for shard, footer in self.footers(folder, shards).items()}

"""The store: everything that is computed about a pool, as parquet and JSON files in one folder. The tree
is in the docstring of layout.py.

    store = Store("s3://pool/store")
    store.write("stats/words-0123456789abcdef.parquet", table)
    store.read_parts("samples", ["00000", "00001"], ["uid", "text"])

A file that exists is complete (`folder.py`). Equal tables make equal bytes, with a seal over all of them
(`seals.py`). A part is the table of one shard in a folder of the store. Methods that take shards find a part
in its own file or in a pack (`packs.py`).

Files that are not as they were written are left out as if they were not there, and noted in `damaged`, until
`set_aside` moves them out of the way.
"""

import io
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa

from pipeline.storage import layout, seals
from pipeline.storage.faults import unlike
from pipeline.storage.folder import Folder
from pipeline.storage.footers import REQUESTS, Damage, Footer, footer_notes, parse_footer, read_footers, whole
from pipeline.storage.packs import PackIndex, lost_packs, read_pack_index
from pipeline.storage.recent import Recent

ROW_GROUP = 65_536  # rows of a row group
UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException)  # raised by polars for broken parquet

# The most that a Store holds in memory.
INDEXES_HELD = 64  # pack indexes, one per folder: more than a recipe has operators
PACKS_HELD = 8  # of object storage, at most 4 MB each: shards are read one after the other
DECISIONS_HELD = 2  # tables that say where a decision's verdicts are
VERDICTS_HELD = 4  # files of verdicts: small shards share one, and are read one after the other


def to_arrow(frame: pl.DataFrame) -> pa.Table:
    """A polars frame as an Arrow table of types that every parquet reader knows, in one chunk."""
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest()).combine_chunks()


class _Rows(NamedTuple):
    """Where a decision's verdicts on one shard are: rows of a file that small shards may share, which is
    named after its first shard, `part`."""

    part: str
    start: int
    rows: int


class Store:
    """The tables of one pool. Several threads may use it at a time. Pickling keeps the folder and drops the
    caches. `damaged`: files that are not as they were written, with reasons, by path. `claimed`: whether
    `store.json` is known to name the pool in use."""

    def __init__(self, root: str) -> None:
        self.root = Folder(root)
        self._clear_caches()

    def _clear_caches(self) -> None:
        """Begin with empty caches."""
        self.damaged = Damage(self.root)
        self.claimed = False
        self._indexes = Recent[str, PackIndex | None](INDEXES_HELD)
        self._packs = Recent[tuple[str, str], bytes](PACKS_HELD)
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
        durable: bool = False,
    ) -> memoryview:
        """Publish a frame as sealed parquet, whose bytes are returned; `notes` go into the footer as JSON.
        `durable`: see folder.py."""
        table = to_arrow(frame)
        sink = io.BytesIO()
        with seals.sealed_parquet(sink, table.schema) as writer:
            writer.write_table(table, row_group)
            writer.add_key_value_metadata(footer_notes(notes or {}))
        self.root.publish(relative, sink.getbuffer(), durable)
        return sink.getbuffer()

    def read(self, relative: str, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """A published frame, or some of its columns. Raises FileNotFoundError, DamagedError."""
        return self.read_many([relative], columns)

    def read_many(self, relatives: Sequence[str], columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Several published frames of equal columns, one below the other. Raises as `read`, and `unlike`."""
        sources: list[Any] = [self.root.path(relative) for relative in relatives]
        if not self.root.local:
            with ThreadPoolExecutor(min(REQUESTS, len(relatives))) as pool:
                sources = [io.BytesIO(data) for data in pool.map(self._fetch, relatives)]
        elif missing := next((path for path in sources if not os.path.exists(path)), None):
            raise FileNotFoundError(missing)
        wanted = list(columns) if columns is not None else None
        try:
            frame = pl.read_parquet(sources, columns=wanted, glob=False)
        except UNREADABLE as error:
            self._blame(relatives)
            raise unlike(relatives, error) from None
        return frame if wanted is None else frame.select(wanted)

    def whole(self, relatives: Collection[str]) -> set[str]:
        """Which of these tables are in the store as they were written (`footers.whole`)."""
        return whole(self.root, relatives, self.damaged)

    # --- damage -----------------------------------------------------------------------------------

    def set_aside(self) -> dict[str, str]:
        """Move the files in `damaged` to damaged/<path>, so that they are computed anew; returns them with
        reasons. The parts in a pack among them are no longer packed, and a decision with one of them is no
        longer complete."""
        moved = self.damaged.set_aside()
        for relative in moved:
            if packed := layout.packed_in(relative):
                folder, number = packed
                index = self.pack_index(folder, fresh=True)
                self.drop_packed(folder, index.in_packs([number]) if index else ())
            elif (unit := layout.unit_of(relative)) and unit.startswith("decisions/"):
                self.root.remove([layout.rules(unit)])
        return moved

    def _blame(self, relatives: Sequence[str]) -> None:
        """After one of these files could not be read: set aside those that are damaged. Raises DamagedError
        if there is one."""
        if found := self.damaged.check(relatives):
            self.set_aside()
            raise self.damaged.error(found)

    def _fetch(self, relative: str) -> bytes:
        """All bytes of a file on object storage. Raises FileNotFoundError, DamagedError."""
        data = self.root.read(relative)
        if seals.broken(data):
            self._blame([relative])
        return data

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

    def has_verdicts(self, decision: str) -> bool:
        """Whether every file of verdicts that a decision names is in the store as it was written. Object
        storage is trusted: there it costs no request."""
        if not self.root.local:
            return True
        self._decisions, self._verdicts = Recent(DECISIONS_HELD), Recent(VERDICTS_HELD)
        table = layout.decided_shards(decision)
        if not self.root.exists(table) or self.damaged.check([table]):
            return False
        parts = {rows.part for rows in self._decided_shards(decision).values()}
        folder = layout.verdicts_folder(decision)
        return read_footers(self.root, folder, parts, self.damaged).keys() == parts

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
                yield self._packed(layout.pack(folder, pack), index, group, columns)

    def _packed(
        self, relative: str, index: PackIndex, shards: Sequence[str], columns: Sequence[str] | None
    ) -> pl.DataFrame:
        """Parts out of one pack: on a local disk its path is read; on object storage the whole pack is
        fetched once, while its parts are read one after the other."""
        try:
            if self.root.local:
                return index.read(self.root.path(relative), shards, columns)
            data = self._packs.get((relative, index.seal), lambda: self._fetch(relative))
            return index.read(io.BytesIO(data), shards, columns)
        except UNREADABLE:
            self._blame([relative])
            raise

    def pack_index(self, folder: str, fresh: bool = False) -> PackIndex | None:
        """Which parts of a folder are packed, and where, or None if none is. `fresh`: as it is now; otherwise
        as this Store read it last."""
        if fresh:
            return self._indexes.put(folder, self._read_index(folder))
        return self._indexes.get(folder, lambda: self._read_index(folder))

    def _read_index(self, folder: str) -> PackIndex | None:
        """The index as it is now; None, and noted, if it is damaged."""
        try:
            return read_pack_index(self.root, folder)
        except seals.BrokenError as error:
            self.damaged.note(layout.pack_index(folder), str(error))
            return None

    def drop_packed(self, folder: str, shards: Collection[str]) -> None:
        """Take the parts of these shards out of a folder's packs. Call it before parts are written anew: a
        part that is packed is read from its pack. Packs that hold nothing more are removed."""
        index = self.pack_index(folder)
        if index and not index.shards.isdisjoint(shards):
            index = self.pack_index(folder, fresh=True)
        if index is None or index.shards.isdisjoint(shards):
            return
        left = index.table.filter(~pl.col("shard").is_in(list(shards)))
        self.write(layout.pack_index(folder), left, durable=True)
        self.pack_index(folder, fresh=True)
        unused = set(index.packs).difference(left["pack"])
        self.root.remove([layout.pack(folder, number) for number in sorted(unused)])

    def part_names(self, folder: str) -> set[str]:
        """The shards that have a part in a folder."""
        index = self.pack_index(folder, fresh=True)
        return self.root.file_names(folder, ".parquet").union(index.shards if index else ())

    def part_size(self, folder: str, shard: str) -> int:
        """Bytes of a part; 0 on object storage, because asking costs a request. Raises FileNotFoundError."""
        index = self.pack_index(folder)
        if index and shard in index.shards:
            return index.part_size(shard)
        return self.root.size(layout.part(folder, shard))

    def footer(self, folder: str, shard: str) -> Footer | None:
        """Rows, notes and seal of a shard's part, or None if there is no such part, or a damaged one, which
        is noted."""
        index = self.pack_index(folder)
        if index and (packed := index.footer(shard)):
            return packed
        try:
            return parse_footer(self.root.sealed_footer(layout.part(folder, shard)))
        except FileNotFoundError:
            return None
        except seals.BrokenError as error:
            self.damaged.note(layout.part(folder, shard), str(error))
            return None

    def footers(self, folder: str, shards: Collection[str]) -> dict[str, Footer]:
        """The footer of each of these shards that has a part in the folder, in the order of `shards`. One
        listing, and `footers.py` remembers the rest. Parts that are damaged, or lie in a damaged pack, are
        left out and noted."""
        index = self.pack_index(folder, fresh=True)
        if index is None:
            return read_footers(self.root, folder, shards, self.damaged)
        lost = set(index.in_packs(lost_packs(self.root, folder, index, self.damaged)))
        loose = [shard for shard in shards if shard not in index.shards]
        own = read_footers(self.root, folder, loose, self.damaged)
        found = ((shard, index.footer(shard) or own.get(shard)) for shard in shards if shard not in lost)
        return {shard: footer for shard, footer in found if footer is not None}

    def row_counts(self, folder: str, shards: Collection[str]) -> dict[str, int]:
        """Rows of the part of each of these shards that has one in the folder."""
        return {shard: footer.rows for shard, footer in self.footers(folder, shards).items()}

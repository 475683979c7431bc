"""Packs: many small parts in one file. With ten rows per part, opening ten thousand files takes longer than
reading them.

    packs/<folder>.parquet            the index: one row per packed part (INDEX_SCHEMA)
    packs/<folder>/<number>.parquet   a pack: the rows of several parts, one part after the other

A part is the table of one shard in a folder of the store; it is a file of its own, or some rows of a pack.
`compact.py` writes packs. `Store.read_parts`, `Store.footers` and `Store.part_names` read parts wherever they
are.
"""

import io
from collections.abc import Collection, Sequence

import orjson
import polars as pl

from pipeline.storage import layout
from pipeline.storage.folder import Folder
from pipeline.storage.footers import Footer

INDEX_SCHEMA = {
    "shard": pl.String,
    "pack": pl.Int64,  # the number in the pack's file name
    "start": pl.Int64,  # the pack's row with which the part begins
    "rows": pl.Int64,
    "bytes": pl.Int64,  # size of the part's own file, before it was packed
    "notes": pl.String,  # what the footer of that file said, as JSON
}


class PackIndex:
    """Which pack holds each packed part of one folder. `table`: (packed parts,) rows of INDEX_SCHEMA."""

    def __init__(self, table: pl.DataFrame) -> None:
        self.table = table
        self._row = {shard: row for row, shard in enumerate(table["shard"])}

    @property
    def shards(self) -> Collection[str]:
        """The shards whose parts are packed."""
        return self._row.keys()

    def pack_of(self, shard: str) -> int | None:
        """The number of the pack that holds a shard's part, or None if it is not packed."""
        row = self._row.get(shard)
        return None if row is None else int(self.table["pack"][row])

    def part_size(self, shard: str) -> int:
        """Bytes of the part's own file, before it was packed."""
        return int(self.table["bytes"][self._row[shard]])

    def footer(self, shard: str) -> Footer | None:
        """Rows and notes of a part, or None if it is not packed."""
        row = self._row.get(shard)
        if row is None:
            return None
        return Footer(self.table["rows"][row], orjson.loads(self.table["notes"][row]))

    def read(
        self, pack: str | io.BytesIO, shards: Sequence[str], columns: Sequence[str] | None
    ) -> pl.DataFrame:
        """The parts of these shards, one after the other, out of the one pack that holds them all (a local
        path, or its bytes). Raises FileNotFoundError."""
        spans = [self._span(shard) for shard in shards]
        first = min(start for start, _ in spans)
        last = max(start + rows for start, rows in spans)
        scan = pl.scan_parquet(pack, glob=False)
        frame = (scan if columns is None else scan.select(columns)).slice(first, last - first).collect()
        if _follow_each_other(spans):
            return frame
        return pl.concat([frame.slice(start - first, rows) for start, rows in spans])

    def _span(self, shard: str) -> tuple[int, int]:
        """(first row, number of rows) of a part in its pack."""
        row = self._row[shard]
        return self.table["start"][row], self.table["rows"][row]


def read_pack_index(root: Folder, folder: str) -> PackIndex | None:
    """The index of a folder of the store, or None if nothing there is packed."""
    try:
        data = root.read(layout.pack_index(folder))
    except FileNotFoundError:
        return None
    return PackIndex(pl.read_parquet(io.BytesIO(data)))


def _follow_each_other(spans: Sequence[tuple[int, int]]) -> bool:
    """Whether each span begins where the one before it ends."""
    ends = [start + rows for start, rows in spans]
    return all(end == start for end, (start, _) in zip(ends, spans[1:], strict=False))

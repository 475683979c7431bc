"""Packs: many small parts in one file. With ten rows per part, opening ten thousand files takes longer than
reading them.

    packs/<folder>.parquet            the index: one row per packed part (INDEX_SCHEMA)
    packs/<folder>/<number>.parquet   a pack: the rows of several parts, one part after the other

A part is the table of one shard in a folder of the store; it is a file of its own, or some rows of a pack. If
both are there, a killed `compact` left the file: the index counts. So whoever writes a part anew drops its
shard from the index first (`Store.drop_packed`).
`compact.py` writes packs. `Store.read_parts`, `Store.footers` and `Store.part_names` read parts wherever they
are.
"""

import io
from collections.abc import Collection, KeysView, Sequence
from typing import NamedTuple

import orjson
import polars as pl

from pipeline.storage import layout
from pipeline.storage.folder import Folder
from pipeline.storage.footers import Damage, Footer, parse_footer, read_footers
from pipeline.storage.seals import verified_footer

INDEX_SCHEMA = {
    "shard": pl.String,
    "pack": pl.Int64,  # the number in the pack's file name
    "start": pl.Int64,  # the pack's row with which the part begins
    "rows": pl.Int64,
    "bytes": pl.Int64,  # size of the part's own file, before it was packed
    "notes": pl.String,  # what the footer of that file said, as JSON
    "seal": pl.String,  # the seal of that file
}


class _Part(NamedTuple):
    """A row of the index."""

    shard: str
    pack: int
    start: int
    rows: int
    bytes: int
    notes: str
    seal: str


class PackIndex:
    """Which pack holds each packed part of one folder. `table`: (packed parts,) rows of INDEX_SCHEMA. `seal`:
    the index file's, another one whenever a part is packed or dropped."""

    def __init__(self, table: pl.DataFrame, seal: str) -> None:
        self.table = table
        self.seal = seal
        self._parts = {part.shard: part for part in map(_Part._make, table.iter_rows())}

    @property
    def shards(self) -> KeysView[str]:
        """The shards whose parts are packed."""
        return self._parts.keys()

    def pack_of(self, shard: str) -> int | None:
        """The number of the pack that holds a shard's part, or None if it is not packed."""
        part = self._parts.get(shard)
        return None if part is None else part.pack

    def part_size(self, shard: str) -> int:
        """Bytes of the part's own file, before it was packed."""
        return self._parts[shard].bytes

    def footer(self, shard: str) -> Footer | None:
        """Rows, notes and seal of a part, or None if it is not packed."""
        part = self._parts.get(shard)
        return None if part is None else Footer(part.rows, orjson.loads(part.notes), part.seal)

    @property
    def packs(self) -> list[int]:
        """The numbers of the packs that hold a part, in ascending order."""
        return self.table["pack"].unique().sort().to_list()

    def in_packs(self, numbers: Collection[int]) -> list[str]:
        """The shards whose parts are in these packs."""
        return self.table.filter(pl.col("pack").is_in(numbers))["shard"].to_list()

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
        part = self._parts[shard]
        return part.start, part.rows


def read_pack_index(root: Folder, folder: str) -> PackIndex | None:
    """The index of a folder of the store, or None if nothing there is packed. Raises BrokenError."""
    try:
        data = root.read(layout.pack_index(folder))
    except FileNotFoundError:
        return None
    footer = parse_footer(verified_footer(io.BytesIO(data)))
    return PackIndex(pl.read_parquet(io.BytesIO(data)), footer.seal)


def lost_packs(root: Folder, folder: str, index: PackIndex, damage: Damage) -> list[int]:
    """The packs on a local disk that are damaged or missing; they are noted in `damage`."""
    if not root.local:
        return []
    names = {number: layout.pack_name(number) for number in index.packs}
    found = read_footers(root, layout.packs_folder(folder), names.values(), damage)
    lost = [number for number, name in names.items() if name not in found]
    for number in lost:
        if layout.pack(folder, number) not in damage:
            damage.note(layout.pack(folder, number), "it is missing")
    return lost


def _follow_each_other(spans: Sequence[tuple[int, int]]) -> bool:
    """Whether each span begins where the one before it ends."""
    ends = [start + rows for start, rows in spans]
    return all(end == start for end, (start, _) in zip(ends, spans[1:], strict=False))

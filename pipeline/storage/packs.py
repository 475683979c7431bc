"""Small parts that follow each other, together in one file: of ten rows each, ten thousand files take longer to find
and to open than all that is in them takes to read.

    packs/<folder>.parquet            INDEX: which pack holds a shard's part, where in it, and the part's footer
    packs/<folder>/<number>.parquet   the parts' rows, one part below the other

`compact.py` makes them. Readers know of them through `Store.parts`, `Store.footers` and `Store.part_names`.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson
import polars as pl

from pipeline.storage import layout
from pipeline.storage.folder import Folder
from pipeline.storage.footers import Footer

INDEX = {
    "shard": pl.String,
    "pack": pl.Int64,
    "start": pl.Int64,
    "rows": pl.Int64,
    "bytes": pl.Int64,  # of the part that was
    "notes": pl.String,
}
_KNOWN: dict[str, "Index | None"] = {}  # by path, in this process; `known` reads them anew where it matters


@dataclass(eq=False)
class Index:
    """Where the parts of a folder lie that are in packs."""

    root: Folder
    folder: str
    table: pl.DataFrame

    def __post_init__(self) -> None:
        self.rows = {shard: row for row, shard in enumerate(self.table["shard"])}

    def place(self, shard: str) -> tuple[int, int, int]:
        """(pack, start, rows)."""
        pack, start, rows = self.table.row(self.rows[shard])[1:4]
        return pack, start, rows

    def size(self, shard: str) -> int:
        """Bytes of the part that was."""
        return int(self.table["bytes"][self.rows[shard]])

    def footer(self, shard: str) -> Footer | None:
        """Its rows and notes, or None where it is not in a pack."""
        if (row := self.rows.get(shard)) is None:
            return None
        return Footer(self.table["rows"][row], orjson.loads(self.table["notes"][row]))

    def read(self, pack: int, shards: Sequence[str], columns: Sequence[str] | None) -> pl.DataFrame:
        """The parts of some shards that one pack holds. Raises FileNotFoundError."""
        places = [self.place(shard)[1:] for shard in shards]
        first, last = min(start for start, _ in places), max(start + rows for start, rows in places)
        source: Any = self.root.path(layout.pack(self.folder, pack))
        if not self.root.local:
            source = io.BytesIO(_fetched(self, pack))
        scan = pl.scan_parquet(source, glob=False)
        frame = (scan if columns is None else scan.select(columns)).slice(first, last - first).collect()
        starts = [start - first for start, _ in places]
        if starts == [sum(rows for _, rows in places[:i]) for i in range(len(places))]:
            return frame
        return pl.concat([frame.slice(start, rows) for start, (_, rows) in zip(starts, places, strict=True)])


def known(root: Folder, folder: str, fresh: bool = False) -> Index | None:
    """A folder's index, or None where nothing is packed; `fresh`: not what this process remembers of it."""
    path = layout.pack_index(folder)
    full = f"{root.fs.protocol} {root.path(path)}"
    if fresh or full not in _KNOWN:
        try:
            _KNOWN[full] = Index(root, folder, pl.read_parquet(io.BytesIO(root.read(path))))
        except FileNotFoundError:
            _KNOWN[full] = None
    return _KNOWN[full]


@lru_cache(maxsize=8)
def _fetched(index: Index, pack: int) -> bytes:
    """A pack on object storage: shards are read one after the other, and it is fetched once."""
    return bytes(index.root.read(layout.pack(index.folder, pack)))

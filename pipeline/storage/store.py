"""The store: everything computed about a pool, as parquet files on any fsspec path.

    samples/<shard>.parquet                 SAMPLE_SCHEMA, one row per sample; a tar's damage in the footer
    columns/<name>-<key>/<shard>.parquet    shard, row, what the operator writes, and `<name>.error`
    columns/<name>-<key>/meta.json          what the key stands for
    stats/<name>-<key>.parquet
    packs/                                  small parts of samples and columns, together; see packs.py
    decisions/<recipe>-<key>/<shard>.parquet  keep and one verdict per rule, row by row as the samples; small
                                            shards that follow are in the same file, see shards.parquet
    datacomp.json, digests.json, footers/   what was read of a DataComp folder, large files and parts before

What exists is whole (files.py). Equal tables make equal bytes.
"""

import io
import os
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Any

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.storage import layout, packs
from pipeline.storage.folder import Folder
from pipeline.storage.footers import REQUESTS, Footer, parse_footer, read_footers

ROW_GROUP = 65_536


def to_arrow(frame: pl.DataFrame) -> pa.Table:
    """A polars frame as an Arrow table of types that every parquet reader knows, in one chunk."""
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest()).combine_chunks()


def footer_notes(notes: Mapping[str, Any]) -> dict[str, bytes]:
    """Notes as they stand in a parquet footer, which `Store.footer` reads."""
    return {key: orjson.dumps(value, option=orjson.OPT_SORT_KEYS) for key, value in notes.items()}


class Store:
    """The tables of one pool. Shards go by name."""

    def __init__(self, root: str) -> None:
        self.root = Folder(root)
        self._forget()

    def _forget(self) -> None:
        self._places: dict[
            str, dict[str, tuple[str, int, int]]
        ] = {}  # of each decision: shard -> part, start, rows
        self._part: tuple[Any, pl.DataFrame] | None = (
            None  # the verdicts read last: shards are asked for in turn
        )

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.root = state["root"]
        self._forget()

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

    def kept(self, decisions: str, shard: str) -> pl.Series:
        """(n,) Boolean: which of a shard's rows a decision keeps. Raises FileNotFoundError."""
        return self.verdicts(decisions, shard, ["keep"])["keep"]

    def verdicts(self, decisions: str, shard: str, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """(n, 1 + rules) Boolean: `keep` and the verdict of each rule on a shard's rows, null where it has no value,
        or some of these columns. Raises FileNotFoundError."""
        if decisions not in self._places:
            table = self.read(layout.decided_shards(decisions), ["shard", "part", "start", "samples"])
            self._places[decisions] = {row[0]: row[1:] for row in table.iter_rows()}
        if shard not in self._places[decisions]:
            raise FileNotFoundError(f"{decisions}: no {shard}")
        part, start, rows = self._places[decisions][shard]
        wanted = (layout.part(decisions, part), columns)
        if self._part is None or self._part[0] != wanted:
            self._part = (wanted, self.read(*wanted))
        return self._part[1].slice(start, rows)

    def parts(self, folder: str, shards: Sequence[str], columns: Sequence[str] | None = None) -> pl.DataFrame:
        """The parts of some shards, one below the other, or some of their columns; whether each is a file of its own
        or in a pack. Raises FileNotFoundError."""
        try:
            return self._parts(folder, shards, columns, packs.known(self.root, folder))
        except FileNotFoundError:  # packed since this process has looked
            return self._parts(folder, shards, columns, packs.known(self.root, folder, fresh=True))

    def _parts(
        self, folder: str, shards: Sequence[str], columns: Sequence[str] | None, index: packs.Index | None
    ) -> pl.DataFrame:
        if index is None:
            return self.read_many([layout.part(folder, shard) for shard in shards], columns)
        found = []
        for pack, run in groupby(shards, lambda s: index.place(s)[0] if s in index.rows else None):
            some = list(run)
            if pack is None:
                found.append(self.read_many([layout.part(folder, shard) for shard in some], columns))
            else:
                found.append(index.read(pack, some, columns))
        return pl.concat(found)

    def part_names(self, folder: str) -> set[str]:
        """The shards that have a part in a folder."""
        index = packs.known(self.root, folder, fresh=True)
        return self.root.file_names(folder, ".parquet").union(index.rows if index else ())

    def part_size(self, folder: str, shard: str) -> int:
        """Bytes of a part; 0 on object storage, where asking costs a request. Raises FileNotFoundError."""
        try:
            return self.root.size(layout.part(folder, shard))
        except FileNotFoundError:
            if (index := packs.known(self.root, folder)) and shard in index.rows:
                return index.size(shard)
            raise

    def footer(self, folder: str, shard: str) -> Footer | None:
        """(rows, notes) of a shard's part, or None where there is none."""
        try:
            return parse_footer(self.root.parquet_footer(layout.part(folder, shard)))
        except FileNotFoundError:
            index = packs.known(self.root, folder)
            return index.footer(shard) if index else None

    def footers(self, folder: str, shards: Collection[str]) -> dict[str, Footer]:
        """The footer of each of these shards' parts that is published in the folder."""
        index = packs.known(self.root, folder, fresh=True)
        found = read_footers(self.root, folder, shards)
        if index is None:
            return found
        either = ((shard, found.get(shard) or index.footer(shard)) for shard in shards)
        return {shard: footer for shard, footer in either if footer is not None}

    def row_counts(self, folder: str, shards: Collection[str]) -> dict[str, int]:
        """Rows of each of these shards' parts that is published in the folder."""
        return {shard: footer.rows for shard, footer in self.footers(folder, shards).items()}

"""The samples of a pool as a table: written while a shard is read, read by everything that comes later.

    with samples_of(store, shard) as samples:
        samples.add_rows(frame)  # with SAMPLE_SCHEMA's columns; once per batch
        samples.finish(notes)
    StoredSamples(store).read(["00000"], ["uid", "text"])

Samples are published unless the store has samples of the same content; then only the content is compared. A
row group is written as soon as it is full, so a table of millions of rows is never held as a whole.

The footer notes the state of the shard's file and its content (storage/identity.py), and with which limits it
was read if they are not the usual ones. If the file has another state later, but still that content,
`sources.json` notes the new state.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import polars as pl

from pipeline.errors import ChangedError
from pipeline.pool.shards import Shard
from pipeline.schema import EMPTY
from pipeline.storage import layout
from pipeline.storage.faults import note_json
from pipeline.storage.footers import footer_notes
from pipeline.storage.identity import MISSING, Seen, state_difference
from pipeline.storage.seals import sealed_parquet
from pipeline.storage.store import ROW_GROUP, Store, to_arrow

READING = "reading"  # the note that tells with which limits a shard was read
OTHER_LIMITS = "read with other `limits`"


class SampleTable(Protocol):
    """A pool's samples by shard: the columns of SAMPLE_SCHEMA, and those that a kind of pool brings along."""

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders of the store that hold the table; none if the pool itself is the table."""

    def known(self, shards: Sequence[Shard]) -> list[Shard]:
        """The same shards with `content`, `rows` and `differs` as the table has them now. Raises
        RecipeError, OSError."""

    def check(self, shard: Shard) -> None:
        """Raises ChangedError if the samples of a shard are no longer those of its `content`."""

    def read(self, shards: Sequence[str], names: Sequence[str]) -> pl.DataFrame:
        """(n, len(names)) the rows of these shards, one below the other. Raises ShardError, OSError."""

    def batches(self, shard: str, names: Sequence[str], rows: int) -> Iterator[pl.DataFrame]:
        """A shard's rows, `rows` at a time, fewer at the end; at least one frame."""

    def rows_at(self, shard: str, rows: Sequence[int], names: Sequence[str]) -> pl.DataFrame:
        """(len(rows), len(names)) some rows of a shard, in the order of `rows`. Raises as `read` does."""

    def row(self, shard: str, row: int, names: Sequence[str]) -> pl.DataFrame:
        """One row of a shard."""
        return self.rows_at(shard, [row], names)

    def find(self, shard: str, uids: Sequence[str]) -> list[int]:
        """The rows of a shard that have one of these uids, given in lower case."""

    def starting(self, shard: str, prefixes: Sequence[str]) -> pl.DataFrame:
        """`row`, `uid` of the rows of a shard whose uid begins with one of these, given in lower case.
        Nothing but uids is read."""

    def keyed(self, shard: str, keys: Sequence[str]) -> pl.DataFrame:
        """`row`, `key` of the rows of a shard that have one of these keys. Nothing but keys is read."""

    def size(self, shard: str) -> int:
        """About the bytes that reading a shard takes; 0 if asking costs a request."""


def numbered(frame: pl.DataFrame) -> pl.DataFrame:
    """The same columns behind `row`: 0, 1, ..."""
    return frame.with_row_index("row")


def begins(column: str, prefixes: Sequence[str]) -> pl.Expr:
    """Whether a text begins with one of these."""
    return pl.any_horizontal([pl.col(column).str.starts_with(prefix) for prefix in prefixes])


class StoredSamples(SampleTable):
    """The samples that the store holds, of the shards that were read."""

    folders = (layout.SAMPLES,)

    def __init__(self, store: Store, reading: str = "") -> None:
        self.store = store
        self.reading = reading  # a digest of how shards are read, see PoolKind

    def known(self, shards: Sequence[Shard]) -> list[Shard]:
        """See SampleTable. Reads `sources.json` only if the state of a file differs from the noted one, or if
        it was read with other limits."""
        footers = self.store.footers(layout.SAMPLES, [shard.name for shard in shards])
        touched: dict[str, list[str]] | None = None
        known = list[Shard]()
        for shard in shards:
            footer = footers.get(shard.name)
            if footer is None or shard.state == MISSING:
                known.append(shard.known_as("", 0))
                continue
            content, state = footer.notes.get("content", ""), footer.notes.get("state", "")
            same_reading = footer.notes.get(READING, "") == self.reading
            if shard.state not in ("", state) or not same_reading:
                if touched is None:
                    touched = self.store.root.read_json(layout.SOURCES) or {}
                if touched.get(shard.name) != _source(shard.state, content, self.reading):
                    differs = state_difference(state, shard.state) if shard.state else ""
                    known.append(shard.known_as("", 0, differs or OTHER_LIMITS))
                    continue
            known.append(shard.known_as(content, footer.rows))
        return known

    def check(self, shard: Shard) -> None:
        """See SampleTable. Parts of the store do not change."""

    def read(self, shards: Sequence[str], names: Sequence[str]) -> pl.DataFrame:
        """See SampleTable. Raises FileNotFoundError."""
        return self.store.read_parts(layout.SAMPLES, shards, names)

    def batches(self, shard: str, names: Sequence[str], rows: int) -> Iterator[pl.DataFrame]:
        """See SampleTable."""
        frame = self.read([shard], names)
        yield from (frame.slice(start, rows) for start in range(0, len(frame), rows) or (0,))

    def rows_at(self, shard: str, rows: Sequence[int], names: Sequence[str]) -> pl.DataFrame:
        """See SampleTable."""
        return self.read([shard], names)[list(rows)]

    def find(self, shard: str, uids: Sequence[str]) -> list[int]:
        """See SampleTable."""
        return self.read([shard], ["uid"])["uid"].is_in(uids).arg_true().to_list()

    def starting(self, shard: str, prefixes: Sequence[str]) -> pl.DataFrame:
        """See SampleTable."""
        return numbered(self.read([shard], ["uid"])).filter(begins("uid", prefixes))

    def keyed(self, shard: str, keys: Sequence[str]) -> pl.DataFrame:
        """See SampleTable."""
        return numbered(self.read([shard], ["key"])).filter(pl.col("key").is_in(keys))

    def size(self, shard: str) -> int:
        """See SampleTable."""
        return self.store.part_size(layout.SAMPLES, shard)


class SampleWriter(Protocol):
    """Takes in the samples of one shard, from the first to the last."""

    def add_rows(self, frame: pl.DataFrame) -> None:
        """The next rows."""

    def finish(self, notes: Mapping[str, Any]) -> None:
        """All rows have come. `notes` go into the footer as JSON."""


def note_sources(store: Store, seen: Mapping[str, Seen], reading: str = "") -> None:
    """Note that these shards' files, as they were seen, have the content whose samples are stored. `reading`:
    how they were read, see PoolKind."""
    sources = store.root.read_json(layout.SOURCES) or {}
    sources |= {shard: _source(*source, reading) for shard, source in seen.items()}
    note_json(store.root, layout.SOURCES, sources)


def _source(state: str, content: str, reading: str) -> list[str]:
    """An entry of `sources.json`."""
    return [state, content, *([reading] if reading else [])]


@contextmanager
def samples_of(store: Store, shard: Shard, empty: pl.DataFrame = EMPTY) -> Iterator[SampleWriter]:
    """A writer for the samples of a shard, which have the columns of `empty`. Without `finish`, nothing is
    published. If the store has the samples of `shard.content`, nothing is published either, and `finish`
    raises ChangedError for another content."""
    path = layout.part(layout.SAMPLES, shard.name)
    if shard.content:
        yield _Compared(shard)
        return
    with store.root.publishing(path) as aside, sealed_parquet(aside, to_arrow(empty).schema) as writer:
        yield _Published(writer, empty)


class _Published:
    """Rows that go to a parquet file, in row groups of the same size however they come."""

    def __init__(self, writer: Any, empty: pl.DataFrame) -> None:
        self.writer = writer
        self.held = [empty]
        self.rows = 0  # held

    def add_rows(self, frame: pl.DataFrame) -> None:
        self.held.append(frame)
        self.rows += len(frame)
        # Not >=: the last group, which `finish` writes, must not be empty.
        while self.rows > ROW_GROUP:
            held = pl.concat(self.held)
            self.writer.write_table(to_arrow(held.head(ROW_GROUP)))
            self.held = [held.slice(ROW_GROUP)]
            self.rows -= ROW_GROUP

    def finish(self, notes: Mapping[str, Any]) -> None:
        self.writer.write_table(to_arrow(pl.concat(self.held)))
        self.writer.add_key_value_metadata(footer_notes(notes))


class _Compared:
    """Rows of a shard whose samples the store has already: they are dropped."""

    def __init__(self, shard: Shard) -> None:
        self.shard = shard

    def add_rows(self, frame: pl.DataFrame) -> None:
        return

    def finish(self, notes: Mapping[str, Any]) -> None:
        if notes.get("content") != self.shard.content:
            raise ChangedError(f"{self.shard.path} changed while it was used: it is read again")

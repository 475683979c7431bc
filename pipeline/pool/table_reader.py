"""Tables of captions and URLs, read as samples without images: to be balanced first and downloaded after.

    reader = read_table(shard, recipe.pool.columns, rows=8192)
    for frame in reader: ...
    reader.damage                   # None, or where and why the table breaks off
    reader.seen                     # the table's state and content

Formats: parquet, TSV, CSV, JSON lines. The column names of img2dataset, DataComp, LAION, COYO and
cc2dataset are known. `pool.columns` gives other names, or positions if a TSV or CSV has no header line.

A uid of 32 hex digits, a UUID or 16 bytes is the sample's uid. A sample's key is the table's key; else its
uid, if that has another form (a number, a name); else the number of the row. If img2dataset notes that a
download failed, `error` says why.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import polars as pl

from pipeline.errors import ChangedError, ColumnError, ShardError
from pipeline.parquet import Parquet, garbled
from pipeline.pool.captions import uid_text
from pipeline.pool.fields import NO_CAPTION, NOT_UTF_8, REPLACED, USUAL, Limits, pixels_of
from pipeline.pool.shards import Shard
from pipeline.pool.table_columns import NAMES, NEEDED, pick, places_in, text_parts
from pipeline.pool.tar import Damage
from pipeline.pool.tar_reader import BATCH_BYTES
from pipeline.pool.text_tables import PIECE, Break, Name, Table, open_text
from pipeline.schema import CAPTIONS_COLUMN, EMPTY, SIDES
from pipeline.storage.identity import Seen, state_digest
from pipeline.storage.ranges import Opened, Watched
from pipeline.uids import own_uids, table_uids


def read_table(
    shard: Shard,
    columns: Mapping[str, Name],
    rows: int,
    size: int = BATCH_BYTES,
    needed: Collection[str] = NEEDED,
    limits: Limits = USUAL,
    captions: Sequence[Name] = (),
) -> "TableReader":
    """Frames of SAMPLE_SCHEMA's columns, and of `captions` if columns of them are named; of `rows` rows,
    fewer at the end or if they exceed `size` bytes. The cuts follow from the content alone. After the loop,
    `.damage` says where the table breaks off, if it does. Raises ShardError if the column of a `needed` part
    is missing or parquet is garbled, and OSError if storage does."""
    return TableReader(shard, columns, rows, size, needed, limits, captions)


def check_table(
    shard: Shard, columns: Mapping[str, Name], limits: Limits = USUAL, captions: Sequence[Name] = ()
) -> None:
    """Read as much as says which columns there are. Raises ShardError as `read_table` does, and OSError."""
    with ExitStack() as stack:
        file = Opened(shard.path, stack)
        with reading(file):
            _open(shard, columns, NEEDED, file, stack, limits, captions)


def column_names(shard: Shard, named: Sequence[Name] = (), limits: Limits = USUAL) -> list[Name]:
    """The columns of a table. `named`: those that the recipe names. Raises ShardError and OSError."""
    with ExitStack() as stack:
        file = Opened(shard.path, stack)
        with reading(file):
            return list(_table(shard, named, file, stack, limits).names or ())


class TableReader:
    """Frames of a table's samples; `damage` and `seen` are known once the loop has ended."""

    def __init__(
        self,
        shard: Shard,
        columns: Mapping[str, Name],
        rows: int,
        size: int,
        needed: Collection[str] = NEEDED,
        limits: Limits = USUAL,
        captions: Sequence[Name] = (),
    ) -> None:
        self._captions = captions
        self._limits = limits
        self._shard = shard
        self._columns = columns
        self._needed = needed
        self._rows = rows
        self._size = size
        self.damage: Damage | None = None
        self.seen: Seen | None = None

    def __iter__(self) -> Iterator[pl.DataFrame]:
        first = 0
        seen = Counter[str]()
        for frame in cut(self._frames(), self._rows, self._size):
            yield describe(frame, self._shard.name, first, seen, self._limits)
            first += len(frame)

    def _frames(self) -> Iterator[pl.DataFrame]:
        """The table's columns as they come, up to a break."""
        self.damage = None
        with ExitStack() as stack:
            file = Watched(self._shard.path, stack)
            with reading(file):
                early = seen_early(file) if self._shard.format == "parquet" else None
                try:
                    yield from _open(
                        self._shard, self._columns, self._needed, file, stack, self._limits, self._captions
                    )
                except Break as broken:
                    self.damage = Damage(*broken.args)
                self.seen = early or file.finish()
                file.check()


def identify_table(shard: Shard) -> Seen:
    """The state and the content of a table, as a TableReader gives them. Raises ChangedError and OSError."""
    with ExitStack() as stack:
        file = Watched(shard.path, stack)
        return seen_early(file) if shard.format == "parquet" else file.finish()


def seen_early(file: Watched) -> Seen:
    """The state and the content of a parquet file. One on other storage, of which only some columns are read,
    is as new as its state, if it has any."""
    if file.path is None and file.state:
        return Seen(file.state, state_digest(file.state))
    return file.finish()


def cut(pieces: Iterator[pl.DataFrame], rows: int, size: int) -> Iterator[pl.DataFrame]:
    """The same rows in frames of `rows`, or of fewer that together exceed `size` bytes."""
    held = list[pl.DataFrame]()
    count = 0
    held_size = 0
    for piece in pieces:
        held.append(piece)
        count += len(piece)
        held_size += int(piece.estimated_size())
        while count >= rows or (count and held_size > size):
            whole = pl.concat(held, how="diagonal")
            yield whole.head(rows)
            held = [whole.slice(rows)]
            count = len(held[0])
            held_size = int(held[0].estimated_size())
    if count:
        yield pl.concat(held, how="diagonal")


# --- columns --------------------------------------------------------------------------------------


def _open(
    shard: Shard,
    columns: Mapping[str, Name],
    needed: Collection[str],
    file: Opened,
    stack: ExitStack,
    limits: Limits = USUAL,
    captions: Sequence[Name] = (),
) -> Iterator[pl.DataFrame]:
    """See Table.frames."""
    table = _table(shard, (*columns.values(), *captions), file, stack, limits)
    if table.names is None:
        return table.frames({}, ())
    return table.frames(pick(table.names, columns, needed, captions), captions)


def _table(shard: Shard, named: Sequence[Name], file: Opened, stack: ExitStack, limits: Limits) -> Table:
    """The open table. `named`: the columns that the recipe names."""
    if shard.format == "parquet":
        return _open_parquet(file, stack, limits)
    header = not any(isinstance(name, int) for name in named)
    return open_text(file, shard.format, header=header, limits=limits)


@contextmanager
def reading(file: Opened) -> Iterator[None]:
    """Within the block, an error of Arrow's or ours becomes a ShardError that names the table, or a
    ChangedError if that explains it."""
    try:
        with garbled(local=file.path is not None):
            yield
    except ChangedError:
        raise
    except (ValueError, ShardError) as error:
        file.check()
        kind = ColumnError if isinstance(error, ColumnError) else ShardError
        raise kind(f"{file.location}: {error}") from None
    except OSError as error:
        file.check()
        raise file.explained(error) from None


def _open_parquet(file: Opened, stack: ExitStack, limits: Limits) -> Table:
    """A parquet file, open until the stack is closed."""
    table = stack.enter_context(Parquet(file.path or file.file, limits))
    return Table(table.schema.names, lambda parts, captions: _parquet_frames(table, parts, captions, limits))


def _parquet_frames(
    table: Parquet, parts: Mapping[str, Name], captions: Sequence[Name], limits: Limits
) -> Iterator[pl.DataFrame]:
    """See Table.frames."""
    there = places_in(table.schema.names, captions)
    names = list(dict.fromkeys(map(str, (*parts.values(), *there)))) or table.schema.names[:1]
    table.check(names)
    for batch in table.batches(names, PIECE):
        yield text_parts(batch, parts, limits, captions)


# --- rows -----------------------------------------------------------------------------------------


def describe(
    frame: pl.DataFrame, shard: str, first: int, seen: Counter[str], limits: Limits = USUAL
) -> pl.DataFrame:
    """The rows of a table, which has a column per part of a sample and perhaps `captions`, with
    SAMPLE_SCHEMA's columns, and `captions`. `first`: the number of the first row. `seen` counts the keys of
    those rows so far that have neither a uid nor a url."""
    lacking = [part for part in (*NAMES, "trouble", "left_out") if part not in frame.columns]
    frame = frame.with_columns(pl.lit(None, pl.String).alias(part) for part in lacking)
    captions = [name for name in CAPTIONS_COLUMN if name in frame.columns]
    size = pl.col("text").str.len_bytes()
    if frame.select((size > limits.caption_bytes).any()).item():
        reason = f"{NO_CAPTION}: it has over {limits.caption_bytes:,} bytes (limits.caption_bytes)"
        trouble = pl.when((size > limits.caption_bytes) & (not captions)).then(pl.lit(reason))
        frame = frame.with_columns(
            text=pl.when(size <= limits.caption_bytes).then("text"), trouble=trouble.otherwise("trouble")
        )
    usual = frame["text"]
    if captions:
        pairs = zip(usual, frame["captions"].list.first(), strict=True)
        usual = pl.Series("text", [uid_text(*pair) for pair in pairs], pl.String)
    frame = frame.with_columns(pl.col(name).list.first().alias("text") for name in captions)
    own = own_uids(pl.col("uid"))
    key = pl.when(pl.col("key") != "").then("key")
    foreign = pl.when((pl.col("uid") != "") & own.is_null()).then("uid")
    row = pl.int_range(first, first + pl.len(), dtype=pl.UInt32)
    frame = frame.select(
        pl.lit(shard).alias("shard"),
        row.alias("row"),
        own.alias("uid"),
        pl.coalesce(key, foreign, row.cast(pl.String).str.zfill(9)).alias("key"),
        "text",
        "url",
        *map(pixels_of, SIDES),
        _reason().alias("error"),
        *captions,
    )
    frame = frame.with_columns(table_uids(frame.with_columns(usual), shard, seen))
    return pl.concat([EMPTY, frame], how="diagonal")


def _reason() -> pl.Expr:
    """Why a row is empty, else why its download failed and that its caption is missing, or was not UTF-8;
    null for a good row."""
    failed = pl.lit("download failed: ") + pl.coalesce("error_message", "status")
    download = pl.when(pl.col("status") != "success").then(failed)
    caption = pl.coalesce("left_out", pl.when(pl.col("text").is_null()).then(pl.lit(NO_CAPTION)))
    replaced = pl.when(pl.col("text").str.contains(REPLACED, literal=True)).then(pl.lit(NOT_UTF_8))
    both = pl.concat_str(download, caption, replaced, separator="; ", ignore_nulls=True)
    return pl.coalesce("trouble", pl.when(both != "").then(both))

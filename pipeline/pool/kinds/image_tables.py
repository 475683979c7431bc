"""Parquet files with the pictures inside, as Hugging Face's datasets have them.

    pool: {shards: "data/train-*.parquet", kind: image_tables, store: store}
    pool: {shards: data/, kind: image_tables, columns: {image: edited, text: prompt}, store: store}

A picture is a record of `bytes` and `path`, or plain bytes. The column is that of `pool.columns.image`, else
one with a usual name, else the only one of that type. The caption and the other parts of a sample are found
as in other tables (`table_reader.py`). A row that has only a path is a sample without an image.

Pictures are read a few rows at a time, so memory does not grow with the file or its row groups. `width` and
`height` are those of the picture itself. A sample has no byte range; `length` is the bytes of its picture.
An export writes the picture, with a suffix that follows from its first bytes, the caption as `txt`, and the
other columns of the row as `json`; other pictures and bytes are left out.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import orjson
import polars as pl
import pyarrow as pa

from pipeline.arrow_columns import decoded, is_bytes, stored
from pipeline.errors import ChangedError, ColumnError, RecipeError
from pipeline.parquet import Parquet
from pipeline.pool.fetching import Fetch, open_counted
from pipeline.pool.fields import UNKNOWN_IMAGE, Limits, image_size, image_suffix, string
from pipeline.pool.kinds.kind import CaptionPlaces, Fields, MembersOf, PoolKind, SampleBatch
from pipeline.pool.shards import Listing, Shard, list_shards
from pipeline.pool.table_columns import pick, places_in, text_parts
from pipeline.pool.table_reader import describe, identify_table, reading, seen_early
from pipeline.pool.tar import MAX_MEMBER
from pipeline.pool.tar_reader import BATCH_BYTES
from pipeline.pool.webdataset import LARGE_IMAGE
from pipeline.storage.identity import Seen, state_difference
from pipeline.storage.ranges import RUN_AGAIN, Opened, Watched

USUAL = ("image", "img", "jpg", "png", "jpeg", "webp", "picture", "photo")
ROWS = 64  # that are unpacked together, at most
NO_IMAGE = "no image in its row"


class ImageTables(PoolKind):
    """A parquet file is a shard."""

    noun = "parquet files of images"
    has_images = True
    takes_columns = True

    def list_shards(self) -> Listing:
        """See PoolKind."""
        return list_shards(self.paths)

    def check(self, shards: Sequence[Shard], columns: Collection[str]) -> None:
        """See PoolKind. Raises RecipeError for anything else than parquet."""
        if other := next((shard for shard in shards if shard.format != "parquet"), None):
            raise RecipeError(f"pool.kind is image_tables, and {other.path} is not parquet")

    def check_shard(self, shard: Shard) -> None:
        """See PoolKind. A table must have a picture and a caption."""
        with ExitStack() as stack:
            file = Opened(shard.path, stack)
            with reading(file):
                self._open(file, stack)

    def read(
        self, shard: Shard, rows: int, notes: dict[str, Any], images: bool = True
    ) -> Iterator[SampleBatch]:
        """See PoolKind."""
        with ExitStack() as stack:
            file = Watched(shard.path, stack)
            with reading(file):
                seen = seen_early(file)
                samples = _samples(self._open(file, stack), shard.name, self.limits)
                yield from _cut(samples, rows, images)
                file.check()
        notes |= self.notes_of(seen)

    def identify(self, shard: Shard) -> Seen:
        """See PoolKind."""
        return self.read_as(identify_table(shard))

    @contextmanager
    def members(self, shard: Shard, fetch: Fetch | None = None) -> Iterator[MembersOf]:
        """See PoolKind."""
        with ExitStack() as stack:
            file = open_counted(shard.path, stack, fetch)
            if shard.state and (change := state_difference(shard.state, file.state)):
                raise ChangedError(f"{shard.path} has changed since it was listed ({change}): {RUN_AGAIN}")
            with reading(file):
                rows = _Rows(self._open(file, stack), shard.path)

            def members_of(row: Mapping[str, Any]) -> Fields:
                with reading(file):
                    return rows.members(row)

            yield members_of
            file.check(RUN_AGAIN)

    def _open(self, file: Opened, stack: ExitStack) -> "_Table":
        """Find the columns. Raises ColumnError if the picture or the caption is missing, and ValueError."""
        table = stack.enter_context(Parquet(file.path or file.file, self.limits))
        image = _image_column(table.schema, self.columns.get("image"))
        columns = {part: name for part, name in self.columns.items() if part != "image"}
        parts = pick(table.schema.names, columns, captions=self.places)
        table.check(list(dict.fromkeys(table.schema.names)))
        return _Table(table, image, parts, self.places)


class _Table(NamedTuple):
    """An open table: its columns of the picture, of the parts of a sample, and of captions."""

    file: Parquet
    image: str
    parts: Mapping[str, str | int]
    captions: CaptionPlaces


def _image_column(schema: pa.Schema, given: str | int | None) -> str:
    """The name of the column of pictures. Raises ColumnError."""
    fitting = [field.name for field in schema if _holds_images(field.type)]
    listed = ", ".join(f"{field.name:.40} ({str(field.type)[:40]})" for field in list(schema)[:20]) or "none"
    if given is not None and given not in fitting:
        raise ColumnError(
            f"column {given} (pool.columns.image) must have records with bytes, or bytes; there are: {listed}"
        )
    usual = [name for name in USUAL if name in fitting]
    if given is None and len(fitting) > 1 and len(usual) != 1:
        raise ColumnError(f"pool.columns.image must name one of {', '.join(fitting[:20])}")
    if not fitting:
        raise ColumnError(f"no column has images (records with bytes, or bytes); there are: {listed}")
    return str(given) if given is not None else (usual or fitting)[0]


def _holds_images(kind: pa.DataType) -> bool:
    """Whether a column of this type can hold pictures."""
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _are_bytes(field.type) for field in kind)
    return _are_bytes(kind)


def _are_bytes(kind: pa.DataType) -> bool:
    """Whether a type is bytes of any length, in a dictionary or not."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_binary_view(kind) or (is_bytes(kind) and not pa.types.is_fixed_size_binary(kind))


# --- samples --------------------------------------------------------------------------------------


class _Picture(NamedTuple):
    """The picture of a row, and why there is none."""

    data: memoryview | None
    suffix: str | None
    reason: str | None


def _samples(
    table: _Table, shard: str, limits: Limits
) -> Iterator[tuple[pl.DataFrame, list[memoryview | None]]]:
    """The rows, some at a time, and their pictures."""
    parts = (*table.parts.values(), *places_in(table.file.schema.names, table.captions))
    names = list(dict.fromkeys((table.image, *map(str, parts))))
    seen, first = Counter[str](), 0
    for batch in table.file.batches(names, ROWS):
        frame = describe(text_parts(batch, table.parts, limits, table.captions), shard, first, seen, limits)
        pictures = _pictures(batch.column(table.image))
        sizes = [image_size(p.data) if p.data is not None else (None, None) for p in pictures]
        lengths = pl.Series([None if p.data is None else len(p.data) for p in pictures], dtype=pl.Int64)
        reasons = pl.Series("image", [p.reason for p in pictures], pl.String)
        error = pl.concat_str(reasons, "error", separator="; ", ignore_nulls=True)
        yield (
            frame.with_columns(
                pl.Series("width", [width for width, _ in sizes], pl.Int32),
                pl.Series("height", [height for _, height in sizes], pl.Int32),
                lengths.fill_null(0).alias("length"),
                lengths.alias("image_length"),
                pl.Series("image_format", [p.suffix for p in pictures], pl.String),
                error.replace("", None).alias("error"),
            ),
            [p.data for p in pictures],
        )
        first += len(frame)


def _pictures(column: pa.Array) -> list[_Picture]:
    """The pictures of a column."""
    column = stored(column)
    paths: list[Any] = [None] * len(column)
    if pa.types.is_struct(column.type):
        fields = dict(zip((field.name for field in column.type), column.flatten(), strict=True))
        paths = decoded(fields["path"]).to_pylist() if "path" in fields else paths
        column = fields["bytes"]
    column = decoded(column).cast(pa.large_binary())
    buffers = [memoryview(value.as_buffer()) if value.is_valid else None for value in column]
    return [_picture(data, string(path)) for data, path in zip(buffers, paths, strict=True)]


def _picture(data: memoryview | None, path: str | None) -> _Picture:
    """The picture of a row."""
    if data is None:
        return _Picture(None, None, f"{NO_IMAGE}, only the path {path[:200]!r}" if path else NO_IMAGE)
    if len(data) > MAX_MEMBER:
        return _Picture(None, None, LARGE_IMAGE)
    return _Picture(data, image_suffix(bytes(data[:16]), path or ""), None)


def _cut(
    pieces: Iterator[tuple[pl.DataFrame, list[memoryview | None]]], rows: int, images: bool
) -> Iterator[SampleBatch]:
    """The same rows in batches of at most `rows`, and of about BATCH_BYTES of pictures."""
    frames = list[pl.DataFrame]()
    held = list[memoryview | None]()
    size = 0
    for frame, pictures in pieces:
        for start in range(0, len(frame), rows):
            part = pictures[start : start + rows]
            more = sum(len(picture) for picture in part if picture is not None)
            if held and (len(held) + len(part) > rows or size + more > BATCH_BYTES):
                yield pl.concat(frames), held if images else [None] * len(held)
                frames, held, size = [], [], 0
            frames.append(frame.slice(start, rows))
            held += part
            size += more
    if held:
        yield pl.concat(frames), held if images else [None] * len(held)


# --- rows for exports -----------------------------------------------------------------------------


class _Rows:
    """The rows of an open table, asked for in ascending order; a step back reads its row group again."""

    def __init__(self, table: _Table, path: str) -> None:
        self._table = table
        self._path = path
        others = [f.name for f in table.file.schema if f.name != table.image and not _holds_images(f.type)]
        self._names = [table.image, *others]
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._pictures: list[_Picture] = []
        self._records: list[dict[str, Any]] = []
        self._captions: list[str | None] = []
        self._first = 0
        self._end = 0  # of the row group that is being read

    def members(self, row: Mapping[str, Any]) -> Fields:
        """See kind.MembersOf."""
        at = row["row"]
        if not self._first <= at < self._end:
            self._first, self._end, group = self._table.file.group_of(at)
            self._batches = self._table.file.group_batches(group, self._names, ROWS)
            self._pictures = []
        while at >= self._first + len(self._pictures):
            self._first += len(self._pictures)
            batch = next(self._batches)
            self._pictures = _pictures(batch.column(self._table.image))
            if not self._table.captions:  # else an export writes the caption that the recipe chooses
                texts = text_parts(batch, {"text": self._table.parts["text"]})
                self._captions = texts["text"].to_list()
            self._records = _records(batch, self._names[1:])
        picture = self._pictures[at - self._first]
        if (len(picture.data) if picture.data is not None else 0) != row["length"]:
            raise ChangedError(f"{self._path} does not hold the image of row {at} that was read: {RUN_AGAIN}")
        record = orjson.dumps(_plain(self._records[at - self._first]), default=str)
        image = [] if picture.data is None else [(picture.suffix or UNKNOWN_IMAGE, picture.data)]
        caption = self._captions[at - self._first] if self._captions else None
        return [*image, *([] if caption is None else [("txt", caption.encode())]), ("json", record)]


def _records(batch: pa.RecordBatch, names: Sequence[str]) -> list[dict[str, Any]]:
    """The values of these columns, by row."""
    columns = {name: _values(batch.column(name)) for name in names}
    return [{name: values[row] for name, values in columns.items()} for row in range(batch.num_rows)]


def _values(column: pa.Array) -> list[Any]:
    """The values of a column; what Python cannot hold (times far out) as Arrow writes it, else none."""
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):
        pass
    try:
        return list(column.cast(pa.string()).to_pylist())
    except (pa.ArrowException, ValueError):
        return [None] * len(column)


def _plain(value: Any) -> Any:
    """A value as JSON has it: bytes are left out, and texts are valid."""
    if isinstance(value, dict):
        return {string(name): _plain(inner) for name, inner in value.items() if not isinstance(inner, bytes)}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return string(value) if isinstance(value, str) else value

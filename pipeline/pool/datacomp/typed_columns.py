"""One column of a DataComp parquet, with the name and the type that the rest of Winnow uses.

DataComp's downloader writes uids and captions as texts and scores as float64. pandas, Spark, DuckDB and
Hugging Face's datasets write the same values as categories, bytes, decimals, UUIDs or texts: they are read. A
value that cannot be meant is a ShardError that names the row and the column.
"""

import binascii
from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl
import pyarrow as pa

from pipeline.arrow_columns import decoded, is_text, texts
from pipeline.bounds import USUAL
from pipeline.errors import ShardError
from pipeline.pool.fields import pixels_of
from pipeline.schema import SAMPLE_COLUMNS, SIDES
from pipeline.uids import own_uids

SCORES = {
    "datacomp.b32_score": "clip_b32_similarity_score",
    "datacomp.l14_score": "clip_l14_similarity_score",
}
CAPTION = ("text", "caption")
TEXTS = ("text", "url")
NUMBERED = ("shard", "row", "key")  # columns that follow from the rows' numbers


def converted(
    name: str, array: pa.Array | None, rows: int, first: int, most: int = USUAL.text_bytes
) -> pl.Series:
    """`rows` values of a column, from the array behind it, which is None if the parquet has none. `first`:
    the number of the first row, for messages; `most`: bytes that a text may have. Raises ShardError, and
    ValueError for a type that cannot be read."""
    kind = pl.Float64 if name in SCORES else SAMPLE_COLUMNS[name]
    if array is None or name not in ("uid", *TEXTS, *SIDES, *SCORES) or not rows:
        return pl.repeat(None, rows, dtype=kind, eager=True)
    if name == "uid":
        return _uids(_texts(name, array, first, most), first)
    if name in SIDES:
        return _sides(name, array)
    return _scores(name, array, first) if name in SCORES else _texts(name, array, first, most)


def numbered(name: str, shard: str, row: pl.Series) -> pl.Series:
    """A column that follows from the rows' numbers."""
    if name == "shard":
        return pl.repeat(shard, len(row), dtype=pl.String, eager=True)
    return row if name == "row" else row.cast(pl.String).str.zfill(9)


def _texts(name: str, array: pa.Array, first: int, most: int) -> pl.Series:
    """Texts; of a list, its first one."""
    found, troubles = texts(array, name, name == "text", name == "uid", most)
    for row, why in troubles.items():
        raise ShardError(f"row {first + row}: {why}")
    return pl.Series(name, found, pl.String)


def _uids(uids: pl.Series, first: int) -> pl.Series:
    """Uids in lower case. Raises ShardError if one is not 32 hex digits."""
    if _all_hex(uids):
        return uids.str.to_lowercase()
    found = uids.to_frame("uid").select(own_uids(pl.col("uid"))).to_series()
    if found.null_count():
        bad = int(found.is_null().arg_true()[0])
        raise ShardError(f"row {first + bad}: uid {_short(uids[bad])} must be 32 hex digits")
    return found


def _all_hex(uids: pl.Series) -> bool:
    """Whether all are 32 hex digits, ten times as fast as by a pattern."""
    if uids.null_count() or not bool((uids.str.len_bytes() == 32).all()):
        return False
    array = uids.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    try:
        binascii.unhexlify(memoryview(array.buffers()[2])[: 32 * len(array)])
    except ValueError:
        return False
    return True


def _short(value: Any) -> str:
    """A value for a message."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}... ({len(str(value)):,} characters)"


def _sides(name: str, array: pa.Array) -> pl.Series:
    """Sides in pixels; null for what is none."""
    array = decoded(array)
    if pa.types.is_decimal(array.type):
        array = array.cast(pa.float64())
    kind = array.type
    if not (is_text(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return pl.repeat(None, len(array), dtype=pl.Int32, eager=True)
    if pa.types.is_float16(kind):
        array = array.cast(pa.float32())
    return pl.DataFrame({name: array}).select(pixels_of(name)).to_series()


def _scores(name: str, array: pa.Array, first: int) -> pl.Series:
    """Scores as float64, of any type of number, or as text. A float32 becomes the shortest decimal that means
    it: 0.281 as a float32 passes `>= 0.281`, as in DataComp's code. Raises ShardError for a text that is no
    number."""
    array = decoded(array)
    source = SCORES[name]
    kind = array.type
    numbers = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_null)
    if not (is_text(kind) or any(test(kind) for test in numbers)):
        raise ShardError(f"column {source} is {str(kind)[:80]}, must be numbers")
    if pa.types.is_float32(kind):
        array = array.cast(pa.string())
    elif pa.types.is_integer(kind) or pa.types.is_float16(kind):
        return pl.Series(name, array.cast(pa.float32()) if pa.types.is_float16(kind) else array).cast(
            pl.Float64
        )
    elif not is_text(kind):
        return pl.Series(name, array.cast(pa.float64()), pl.Float64)
    found = pl.Series(name, array.cast(pa.large_string())).str.strip_chars().cast(pl.Float64, strict=False)
    wrong = found.is_null() & pl.Series(array.is_valid())
    if wrong.any():
        row = int(wrong.arg_true()[0])
        raise ShardError(f"row {first + row}: {source} is {_short(array[row].as_py())}, must be a number")
    return found


def sources(name: str) -> tuple[str, ...]:
    """The names that a column may have in the parquet."""
    return CAPTION if name == "text" else (SCORES.get(name, name),)


def sources_of(names: Sequence[str], columns: Sequence[str]) -> dict[str, str]:
    """The parquet's column behind each of `names`, as far as there is one. Raises ShardError if it lacks the
    uid, caption or a score."""
    found = dict[str, str]()
    for name in names:
        source = next((s for s in sources(name) if s in columns), None)
        if source is not None and name not in NUMBERED:
            found[name] = source
        elif source is None and name in ("uid", "text", *SCORES):
            listed = ", ".join(column[:40] for column in columns[:20]) or "none"
            raise ShardError(f"no column {' or '.join(sources(name))} (for {name}); there are: {listed}")
    return found


def recut(frames: Iterator[pl.DataFrame], rows: int | None) -> Iterator[pl.DataFrame]:
    """The same rows in frames of `rows`, fewer at the end; all in one if it is None. At least one frame."""
    held = list[pl.DataFrame]()
    count = 0
    for frame in frames:
        held.append(frame)
        count += len(frame)
        while rows is not None and count > rows:
            whole = pl.concat(held)
            yield whole.head(rows)
            held = [whole.slice(rows)]
            count -= rows
    yield pl.concat(held)

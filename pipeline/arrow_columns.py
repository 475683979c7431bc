"""Columns of Arrow's, of any type, as plain values or as text.

    texts(batch.column("text"), "text")     # (large_string, why some values are left out)
    decoded(batch.column("score"))          # without dictionaries, views and extension types

pandas, Spark, DuckDB, polars and Hugging Face's datasets write the same captions as texts, views, categories,
bytes, JSON or lists.
"""

import sys
from itertools import islice
from typing import Any

import pyarrow as pa

from pipeline.bounds import USUAL

UUID_BYTES = 16


def _compute() -> Any:
    """pyarrow.compute, whose import takes as long as that of a tenth of Winnow: most runs do not need it."""
    import pyarrow.compute

    return pyarrow.compute


def stored(array: pa.Array) -> pa.Array:
    """The values themselves, if the type is one of Arrow's extensions (uuid, json), and without the short
    form of Arrow's views."""
    if isinstance(array.type, pa.BaseExtensionType):
        array = array.storage
    if pa.types.is_string_view(array.type):
        return array.cast(pa.large_string())
    return array.cast(pa.large_binary()) if pa.types.is_binary_view(array.type) else array


def decoded(array: pa.Array) -> pa.Array:
    """The values of a column that may be an extension's, a dictionary's or run-length encoded."""
    array = stored(array)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    elif pa.types.is_run_end_encoded(array.type):
        array = _compute().run_end_decode(array)
    return stored(array)


def longest(array: pa.Array) -> int:
    """The bytes of the longest value of a column of texts or bytes; 0 for other columns."""
    array = stored(array)
    if not is_text(array.type) and not is_bytes(array.type):
        return 0
    pc = _compute()
    return pc.max(pc.binary_length(array)).as_py() or 0


def is_text(kind: pa.DataType) -> bool:
    """Whether a type is one of Arrow's texts."""
    return any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string))


def is_bytes(kind: pa.DataType) -> bool:
    """Whether a type is one of Arrow's bytes."""
    tests = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    return any(test(kind) for test in tests)


def is_list(kind: pa.DataType) -> bool:
    """Whether a type is one of Arrow's lists."""
    tests = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list, pa.types.is_list_view)
    return any(test(kind) for test in (*tests, pa.types.is_large_list_view))


def texts(
    array: pa.Array, name: str, first: bool = False, uids: bool = False, most: int = USUAL.text_bytes
) -> tuple[pa.Array, dict[int, str]]:
    """A column as text, large_string; and row -> why its value is left out. Numbers become digits, bytes that
    are not UTF-8 become U+FFFD. `first`: of a list, its first value is taken. `uids`: 16 bytes become 32 hex
    digits. `most`: bytes that a text may have. Raises ValueError for a column of records, or of lists unless
    they are wanted."""
    array = decoded(array)
    if first and is_list(array.type):
        array = decoded(_compute().list_element(_never_empty(array), 0))
    if pa.types.is_nested(array.type):
        raise ValueError(f"column {name} is {str(array.type)[:80]}, must be text or a number")
    array, troubles = _without_long(array, name, most)
    if is_bytes(array.type):
        return _of_bytes(array, uids), troubles
    try:
        found = array.cast(pa.large_string())
        found.validate(full=True)
        return found, troubles
    except pa.ArrowNotImplementedError:
        raise ValueError(f"column {name} is {array.type}, must be text or a number") from None
    except pa.ArrowInvalid:  # the file says text, and its bytes are none
        return _of_bytes(array.cast(pa.large_binary()), uids), troubles


def text_lists(array: pa.Array, name: str, most: int) -> list[Any]:
    """The values of a column of texts, or of lists of texts: a text, None, or a list of them, by row. Of a
    list, `most` items are taken at most. Raises ValueError for a column of anything else."""
    array = decoded(array)
    several = is_list(array.type)
    sizes = [1] * len(array)
    if several:
        array = _compute().list_slice(array, 0, most)
        sizes = _compute().list_value_length(array).to_pylist()
        array = array.flatten()
    array = decoded(array)
    if not (is_text(array.type) or is_bytes(array.type) or pa.types.is_null(array.type)):
        held = f"lists of {str(array.type)[:80]}" if several else str(array.type)[:80]
        raise ValueError(f"column {name} is {held}, must be text, or lists of texts")
    values = iter(texts(array, name, most=sys.maxsize)[0].to_pylist())
    if not several:
        return list(values)
    return [None if size is None else list(islice(values, size)) for size in sizes]


def _never_empty(array: pa.Array) -> pa.Array:
    """The same lists, with null for an empty one."""
    pc = _compute()
    return pc.if_else(pc.equal(pc.list_value_length(array), 0), pa.scalar(None, array.type), array)


def _without_long(array: pa.Array, name: str, most: int) -> tuple[pa.Array, dict[int, str]]:
    """The column with null for each value of more than `most` bytes, and why, by row."""
    if longest(array) <= most:
        return array, {}
    pc = _compute()
    sizes = pc.binary_length(array)
    long = pc.fill_null(pc.greater(sizes, most), False)
    troubles = {
        row: f"column {name} has {sizes[row].as_py():,} bytes, must have at most {most:,} (limits.caption_bytes)"
        for row in pc.indices_nonzero(long).to_pylist()
    }
    return pc.if_else(long, pa.scalar(None, array.type), array), troubles


def _of_bytes(array: pa.Array, uids: bool) -> pa.Array:
    """Bytes as text."""
    return pa.array([_of_value(value, uids) for value in array.to_pylist()], pa.large_string())


def _of_value(value: bytes | None, uids: bool) -> str | None:
    if value is None:
        return None
    return value.hex() if uids and len(value) == UUID_BYTES else str(value, "utf-8", "replace")

"""The columns of a sample, those that some kinds of pool add, and what a text in a recipe names:
which operator a column comes from, and whether it can only be a path.

`SAMPLE_COLUMNS` are the polars types that operators see; `SAMPLE_SCHEMA` is the same table as Arrow stores
it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import polars as pl
import pyarrow as pa
from polars._typing import PolarsDataType

# In pixels: of the picture, and of the original before it was resized
SIDES = ("width", "height", "original_width", "original_height")
SAMPLE_COLUMNS: Mapping[str, PolarsDataType] = {
    **dict.fromkeys(("shard", "uid", "key", "text", "url", "image_format"), pl.String),
    "row": pl.UInt32,
    **dict.fromkeys(SIDES, pl.Int32),
    **dict.fromkeys(("offset", "length", "image_offset", "image_length"), pl.Int64),
}

# All captions of a sample, the first of which is its `text`, if the recipe says where they are
CAPTIONS_COLUMN: Mapping[str, PolarsDataType] = {"captions": pl.List(pl.String)}

_NOT_STORED = (pl.Object, pl.Unknown, pl.Int128, pl.UInt128)  # Arrow knows none of them
SUFFIX = re.compile(r"[^.]\.[A-Za-z][A-Za-z0-9]{0,10}$")  # .pt, .safetensors; not the .5 of a version

# Columns that a kind of pool brings along beside the sample's own. Their names begin with the kind's, so no
# operator may have that name.
READY_COLUMNS: Mapping[str, Mapping[str, PolarsDataType]] = {
    "datacomp": {
        "datacomp.b32_score": pl.Float64,
        "datacomp.l14_score": pl.Float64,
        "datacomp.b32_image_embedding": pl.Array,
        "datacomp.b32_text_embedding": pl.Array,
        "datacomp.l14_image_embedding": pl.Array,
        "datacomp.l14_text_embedding": pl.Array,
    },
}
_OWN = frozenset(
    (*SAMPLE_COLUMNS, *CAPTIONS_COLUMN, *(name for columns in READY_COLUMNS.values() for name in columns))
)


def owner(name: str) -> str | None:
    """The operator that a column or stat comes from; None for a column that a sample has by itself. `text`
    is the caption even if an operator is called `text`: that operator's columns are `text.words` and the
    like."""
    return None if name in _OWN else name.split(".")[0]


SAMPLE_SCHEMA = pa.schema(
    {
        "shard": pa.string(),
        "row": pa.uint32(),
        "uid": pa.string(),
        "key": pa.string(),
        "text": pa.large_string(),
        "url": pa.string(),
        **dict.fromkeys(SIDES, pa.int32()),
        **dict.fromkeys(("offset", "length", "image_offset", "image_length"), pa.int64()),
        **dict.fromkeys(("image_format", "error"), pa.string()),
    }
)

# Made from one row: from none, pyarrow would import pandas, which takes half a second.
_ONE_ROW = pa.table([pa.nulls(1, field.type) for field in SAMPLE_SCHEMA], schema=SAMPLE_SCHEMA)
EMPTY = pl.DataFrame(_ONE_ROW).clear()


def comparable(values: pl.Series) -> pl.Series:
    """Values as a bound is compared with them: null in place of NaN, 0 and 1 for false and true."""
    if values.dtype.is_float():
        return values.fill_nan(None)
    return values.cast(pl.UInt8) if values.dtype == pl.Boolean else values


def is_storable(dtype: object) -> bool:
    """Whether a table can have a column of a type: one of polars, and not Object, of which only addresses in
    memory would be stored, nor a number of 128 bits. It may leave a part open, as `pl.Array` its width."""
    if isinstance(dtype, type) and issubclass(dtype, pl.DataType):
        return not issubclass(dtype, _NOT_STORED)
    inner = [field.dtype for field in dtype.fields] if isinstance(dtype, pl.Struct) else []
    if isinstance(dtype, pl.List | pl.Array):
        inner.append(dtype.inner)
    return isinstance(dtype, pl.DataType) and is_storable(type(dtype)) and all(map(is_storable, inner))


def like_path(value: str) -> bool:
    """Whether a value can only be the path of a file: it has a slash, or a suffix such as .pt or .npy."""
    return "/" in value or SUFFIX.search(value) is not None

"""The columns of a sample, and which operator a column comes from.

`SAMPLE_COLUMNS` are the polars types that operators see; `SAMPLE_SCHEMA` is the same table as Arrow stores it.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl
import pyarrow as pa
from polars._typing import PolarsDataType

SAMPLE_COLUMNS: Mapping[str, PolarsDataType] = {
    **dict.fromkeys(("shard", "uid", "key", "text", "url", "image_format"), pl.String),
    "row": pl.UInt32,
    **dict.fromkeys(("width", "height", "original_width", "original_height"), pl.Int32),
    **dict.fromkeys(("offset", "length", "image_offset", "image_length"), pl.Int64),
}


READY = "datacomp"


READY_COLUMNS: Mapping[str, PolarsDataType] = {  # what a DataComp folder brings along: see datacomp.py
    **dict.fromkeys((f"{READY}.{model}_score" for model in ("b32", "l14")), pl.Float64),
    **dict.fromkeys(
        (f"{READY}.{model}_{side}_embedding" for model in ("b32", "l14") for side in ("image", "text")),
        pl.Array,
    ),
}


def owner(name: str) -> str | None:
    """The operator that a column or stat comes from; None for a sample's own column. `text` is the
    caption even where an operator is called `text`, whose columns are `text.words` and the like."""
    return None if name in SAMPLE_COLUMNS or name in READY_COLUMNS else name.split(".")[0]


SAMPLE_SCHEMA = pa.schema(
    {
        "shard": pa.string(),
        "row": pa.uint32(),
        "uid": pa.string(),
        "key": pa.string(),
        "text": pa.large_string(),
        "url": pa.string(),
        **dict.fromkeys(("width", "height", "original_width", "original_height"), pa.int32()),
        **dict.fromkeys(("offset", "length", "image_offset", "image_length"), pa.int64()),
        **dict.fromkeys(("image_format", "error"), pa.string()),
    }
)


_ONE = pa.table([pa.nulls(1, field.type) for field in SAMPLE_SCHEMA], schema=SAMPLE_SCHEMA)


EMPTY = pl.DataFrame(_ONE).clear()  # from no rows at all, pyarrow would import pandas: half a second

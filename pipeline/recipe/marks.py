"""Marks on the fields of `export`: which of them are paths that an export writes, which are columns that it
reads."""

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl
from polars._typing import PolarsDataType

TAR_FILES = r"\d{8,}(\.tar|\.parquet|_stats\.json)|(sizes|meta)\.json"
INDEX_FILES = r"(image|text)\.(index|json)|metadata|parts|sources\.parquet|recall\.npz"


@dataclass(frozen=True)
class Destination:
    """Marks a field of `export` as the path of one export.

    images   whether the export copies the pool's images
    files    the names of what it writes into its folder, as a regular expression; empty if it writes one file
    """

    images: bool = False
    files: str = ""


@dataclass(frozen=True)
class ColumnName:
    """Marks a field of `export` as the name of a column that the export reads. `suits` tests the column's
    dtype; `expected` says in words which dtypes suit."""

    suits: Callable[[PolarsDataType], bool]
    expected: str


EMBEDDING = ColumnName(lambda dtype: dtype == pl.Array, "an Array (an embedding)")
TEXTS = ColumnName(lambda dtype: dtype == pl.String, "texts")
WHOLE_NUMBERS = ColumnName(lambda dtype: dtype.is_integer(), "whole numbers (how often)")

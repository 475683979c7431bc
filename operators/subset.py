"""Copies: how often a subset file asks for a sample. It puts anyone's subset beside every other score.

    asked: {use: subset.Copies, file: subset.npy}
    keep:
      asked.copies: {min: 1}
    export: {shards: out, repeats: asked.copies}

Columns
    copies  UInt32  how many rows of the file are this sample's uid; 0 if none is; never null
Errors: none of its own.
Source: DataComp (arXiv 2304.14108), whose resharder looks each uid up in the sorted file.
Differs: the file must be sorted and is checked; the resharder takes any, and finds less in one that is not.
"""

import os
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import polars as pl
from pydantic import PrivateAttr

from pipeline.assets import map_array
from pipeline.npy import check_size, read_header
from pipeline.operator import Device, File, Score
from pipeline.uids import first_unsorted, search_uids, uid_halves

UIDS = np.dtype("u8,u8")  # a row of a subset file
BLOCK = 1 << 20  # rows that are checked at a time


class Copies(Score):
    """How often a sample's uid is in a subset file.

    Use it to export the shards of somebody else's subset, or to compare that subset with your own rules
    sample by sample.

    file  DataComp's .npy of sorted u8,u8; it is mapped into memory, never held

    Cost: very cheap: a binary search per row, about 2 log n reads of the file.
    """

    file: File

    needs = ("uid",)
    writes: ClassVar[Mapping[str, Any]] = {"copies": pl.UInt32}
    _rows: Any = PrivateAttr(None)

    def why_broken(self, field: str, value: str) -> str:
        """See Operator: the header must be that of a list of uids, and all of them must be there."""
        try:
            with open(value, "rb") as file:
                header = read_header(file, value)
                check_size(header, os.fstat(file.fileno()).st_size, value)
        except (ValueError, OSError) as error:
            return str(error)
        is_list = header.dtype == UIDS and len(header.shape) == 1
        return "" if is_list else f"{value} must be a list of u8,u8, got {header.kind}"

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Map the file. Raises ValueError if it is not a sorted list of u8,u8."""
        self._rows = map_array(self.file)
        if self._rows.dtype != UIDS or self._rows.ndim != 1:
            raise ValueError(
                f"file: {self.file} must be a list of u8,u8, got {self._rows.dtype} {self._rows.shape}"
            )
        for start in range(0, len(self._rows), BLOCK):
            if uid := first_unsorted(self._rows[start : start + BLOCK + 1]):
                raise ValueError(f"file: {self.file} must be sorted, and {uid} comes after a larger uid")

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n,) uids -> (n,) counts."""
        high, low = uid_halves(batch["uid"])
        first, past = (search_uids(self._rows, high, low, side) for side in ("left", "right"))
        return pl.DataFrame({"copies": pl.Series(past - first).cast(pl.UInt32)})

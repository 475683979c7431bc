"""Whole groups that lie one after the other in a frame."""

from collections.abc import Sequence

import numpy as np
import polars as pl


def spans(rows: pl.DataFrame, keys: Sequence[str]) -> list[tuple[int, int]]:
    """[start, stop) of each group of a frame: of each run of rows with equal keys."""
    if rows.is_empty():
        return []
    numbers = rows.select(pl.struct(keys).rle_id()).to_series().to_numpy()
    starts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist()]
    return list(zip(starts, [*starts[1:], len(rows)], strict=True))

"""The samples behind the rows of an index: some rows of a parquet table, or the rows of a uid.

rows_at("metadata_0.parquet", "out/index/metadata/metadata_0.parquet", [3, 17])   # (2, COLUMNS)
starting("metadata_0.parquet", "...", "7d1e14")                                   # [(3, "7d1e14...")]
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from pipeline.errors import RecipeError, brief
from pipeline.parquet import Parquet, garbled
from pipeline.search.manifest import AGAIN
from pipeline.uids import UID

COLUMNS = ("uid", "shard", "row", "key", "caption", "url")
TYPES = {**dict.fromkeys(COLUMNS, pl.String), "row": pl.Int64}
BATCH = 65_536  # rows that are looked at together


def check_rows(path: str, shown: str, rows: int) -> None:
    """Raises RecipeError if a table has another number of rows than its index, or lacks a column."""
    try:
        with garbled(shown), Parquet(path) as table:
            found = table.rows
            lacking = [name for name in COLUMNS if name not in table.schema.names]
    except ValueError as error:
        raise RecipeError(f"{error}; the index's metadata cannot be read") from None
    if lacking:
        raise RecipeError(f"{shown} has no column {lacking[0]}: it is not the metadata of an index")
    if found != rows:
        raise RecipeError(f"{shown} is of another index: it has {found:,} rows, and the index {rows:,}")


def rows_at(path: str, shown: str, rows: Sequence[int]) -> pl.DataFrame:
    """(len(rows), COLUMNS): some rows of a table, ascending and each once. Raises RecipeError."""
    frames = [pl.DataFrame(schema=TYPES)]
    wanted = np.asarray(rows, np.int64)
    try:
        with garbled(shown), Parquet(path) as table:
            table.check(COLUMNS)
            while len(wanted):
                start, end, group = table.group_of(int(wanted[0]))
                own, wanted = np.split(wanted, [np.searchsorted(wanted, end)])
                for batch in table.group_batches(group, COLUMNS, BATCH):
                    inside = own[(own >= start) & (own < start + batch.num_rows)] - start
                    if len(inside):
                        frames.append(pl.DataFrame(batch).select(COLUMNS)[inside.tolist()].cast(TYPES))
                    start += batch.num_rows
    except (ValueError, pl.exceptions.PolarsError) as error:
        raise RecipeError(f"{error}; the index's metadata cannot be read") from None
    found = pl.concat(frames)
    _check_places(found, shown)
    return found


def _check_places(found: pl.DataFrame, shown: str) -> None:
    """Raises RecipeError unless every row names a sample: a uid of 32 hex digits, a shard, a row of it."""
    valid = {
        "uid": pl.col("uid").str.contains(f"^{UID.pattern}$"),
        "shard": pl.lit(True),
        "row": pl.col("row") >= 0,
    }
    for name, holds in valid.items():
        wrong = found.filter(~(holds & pl.col(name).is_not_null()).fill_null(False))[name]
        if len(wrong):
            raise RecipeError(
                f"{shown} has the {name} {brief(wrong[0])}: it is not the metadata of an index; {AGAIN}"
            )


def starting(path: str, shown: str, digits: str) -> list[tuple[int, str]]:
    """(row, uid) of each row whose uid begins with these digits. Raises RecipeError."""
    found, start = list[tuple[int, str]](), 0
    try:
        with garbled(shown), Parquet(path) as table:
            table.check(["uid"])
            for batch in table.batches(["uid"], BATCH):
                uids = pl.DataFrame(batch)["uid"].cast(pl.String)
                here = uids.str.starts_with(digits).fill_null(False).arg_true()
                found += [(start + row, uids[row]) for row in here.to_list()]
                start += len(uids)
    except (ValueError, pl.exceptions.PolarsError) as error:
        raise RecipeError(f"{error}; the index's metadata cannot be read") from None
    return found

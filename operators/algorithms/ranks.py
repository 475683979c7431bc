"""The best few rows of each key, and how many rows it has: a summary that rows of any keys are reduced to in
parts, whatever the order of the parts.

A summary has the columns of the key and, under names that begin with a dot as no column's does, one row for
each of the best rows of a key: `.value` (what they are ordered by), `.high` and `.low` (the halves of their
uid), `.shard`, `.row`, `.rank` (1 for the best) and `.size` (rows of the key, on its best row; 0 on others).
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from pipeline.uids import uid_halves


def value_of(rows: pl.DataFrame, column: str) -> pl.Expr:
    """What rows are ordered by: a column, null where it is NaN; null everywhere without a column."""
    if not column:
        return pl.lit(None, pl.Boolean)
    return pl.col(column).fill_nan(None) if rows.schema[column].is_float() else pl.col(column)


def each(rows: pl.DataFrame, keys: Sequence[str], value: pl.Expr) -> pl.DataFrame:
    """(n, uid, shard, row and key) -> the summary of each row by itself: (m,) those whose key is not null."""
    rows = rows.drop_nulls(list(keys))
    high, low = uid_halves(rows["uid"])
    return rows.select(
        *keys,
        value.alias(".value"),
        pl.Series(".high", high),
        pl.Series(".low", low),
        pl.col("shard").alias(".shard"),
        pl.col("row").alias(".row"),
        pl.lit(1, pl.UInt32).alias(".rank"),
        pl.lit(1, pl.UInt64).alias(".size"),
    )


def reduced(parts: pl.DataFrame, keys: Sequence[str], most: int, descending: bool) -> pl.DataFrame:
    """Stacked summaries -> one, with at most `most` rows of a key. Keys that occur once, nearly all of them,
    are neither sorted nor copied more than once."""
    several = parts.select(keys).is_duplicated()
    if not several.any():
        return parts
    return pl.concat([parts.filter(~several), _first(parts.filter(several), keys, most, descending)])


def _first(parts: pl.DataFrame, keys: Sequence[str], most: int, descending: bool) -> pl.DataFrame:
    """The same for keys that occur several times."""
    order = [*keys, ".value", ".high", ".low", ".shard", ".row"]
    ordered = parts.sort(
        order, descending=[name == ".value" and descending for name in order], nulls_last=True
    )
    begins = ordered.select(pl.struct(keys).rle_id().diff().fill_null(1) != 0).to_series().to_numpy()
    starts = np.flatnonzero(begins)
    sizes = np.zeros(len(ordered), np.uint64)
    sizes[starts] = np.add.reduceat(ordered[".size"].to_numpy(), starts)
    ranks = np.arange(len(ordered)) - np.repeat(starts, np.diff([*starts, len(ordered)])) + 1
    ranked = ordered.with_columns(pl.Series(".rank", ranks.astype(np.uint32)), pl.Series(".size", sizes))
    return ranked.filter(pl.col(".rank") <= most)


def looked_up(rows: pl.DataFrame, summary: pl.DataFrame, keys: Sequence[str], most: int) -> pl.DataFrame:
    """(n, shard, row and key) and the summary of all rows of their keys -> (n,) `size`, `rank` (`most` + 1
    for all after the best `most`), and `first`: the uid of the best, null for itself. All are null if the
    key is."""
    groups = summary.filter((pl.col(".size") > 1) & (pl.col(".rank") == 1))
    own = rows.select(*keys, pl.col("shard").alias(".shard"), pl.col("row").alias(".row"))
    hits = own.with_row_index(".at").join(
        groups.select(*keys, ".size").with_row_index(".group"), on=list(keys)
    )
    listed = summary.filter((pl.col(".size") != 1) | (pl.col(".rank") > 1)).select(".shard", ".row", ".rank")
    hits = hits.join(listed, on=[".shard", ".row"], how="left").with_columns(
        pl.col(".rank").fill_null(most + 1)
    )
    at, behind = hits[".at"].to_numpy(), (hits[".rank"] > 1).to_numpy()
    sizes, ranks = np.ones(len(rows), np.uint64), np.ones(len(rows), np.uint32)
    sizes[at], ranks[at] = hits[".size"].to_numpy(), hits[".rank"].to_numpy()
    group = np.full(len(rows), -1)
    group[at[behind]] = hits[".group"].to_numpy()[behind]
    places = pl.Series(group)
    first = uids_of(groups).gather(places.zip_with(places >= 0, pl.repeat(None, len(rows), eager=True)))
    has_key = rows.select(pl.all_horizontal(pl.col(list(keys)).is_not_null())).to_series()
    return pl.select(
        pl.when(has_key).then(values).alias(name)
        for name, values in (("size", pl.Series(sizes)), ("rank", pl.Series(ranks)), ("first", first))
    )


def uids_of(summary: pl.DataFrame) -> pl.Series:
    """(n,) String: the uids whose halves are in a summary."""
    halves = summary.select(".high", ".low").to_numpy().astype(">u8").tobytes()
    return pl.Series([halves[at : at + 16].hex() for at in range(0, len(halves), 16)], dtype=pl.String)

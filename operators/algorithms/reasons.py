"""Reasons in `error` columns that several operators give, each worded in one place.

The books count rows by reason. They take the text up to the first colon, so a text that varies comes after
one.
"""

from collections.abc import Mapping

import polars as pl

NO_CAPTION = "no caption"
EMPTY_CAPTION = "empty caption"
NO_EMBEDDING = "no embedding"
ZERO_VECTOR = "a zero vector has no direction"
NOT_FINITE = "the embedding is not finite"


def no_caption(text: str) -> pl.Expr:
    """The reason of rows whose caption, the column `text`, is null; null for all others."""
    return pl.when(pl.col(text).is_null()).then(pl.lit(NO_CAPTION))


def caption_error(text: pl.Expr) -> pl.Expr:
    """Why a caption cannot be scored; null if it can. A caption is empty if Python's `strip` leaves
    nothing."""
    empty = ~text.str.contains(r"[^\s\x1c-\x1f]")
    reason = pl.when(text.is_null()).then(pl.lit(NO_CAPTION))
    return reason.when(empty).then(pl.lit(EMPTY_CAPTION))


def no_direction(columns: Mapping[str, pl.Series], directed: Mapping[str, pl.Series]) -> pl.Series:
    """(n,) String: which embedding is present but zero or not finite; null if none is. Both mappings are by
    the embedding's name in the reason: `image`, `text`; `directed` says which rows have a direction."""
    bad = {name: column.is_not_null() & ~directed[name] for name, column in columns.items()}
    reasons = (
        pl.when(rows).then(pl.lit(f"{name} embedding is zero or not finite")) for name, rows in bad.items()
    )
    return pl.select(pl.coalesce(*reasons)).to_series()

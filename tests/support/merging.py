"""Partial tables, merged in any order and grouping."""

import random
from collections.abc import Callable, Sequence
from itertools import pairwise

import polars as pl


def any_cuts(rng: random.Random, rows: int) -> list[tuple[int, int]]:
    """(start, stop) of up to nine pieces of so many rows."""
    return list(pairwise(sorted({0, rows, *rng.sample(range(rows), rng.randrange(1, 9))})))


def merged_anyhow(
    rng: random.Random, parts: Sequence[pl.DataFrame], merge: Callable[[pl.DataFrame], pl.DataFrame]
) -> pl.DataFrame:
    """One table out of partial ones, by a random tree."""
    waiting = list(parts)
    rng.shuffle(waiting)
    while len(waiting) > 1:
        size = rng.randrange(2, len(waiting) + 1)
        waiting = [*waiting[size:], merge(pl.concat(waiting[:size]))]
        rng.shuffle(waiting)
    return waiting[0]

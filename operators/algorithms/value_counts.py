"""How often a score has which values, as a small table whose parts add up exactly, and what follows from it:
mean, standard deviation, ranks.

Values are taken as float32. A bin holds the values that agree in sign, exponent and the first 12 bits of the
mantissa, which are as wide as 1/4096 of the value at most. In a bin a value is its mantissa, a whole number,
times one power of 2; so sums of values and of squares are sums of whole numbers, and their order does not
matter.
"""

from fractions import Fraction
from math import sqrt

import numpy as np
import polars as pl

SHIFT = 11  # bits of a float32 that a bin leaves open
MANTISSA = 23  # bits of a float32, besides the first, which is not stored
LEAST = -149  # the exponent of the smallest float32
SPLIT = 24  # bits of the lower part of a square
SIGN = np.uint32(1 << 31)


def bins_of(values: np.ndarray) -> np.ndarray:
    """(n,) finite floats -> (n,) uint32 bins, in the order of the values."""
    bits = (values.astype(np.float32) + np.float32(0)).view(np.uint32)  # + 0: there is one zero
    return np.where(bits & SIGN, ~bits, bits | SIGN) >> np.uint32(SHIFT)


def counted(values: np.ndarray) -> pl.DataFrame:
    """(n,) finite floats -> `bin`, `count`, and of mantissas and their squares (the upper and the lower part)
    the sums."""
    bits = values.astype(np.float32).view(np.uint32)
    exponents = bits >> np.uint32(MANTISSA) & np.uint32(255)
    mantissas = (bits & np.uint32((1 << MANTISSA) - 1)).astype(np.int64)
    mantissas += (exponents > 0).astype(np.int64) << MANTISSA
    squares = mantissas * mantissas
    rows = pl.DataFrame(
        {
            "bin": bins_of(values),
            "sum": mantissas,
            "upper": squares >> SPLIT,
            "lower": squares & ((1 << SPLIT) - 1),
        }
    )
    return added(rows.with_columns(count=pl.lit(1, pl.UInt64)), [])


def added(parts: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Stacked tables -> one."""
    return parts.group_by(*keys, "bin").agg(pl.col("count", "sum", "upper", "lower").sum())


def moments(table: pl.DataFrame) -> tuple[float, float]:
    """Mean and standard deviation (of the whole population) of counted values, rounded once."""
    count = int(table["count"].sum())
    if not count:
        return 0.0, 0.0
    total = squares = 0  # in units of 2^LEAST and 4^LEAST
    for place, mantissas, upper, lower in table.select("bin", "sum", "upper", "lower").iter_rows():
        negative = place < 1 << (31 - SHIFT)
        bits = (~(place << SHIFT) if negative else (place << SHIFT)) & 0x7FFFFFFF
        shift = max(bits >> MANTISSA, 1) - 1
        total += (-mantissas if negative else mantissas) << shift
        squares += ((upper << SPLIT) + lower) << 2 * shift
    variance = Fraction(count * squares - total * total, count * count) / (1 << -2 * LEAST)
    return float(Fraction(total, count) / (1 << -LEAST)), sqrt(variance)


def shares(counts: np.ndarray) -> np.ndarray:
    """(b,) counts of ascending bins -> (b,) the mean rank of each one's values, less a half, over all: in
    (0, 1)."""
    below = np.cumsum(counts, dtype=np.float64) - counts
    found: np.ndarray = (below + counts / 2) / max(1, counts.sum())
    return found

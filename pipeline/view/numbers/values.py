"""A rule's column as numbers, compared as the rule compares them."""

import numpy as np
import polars as pl

from pipeline.rule import Rule

SLIDING = ("min", "max", "top", "bottom")  # bounds that a slider can move


def slides(rule: Rule) -> bool:
    """Whether the bound of a rule can be moved."""
    return rule.bound in SLIDING


def keeps_high(rule: Rule) -> bool:
    """Whether a sliding rule keeps high values."""
    return rule.bound in ("min", "top")


def numbers(values: pl.Series) -> np.ndarray:
    """(n,) float64; NaN where there is no value."""
    return values.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def as_compared(bounds: np.ndarray, dtype: pl.DataType) -> np.ndarray:
    """Bounds, (n,) float64, as polars compares a column of this type with them: with float32 in float32."""
    return bounds.astype(np.float32).astype(np.float64) if dtype == pl.Float32 else bounds


def number_text(value: float) -> str:
    """The shortest text that YAML reads as this number."""
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    text = repr(float(value))
    mantissa, e, exponent = text.partition("e")
    return f"{mantissa}.0e{exponent}" if e and "." not in mantissa else text

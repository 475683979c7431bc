"""Patterns of attributes and labels: which of several columns of yes and no say yes, a digit for each; and
what two tables of them differ in.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from operators.algorithms.moment_matching import association, representation


def patterns_of(batch: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """(n,) `pattern`: a digit for each column, 1 if its value is true or above 0; null if one is missing."""
    numbers = [pl.col(name).cast(pl.Float64).fill_nan(None) for name in names]
    digits = [pl.when(number > 0).then(pl.lit("1")).when(number <= 0).then(pl.lit("0")) for number in numbers]
    return batch.select(pattern=pl.concat_str(*digits))


def zeros_and_ones(table: pl.DataFrame, width: int) -> np.ndarray:
    """(p,) `pattern` -> (p, width) float64."""
    digits = "".join(table["pattern"]).encode()
    found: np.ndarray = (np.frombuffer(digits, np.uint8).reshape(-1, width) == ord("1")).astype(np.float64)
    return found


def compared(
    before: pl.DataFrame, after: pl.DataFrame, attributes: Sequence[str], labels: Sequence[str]
) -> dict[str, pl.DataFrame]:
    """Tables of the bias in two tables of patterns:

    summary         figure, before, after: samples, and the largest association
    representation  attribute, before, after: the share of samples with it
    association     attribute, label, before, after: share with the label among samples with the attribute,
                    less that among those without it; null if there are no such samples
    """
    sides = [_figures(side, len(attributes), len(labels)) for side in (before, after)]
    counts, shares, gaps = zip(*sides, strict=True)
    pairs = [(attribute, label) for attribute in attributes for label in labels]
    largest = [float(np.abs(side).max(initial=0)) for side in gaps]
    figures = {"figure": ["samples", "association of a label with an attribute, the largest"]}
    return {
        "summary": _beside(figures, *([count, most] for count, most in zip(counts, largest, strict=True))),
        "representation": _beside({"attribute": list(attributes)}, *shares),
        "association": _beside({"attribute": [a for a, _ in pairs], "label": [b for _, b in pairs]}, *gaps),
    }


def _figures(table: pl.DataFrame, m: int, c: int) -> tuple[float, np.ndarray, np.ndarray]:
    """Samples, the share of each of m attributes, and each one's associations with c labels."""
    counts = table["count"].to_numpy().astype(np.float64)
    yes = zeros_and_ones(table, m + c)
    gaps = association(counts, yes[:, :m], yes[:, m:])
    return float(counts.sum()), representation(counts, yes[:, :m]), gaps.ravel()


def _beside(names: Mapping[str, list[str]], before: Sequence[float], after: Sequence[float]) -> pl.DataFrame:
    """A table of figures of both sides; null for those that nothing says."""
    columns = {"before": np.array(before, float), "after": np.array(after, float)}
    return pl.DataFrame({**names, **columns}).with_columns(pl.col("before", "after").fill_nan(None))

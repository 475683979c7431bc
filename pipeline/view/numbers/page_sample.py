"""A sample of rows as levels, with which a page moves several sliders at once."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from pipeline.rule import Rule
from pipeline.view.numbers.sliders import lacks_value, row_levels
from pipeline.view.numbers.stops import Stops
from pipeline.view.rows import verdict

MOST = 20_000  # rows
NO_VALUE = 65_535


@dataclass(frozen=True)
class PageSample:
    """Rows of the pool, chosen by a seed and their uids.

    rows   how many
    exact  whether they are the whole pool
    stop   rule -> base64 of (rows) uint16, little endian: how many stops of its slider a row passes, from the
           loosest on; 65535 if it has no value
    fixed  base64 of (rows) uint8: 1 if a row passes the rules that have no slider, and no rule that needs a
           value lacks it
    """

    rows: int
    exact: bool
    stop: Mapping[str, str]
    fixed: str


def page_sample(
    rows: pl.DataFrame, samples: int, rules: Mapping[str, Rule], stops: Mapping[str, Stops]
) -> PageSample:
    """The sample of a page. `rows`: of the frames, of a pool of so many samples."""
    rows = rows.head(MOST)
    passes = ~lacks_value(rows, rules)
    for name, rule in rules.items():
        if name not in stops:
            passes &= rows[verdict(name)].fill_null(rule.missing == "keep").to_numpy()
    levels = {name: _levels(rows, name, rules[name], own) for name, own in stops.items()}
    return PageSample(len(rows), len(rows) == samples, levels, _base64(passes.astype(np.uint8)))


def _levels(rows: pl.DataFrame, name: str, rule: Rule, stops: Stops) -> str:
    """The levels of one rule."""
    levels = row_levels(rows, name, rule, stops)
    return _base64(np.where(levels > len(stops.all), NO_VALUE, levels).astype("<u2"))


def _base64(array: np.ndarray) -> str:
    """An array's bytes."""
    return base64.b64encode(array.tobytes()).decode()

"""Operators that read the table of a Stat, and are given that of another."""

import polars as pl
import pytest

from operators.clusters import Balance, Nearest
from operators.perceptual import Copies
from pipeline.operator import Device, Score


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        (Copies(hash="p.hash", leaders="words"), "leaders: words must be a table of uid, leader, distance"),
        (Nearest(embedding="e", centroids="words"), "centroids: words must be a table of vector"),
        (Balance(cluster="c", sizes="words", target=1), "sizes: words must be a table of cluster, count"),
    ],
)
def test_the_table_of_another_stat(operator: Score, message: str) -> None:
    with pytest.raises(ValueError, match=f"{message}, got one of word, count"):
        operator.setup({"words": pl.DataFrame({"word": ["a"], "count": [1]})}, Device())

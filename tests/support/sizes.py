"""How large the slow proofs are: small by default, whole under `make test-full`."""

import os
from collections.abc import Iterable
from typing import Any, TypeVar

import pytest

Size = TypeVar("Size", int, float)
FULL = bool(os.environ.get("FULL_TESTS"))
only_full = pytest.mark.skipif(not FULL, reason="one of the cases that only `make test-full` runs")


def either(small: Size, full: Size) -> Size:
    """A size of a test: `full` under `make test-full`."""
    return full if FULL else small


def pairs(rows: Iterable[Any], columns: Iterable[Any], each: int) -> list[Any]:
    """Parameters of a test: every row with every column under `make test-full`, else one pair in `each`, so
    that every row and every column has a part. `each` is at most the number of rows, and of columns."""
    columns = list(columns)
    return [
        pytest.param(row, column, marks=[] if (number - at) % each == 0 else only_full)
        for number, row in enumerate(rows)
        for at, column in enumerate(columns)
    ]

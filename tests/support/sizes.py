"""How large the slow proofs are: small by default, whole under `make test-full`."""

import os
from typing import TypeVar

import pytest

Size = TypeVar("Size", int, float)
FULL = bool(os.environ.get("FULL_TESTS"))
only_full = pytest.mark.skipif(not FULL, reason="one of the cases that only `make test-full` runs")


def either(small: Size, full: Size) -> Size:
    """A size of a test: `full` under `make test-full`."""
    return full if FULL else small

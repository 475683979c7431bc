"""How large the slow proofs are: small by default, whole under `make test-full`."""

import os

import pytest

FULL = bool(os.environ.get("FULL_TESTS"))
only_full = pytest.mark.skipif(not FULL, reason="one of the cases that only `make test-full` runs")


def either(small: int, full: int) -> int:
    """A size of a test: `full` under `make test-full`."""
    return full if FULL else small

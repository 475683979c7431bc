"""Fixtures of the tests of indexes."""

from pathlib import Path

import pytest

from pipeline.plan import index_choice
from tests.support.decided_pool import ordinary


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of one shard."""
    monkeypatch.setattr(index_choice, "PART_BYTES", 1)
    monkeypatch.setattr(index_choice, "HEADS", 0)


@pytest.fixture
def pool(tmp_path) -> Path:
    """Four shards, one of them empty; 22 samples are kept."""
    return ordinary(tmp_path / "pool", (9, 0, 12, 12))

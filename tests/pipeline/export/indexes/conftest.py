"""Fixtures of the tests of indexes."""

import logging
from pathlib import Path

import pytest

from pipeline.plan import index_choice
from tests.support.decided_pool import ordinary
from tests.support.growing_pool import write_shard


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of one shard."""
    monkeypatch.setattr(index_choice, "PART_BYTES", 1)
    monkeypatch.setattr(index_choice, "HEADS", 0)


@pytest.fixture
def pool(tmp_path) -> Path:
    """Four shards, one of them empty; 22 samples are kept."""
    return ordinary(tmp_path / "pool", (9, 0, 12, 12))


@pytest.fixture
def growing_pool(tmp_path) -> Path:
    """Shards 1, 2 and 4, of 12, 0 and 8 samples; 8 and 6 are kept."""
    for shard, count in ((1, 12), (2, 0), (4, 8)):
        write_shard(tmp_path / "pool", shard, count)
    return tmp_path / "pool"


@pytest.fixture
def told(caplog):
    """The lines that the command line shows of an index."""
    caplog.set_level(logging.INFO, "winnow.export.indexes")
    return lambda: [r.getMessage() for r in caplog.records if r.name == "winnow.export.indexes"]

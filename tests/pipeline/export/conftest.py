"""Fixtures of the tests of `pipeline.export`."""

from pathlib import Path

import pytest

from pipeline.plan.session import Session
from tests.support.decided_pool import decided, ordinary


@pytest.fixture
def tar_folder(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def tar_session(tmp_path, tar_folder):
    """8 of 12 samples kept, from two of three shards, in tars of 3."""
    ordinary(tmp_path / "pool")
    return decided(tmp_path, {"shards": str(tar_folder), "samples_per_shard": 3})


@pytest.fixture
def table_path(tmp_path) -> Path:
    return tmp_path / "out" / "kept.parquet"


@pytest.fixture
def table_session(tmp_path, table_path) -> Session:
    """8 of 12 samples kept, from two of three shards."""
    ordinary(tmp_path / "pool")
    return decided(tmp_path, {"table": str(table_path)})

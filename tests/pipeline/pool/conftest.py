"""Fixtures of the tests of `pipeline.pool`."""

import fsspec
import pytest

from pipeline.pool.shards import Shard
from pipeline.pool.tar_reader import read_samples
from tests.pipeline.pool.made_samples import make


@pytest.fixture
def memory_url():
    """Store bytes under a memory:// URL."""
    fs = fsspec.filesystem("memory")

    def store(data: bytes) -> str:
        fs.pipe("/test_tar/0.tar", data)
        return "memory://test_tar/0.tar"

    yield store
    if fs.exists("/test_tar"):
        fs.rm("/test_tar", recursive=True)


@pytest.fixture
def read(tmp_path):
    """Write a tar and read all of its rows."""

    def read(*files, name="s", **options) -> list[dict]:
        (tmp_path / "0.tar").write_bytes(make(*files))
        reader = read_samples(Shard(name, str(tmp_path / "0.tar")), **options)
        rows = [row for table in reader for row in table.to_pylist()]
        assert reader.damage is None
        assert reader.rows == len(rows)
        return rows

    return read

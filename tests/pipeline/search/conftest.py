"""A small index of the plug-in's embeddings, by `winnow export`."""

import pytest

from pipeline.export.indexes.index_exporter import write_index
from tests.support.decided_pool import decided, ordinary


@pytest.fixture
def out(tmp_path):
    """The folder of the index."""
    return tmp_path / "out"


@pytest.fixture
def session(tmp_path, out):
    """A decided pool of twelve samples, of which eight are kept and in the index."""
    ordinary(tmp_path / "pool")
    session = decided(tmp_path, {"index": {"embedding": "vector.embedding", "path": str(out)}})
    write_index(session)
    return session

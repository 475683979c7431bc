"""The draw of training vectors and of queries."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.export.indexes import index_training as module
from pipeline.export.indexes.index_tasks import IndexWork
from pipeline.export.kept import kept_counts
from pipeline.export.kept_vectors import KeptVectors
from tests.support.decided_pool import decided

EMBEDDING = "vector.embedding"


@pytest.fixture
def work(tmp_path, pool) -> IndexWork:
    """Of 22 samples."""
    made = decided(tmp_path, {"index": {"embedding": EMBEDDING, "path": f"{tmp_path}/out"}})
    section, vectors = made.recipe.export.index, KeptVectors.of(made, EMBEDDING)
    return IndexWork("", "export.index", section, vectors, kept_counts(made))


def test_training_takes_a_sample_by_uid_and_queries_of_their_own(tmp_path, work, monkeypatch):
    every, _, rows = module._drawn(work, 22, 8)
    some, _, _ = module._drawn(work, 11, 8)
    assert (every.shape, rows) == ((22, 8), 22)
    assert 0 < len(some) < 22
    assert {row.tobytes() for row in some} < {row.tobytes() for row in every}
    monkeypatch.setattr(module, "MOST_QUERIES", 5)
    Path(tmp_path / "q.npz").write_bytes(module._drawn(work, 0, 8)[1])
    with np.load(tmp_path / "q.npz") as queries:
        assert queries["vectors"].shape == (5, 8)
        assert len(set(zip(queries["shards"].tolist(), queries["rows"].tolist(), strict=True))) == 5


def test_of_a_large_pool_some_shards_are_drawn_from(work, monkeypatch):
    """Shards of 6, 8 and 8 kept samples; the first one drawn holds all that is wanted."""
    monkeypatch.setattr(module, "SPARE", 1)
    monkeypatch.setattr(module, "MOST_QUERIES", 2)
    shards, kept = module._shards_to_draw_from(work, 5)
    assert (len(shards), kept) == (1, work.counts[shards[0]])
    assert module._shards_to_draw_from(work, 11) == (["00000", "00002", "00003"], 22)
    drawn, _, rows = module._drawn(work, 5, 8)
    assert 0 < len(drawn) <= kept
    assert rows == 22  # estimated from that shard

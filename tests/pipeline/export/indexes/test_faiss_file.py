"""An index written while it grows: FAISS's own bytes, whatever the batches and blocks."""

import itertools

import faiss
import numpy as np
import pytest

from pipeline.export.indexes import faiss_build
from pipeline.export.indexes import faiss_file as module
from pipeline.export.indexes.faiss_file import growing, join

FACTORIES = [
    "Flat",
    "PCA8,Flat",
    "IVF16,Flat",
    "IVF16,SQ8",
    "IVF16,SQfp16",
    "IVF16,PQ4x4",
    "OPQ4_8,IVF16_HNSW8,PQ4x4",
    "HNSW8",
    "IVF16,PQ8x4fs",
]


@pytest.fixture
def vectors():
    rows = np.random.default_rng(0).standard_normal((3000, 16), np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


TRAINED = {}  # factory -> trained index, for the module


def trained(factory, vectors):
    """An empty index of its own, trained on the vectors."""
    if factory not in TRAINED:
        TRAINED[factory] = faiss_build.create(factory, 16)
        faiss_build.train(TRAINED[factory], vectors, factory)
    return faiss.clone_index(TRAINED[factory])


@pytest.mark.parametrize("factory", FACTORIES)
@pytest.mark.parametrize(("block", "batch"), [(1, 700), (20_000, 100), (1 << 30, 3000)])
def test_as_faiss_writes_it(tmp_path, vectors, factory, block, batch, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", block)
    index, path = trained(factory, vectors), tmp_path / "index"
    with growing(index, str(path)) as add:
        for start in range(0, 3000, batch):
            add(vectors[start : start + batch])
    whole = trained(factory, vectors)
    add = faiss_build.adder(whole)
    for start in range(0, 3000, batch):
        add(vectors[start : start + batch])
    assert path.read_bytes() == faiss.serialize_index(whole).tobytes()
    assert [file.name for file in tmp_path.iterdir()] == ["index"]


@pytest.mark.parametrize("factory", FACTORIES)
@pytest.mark.parametrize("rows", [0, 1, 5])
def test_few_rows(tmp_path, vectors, factory, rows):
    """Most lists are empty."""
    path = tmp_path / "index"
    with growing(trained(factory, vectors), str(path)) as add:
        add(vectors[:rows])
    index = faiss.read_index(str(path))
    assert index.ntotal == rows
    found = index.search(vectors[:rows], 1)[1] if rows else np.empty((0, 1))
    if "4" not in factory:  # codes that find a row itself
        assert found[:, 0].tolist() == list(range(rows))


def test_nothing_lies_about_after_an_error(tmp_path, vectors, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 1)
    path = tmp_path / "index"

    def fail():
        with growing(trained("IVF16,SQ8", vectors), str(path)) as add:
            add(vectors)
            raise OSError("read")

    with pytest.raises(OSError, match="read"):
        fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("factory", [f for f in FACTORIES if f not in ("HNSW8", "IVF16,PQ8x4fs")])
@pytest.mark.parametrize("cuts", [(3000,), (1, 1200, 1200, 2999), (0, 0, 3000, 3000)])
def test_parts_are_joined_to_the_bytes_of_one_index(tmp_path, vectors, factory, cuts):
    """Parts without rows, of one row, and of many."""
    bounds = [0, *cuts, 3000]
    parts = {}
    for number, (start, end) in enumerate(itertools.pairwise(bounds)):
        path = str(tmp_path / f"{number}")
        with growing(trained(factory, vectors), path) as add:
            add(vectors[start:end])
        parts[path] = end - start
    whole = trained(factory, vectors)
    add = faiss_build.adder(whole)
    for start, end in itertools.pairwise(bounds):
        add(vectors[start:end])
    with open(tmp_path / "joined", "wb") as file:
        join(trained(factory, vectors), parts, file.write)
    assert (tmp_path / "joined").read_bytes() == faiss.serialize_index(whole).tobytes()

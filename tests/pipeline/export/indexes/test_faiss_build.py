"""FAISS alone: which factory for how many rows, equal bytes, and the GPU's path without a GPU."""

import faiss
import numpy as np
import pytest

from pipeline.errors import RecipeError
from pipeline.export.indexes import faiss_build
from pipeline.export.indexes.faiss_file import growing


@pytest.fixture
def vectors():
    """(3000, 16) unit vectors in 50 clusters."""
    draw = np.random.default_rng(0)
    rows = draw.standard_normal((50, 16))[draw.integers(50, size=3000)]
    rows = (rows + 0.3 * draw.standard_normal((3000, 16))).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def build(factory, vectors, path, threads=2) -> bytes:
    """Two batches, as the pipeline adds them."""
    faiss.omp_set_num_threads(threads)
    index = faiss_build.create(factory, vectors.shape[1])
    faiss_build.train(index, vectors[::2], factory)
    faiss_build.set_probes(index)
    with growing(index, str(path)) as add:
        add(vectors[:2000])
        add(vectors[2000:])
    return path.read_bytes()


@pytest.fixture(autouse=True)
def threads():
    before = faiss.omp_get_max_threads()
    yield
    faiss.omp_set_num_threads(before)


FACTORIES = [
    "IVF64,Flat",
    "IVF64,SQ8",
    "IVF64,SQfp16",
    "HNSW16",
    "IVF64_HNSW32,Flat",
    "PCA8,IVF64,SQ8",
    "IVF64,PQ8x4fs",
]


@pytest.mark.parametrize("factory", FACTORIES)
def test_equal_bytes_on_one_thread_and_two(vectors, tmp_path, factory):
    assert build(factory, vectors, tmp_path / "1", 1) == build(factory, vectors, tmp_path / "2", 2)
    assert faiss.omp_get_max_threads() == 2


@pytest.mark.parametrize("factory", ["IVF64,SQ8", "IVF60_HNSW32,Flat"])
def test_many_lists_are_found_in_two_steps(vectors, tmp_path, factory, monkeypatch):
    """Each of them is the nearest list of some vectors, and a search finds what it found before."""
    whole = faiss.deserialize_index(np.frombuffer(build(factory, vectors, tmp_path / "one"), np.uint8))
    monkeypatch.setattr(faiss_build, "ONE_LEVEL", 8)
    data = build(factory, vectors, tmp_path / "1", 1)
    assert build(factory, vectors, tmp_path / "2", 2) == data
    index = faiss.deserialize_index(np.frombuffer(data, np.uint8))
    assert index.nlist == index.quantizer.ntotal == whole.nlist
    sizes = [index.invlists.list_size(number) for number in range(index.nlist)]
    assert sum(sizes) == 3000
    assert min(sizes) > 0
    exact = np.argsort(-(vectors[:200] @ vectors.T), axis=1)[:, :10]
    for made in (whole, index):
        made.nprobe = 8
    found = [made.search(vectors[:200], 10)[1] for made in (whole, index)]
    recalls = [np.mean([len(set(a) & set(b)) / 10 for a, b in zip(f, exact, strict=True)]) for f in found]
    assert recalls[1] >= recalls[0] - 0.05


@pytest.mark.parametrize(("factory", "least"), [("IVF64,SQ8", 0.97), ("IVF64_HNSW32,Flat", 0.97)])
def test_it_finds_the_neighbours(vectors, tmp_path, factory, least):
    build(factory, vectors, tmp_path / "index")
    _, found = faiss.read_index(str(tmp_path / "index")).search(vectors[:100], 10)
    exact = np.argsort(-(vectors[:100] @ vectors.T), axis=1)[:, :10]
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, exact, strict=True)])
    assert recall >= least


@pytest.mark.parametrize("factory", ["IVF64,Flat", "IVF64,SQ8", "IVF64_HNSW32,Flat", "PCA8,IVF64,SQ8"])
def test_the_gpu_path(vectors, tmp_path, factory, monkeypatch):
    """With a stand-in for the GPU that is exact: equal answers, every row in its nearest list."""
    build(factory, vectors, tmp_path / "cpu")
    used = []
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "index_cpu_to_all_gpus", lambda index: used.append(1) or index)
    build(factory, vectors, tmp_path / "gpu")
    assert len(used) == 2  # to train, to add
    cpu, gpu = (faiss.read_index(str(tmp_path / name)).search(vectors[:50], 5) for name in ("cpu", "gpu"))
    assert faiss.read_index(str(tmp_path / "gpu")).ntotal == 3000
    np.testing.assert_array_equal(cpu[1][:, 0], gpu[1][:, 0])


@pytest.mark.parametrize("factory", ["", "nothing", "IVF64", "PQ7"])
def test_bad_factories(factory):
    with pytest.raises(RecipeError, match=rf"export\.index\.factory must be auto or .*, got '{factory}'"):
        faiss_build.create(factory, 16)


def test_a_graph_of_centroids_holds_more_candidates_than_lists_that_are_visited():
    """While vectors are added it holds as many as FAISS does by default, also if it was searched before."""
    index = faiss_build.create("IVF64_HNSW8,Flat", 8)
    rows = np.random.default_rng(0).standard_normal((4000, 8)).astype(np.float32)
    faiss_build.train(index, rows, "IVF64_HNSW8,Flat")
    lists = faiss_build.lists_of(index)
    graph = faiss.downcast_index(lists.quantizer).hnsw
    assert graph.efSearch == 16
    faiss_build.set_probes(index, 40)
    assert (lists.nprobe, graph.efSearch) == (40, 80)
    faiss_build.adder(index)(rows)
    assert graph.efSearch == 16
    faiss_build.visit(lists, 100)
    assert (lists.nprobe, graph.efSearch) == (64, 128)
    faiss_build.visit(lists, 2)
    assert (lists.nprobe, graph.efSearch) == (2, 16)

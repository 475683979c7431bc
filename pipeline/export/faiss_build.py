"""FAISS without a pool: choose, create, train, fill and ask an index of unit vectors.

Inner product throughout: on unit vectors, the cosine.

Determinism: equal bytes on equal machines, checked with 1 and 2 threads. What would depend on their
number runs on one: transforms (PCA, OPQ) and HNSW graphs, that of the centroids too. A GPU (used
where FAISS finds one) or another BLAS rounds in its own way: other bytes, nearly equal answers.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from pipeline.errors import RecipeError
from pipeline.threads import faiss_threads

# Training vectors: FAISS warns below 39 per list; 256 for each of the 256 centroids of a PQ code.
PER_LIST, AT_LEAST = 40, 65_536
# Rows up to which `auto` takes: Flat; IVF with whole vectors; IVF with a byte per number; 64-byte
# codes. After FAISS's "Guidelines to choose an index" (wiki) and autofaiss's table by size.
FLAT, WHOLE, BYTES, CODES = 100_000, 1_000_000, 10_000_000, 300_000_000
PROBES = 32  # lists a query visits, at least; and at least a 64th of them


def choose(rows: int, dimension: int) -> str:
    """The factory string for so many rows. FAISS's guidelines give 4 sqrt(n) to 16 sqrt(n) lists:
    the former where centroids are compared one by one, the latter with a graph over them."""
    if rows <= FLAT:
        return "Flat"  # exact, and a query still takes milliseconds
    if rows <= BYTES:  # on clustered vectors SQ8 keeps the neighbours that PQ loses
        return f"IVF{_power(4 * rows**0.5)},{'Flat' if rows <= WHOLE else 'SQ8'}"
    largest = 64 if rows <= CODES else 32
    codes = max(m for m in (64, 32, 16, 8, 4, 2, 1) if m <= largest and 4 * m <= max(dimension, 4))
    return f"OPQ{codes}_{4 * codes},IVF{_power(16 * rows**0.5)}_HNSW32,PQ{codes}"


def _power(number: float) -> int:
    return 1 << round(float(np.log2(number)))


def create(factory: str, dimension: int) -> Any:
    """An empty index. Raises RecipeError."""
    import faiss

    try:
        return faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise RecipeError(
            "export.index.factory must be auto or a FAISS factory string such as Flat or "
            f"IVF1024,SQ8 (for {dimension} dimensions), got {factory!r}: {_reason(error)}"
        ) from None


def _reason(error: RuntimeError) -> str:
    return str(error).rpartition(": ")[2]


def wanted(index: Any) -> int:
    """How many vectors to train it on."""
    ivf = _lists(index)
    return max(PER_LIST * ivf.nlist if ivf else 0, AT_LEAST)


def train(index: Any, vectors: np.ndarray, factory: str) -> None:
    """Train on (n, d) float32 vectors. Raises RecipeError where they are too few."""
    if index.is_trained:
        return
    try:
        vectors = _train_steps(index, vectors)
        if ivf := _lists(index):
            _train_lists(ivf, vectors)
        inner(index).train(vectors)  # what is left: the codes
        index.is_trained = True
    except RuntimeError as error:
        raise RecipeError(
            f"export.index.factory: {factory} cannot be trained on {len(vectors)} vectors "
            f"({_reason(error)}); name a smaller one, or auto"
        ) from None


def adder(index: Any) -> Callable[[np.ndarray], None]:
    """What adds (n, d) float32 vectors to a trained index. A GPU, if any, finds their lists."""
    import faiss

    below, before = inner(index), steps(index)
    put = _gpu_put(below) or below.add
    graph = isinstance(below, faiss.IndexHNSW)

    def add(vectors: np.ndarray) -> None:
        vectors = transformed(before, vectors)
        with faiss_threads(1 if graph else faiss.omp_get_max_threads()):
            put(vectors)
        index.ntotal = below.ntotal

    return add


def _gpu_put(ivf: Any) -> Callable[[np.ndarray], None] | None:
    """Adding to lists that the GPU finds, where there is one and these lists can be told."""
    import faiss

    if not faiss.get_num_gpus() or type(ivf) not in listed():
        return None
    centroids = _on_gpu(faiss.IndexFlat(ivf.d, ivf.metric_type))
    centroids.add(ivf.quantizer.reconstruct_n(0, ivf.nlist))

    def put(vectors: np.ndarray) -> None:
        lists = np.ascontiguousarray(centroids.search(vectors, 1)[1].ravel())
        ivf.add_core(len(vectors), faiss.swig_ptr(vectors), None, faiss.swig_ptr(lists))

    return put


def set_probes(index: Any) -> None:
    """Tell the index how many lists a query is to visit."""
    if ivf := _lists(index):
        ivf.nprobe = min(ivf.nlist, max(PROBES, ivf.nlist // 64))


def query(path: str, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(cosines, ids), two (n, k) arrays, of the k nearest to each of (n, d) vectors."""
    import faiss

    index = faiss.read_index(path)
    vectors = np.ascontiguousarray(vectors, np.float32)
    if vectors.ndim != 2 or vectors.shape[1] != index.d:
        raise ValueError(f"vectors must be (n, {index.d}), got {vectors.shape}")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: tuple[np.ndarray, np.ndarray] = index.search(vectors / np.maximum(lengths, 1e-30), k)
    return found


# --- parts of an index ----------------------------------------------------------------------------


def steps(index: Any) -> list[Any]:
    """The transforms (PCA, OPQ) before an index."""
    import faiss

    if not isinstance(index, faiss.IndexPreTransform):
        return []
    chain: Any = index.chain
    return [faiss.downcast_VectorTransform(chain.at(i)) for i in range(chain.size())]


def transformed(chain: list[Any], vectors: np.ndarray) -> np.ndarray:
    """Vectors as those steps leave them."""
    with faiss_threads(1):
        for step in chain:
            vectors = step.apply(vectors)
    return vectors


def inner(index: Any) -> Any:
    """The index behind the transforms."""
    import faiss

    below = index.index if isinstance(index, faiss.IndexPreTransform) else index
    return faiss.downcast_index(below)


def listed() -> tuple[type, ...]:
    """Inverted lists that can be told which list a row goes to, and that are written row by row."""
    import faiss

    return (faiss.IndexIVFFlat, faiss.IndexIVFScalarQuantizer, faiss.IndexIVFPQ)


def _lists(index: Any) -> Any:
    """The inverted lists behind the transforms, or None."""
    import faiss

    below = inner(index)
    return below if isinstance(below, faiss.IndexIVF) else None


def _train_steps(index: Any, vectors: np.ndarray) -> np.ndarray:
    """Train the transforms; returns the vectors as they come out of them."""
    with faiss_threads(1):
        for step in steps(index):
            if not step.is_trained:
                step.train(vectors)
            vectors = step.apply(vectors)
    return vectors


def _train_lists(ivf: Any, vectors: np.ndarray) -> None:
    """Find the centroids, on the GPU if there is one, as FAISS does by itself; it would add them to
    a graph on many threads, in an order that depends on their number."""
    import faiss

    if ivf.quantizer_trains_alone == "\1":  # a char in C++; 1: no centroids (a multi-index)
        return
    clustering = faiss.Clustering(ivf.d, ivf.nlist, ivf.cp)
    clustering.train(vectors, _on_gpu(faiss.IndexFlat(ivf.d, ivf.metric_type)))
    centroids = faiss.vector_to_array(clustering.centroids).reshape(ivf.nlist, ivf.d)
    with faiss_threads(1):
        ivf.quantizer.train(centroids)
        ivf.quantizer.add(centroids)


def _on_gpu(index: Any) -> Any:
    import faiss

    return faiss.index_cpu_to_all_gpus(index) if faiss.get_num_gpus() else index

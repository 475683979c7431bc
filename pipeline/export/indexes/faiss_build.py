"""FAISS without a pool: choose, create, train, fill and query an index of unit vectors.

    factory = choose(rows, dimension)
    index = create(factory, dimension)
    train(index, vectors, factory)
    set_probes(index)
    adder(index)(vectors)

The metric is the inner product, which for unit vectors is the cosine.

Determinism: machines of the same kind give equal bytes, on any number of threads (tested with 1 and 2). Steps
whose result would depend on the number of threads run on one: transforms (PCA, OPQ) and HNSW graphs,
including the graph of the centroids. FAISS uses a GPU if it finds one. A GPU or another BLAS rounds
differently: the bytes differ, the answers are nearly equal.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from pipeline.errors import RecipeError
from pipeline.recipe.faiss_factory import check_factory
from pipeline.threads import faiss_threads

PER_LIST = 40  # training vectors per list: FAISS warns below 39
AT_LEAST = 65_536  # training vectors: 256 for each of the 256 centroids of a PQ code
# The largest number of rows for which `auto` takes each kind of index, after FAISS's "Guidelines to choose an
# index" (wiki) and autofaiss's table by size.
FLAT = 100_000
WHOLE = 1_000_000  # IVF with whole vectors
BYTES = 10_000_000  # IVF with one byte per number
CODES = 300_000_000  # IVF with codes of 64 bytes; of 32 bytes beyond
PROBES = 32  # lists that a query visits, unless a 64th of all lists is more


def choose(rows: int, dimension: int) -> str:
    """The factory string for so many rows. FAISS's guidelines give 4 sqrt(n) to 16 sqrt(n) lists: 4 if a
    query compares the centroids one by one, 16 if it searches them with a graph."""
    if rows <= FLAT:
        return "Flat"  # exact, and a query still takes milliseconds
    if rows <= BYTES:  # on clustered vectors, SQ8 keeps neighbours that PQ loses
        return f"IVF{_power(4 * rows**0.5)},{'Flat' if rows <= WHOLE else 'SQ8'}"
    largest = 64 if rows <= CODES else 32
    codes = max(m for m in (64, 32, 16, 8, 4, 2, 1) if m <= largest and 4 * m <= max(dimension, 4))
    return f"OPQ{codes}_{4 * codes},IVF{_power(16 * rows**0.5)}_HNSW32,PQ{codes}"


def _power(number: float) -> int:
    """The power of two that is nearest on a logarithmic scale."""
    return 1 << round(float(np.log2(number)))


def create(factory: str, dimension: int) -> Any:
    """An empty index. Raises RecipeError for a factory string that FAISS refuses for this dimension, or that
    it must not see (recipe/faiss_factory.py)."""
    import faiss

    try:
        check_factory(factory)
        return faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
    except ValueError as error:
        raise RecipeError(f"export.index.factory {error}") from None
    except (RuntimeError, MemoryError) as error:
        raise RecipeError(
            "export.index.factory must be auto or a FAISS factory string such as Flat or "
            f"IVF1024,SQ8 (for {dimension} dimensions), got {factory!r}: {_reason(error)}"
        ) from None


def _reason(error: Exception) -> str:
    """FAISS's message without the source line it comes from."""
    return str(error).rpartition(": ")[2]


def training_rows(index: Any) -> int:
    """How many vectors to train an index on."""
    ivf = _lists(index)
    return max(PER_LIST * ivf.nlist if ivf else 0, AT_LEAST)


def train(index: Any, vectors: np.ndarray, factory: str) -> None:
    """Train on (n, d) float32 vectors. Raises RecipeError if they are too few."""
    if index.is_trained:
        return
    try:
        vectors = _train_transforms(index, vectors)
        if ivf := _lists(index):
            _train_lists(ivf, vectors)
        inner(index).train(vectors)  # transforms and lists are trained, so this trains the codes
        index.is_trained = True
    except (RuntimeError, MemoryError) as error:
        raise RecipeError(
            f"export.index.factory: {factory} cannot be trained on {len(vectors)} vectors "
            f"({_reason(error)}); name a smaller one, or auto"
        ) from None


def adder(index: Any) -> Callable[[np.ndarray], None]:
    """A function that adds (n, d) float32 vectors to a trained index. A GPU, if any, finds their lists."""
    import faiss

    behind, chain = inner(index), transforms(index)
    add_transformed = _gpu_adder(behind) or behind.add
    graph = isinstance(behind, faiss.IndexHNSW)

    def add_vectors(vectors: np.ndarray) -> None:
        vectors = transformed(chain, vectors)
        with faiss_threads(1 if graph else faiss.omp_get_max_threads()):
            add_transformed(vectors)
        index.ntotal = behind.ntotal

    return add_vectors


def _gpu_adder(ivf: Any) -> Callable[[np.ndarray], None] | None:
    """A function that adds vectors to lists that a GPU finds. None without a GPU, and for an index whose
    lists cannot be given from outside."""
    import faiss

    if not faiss.get_num_gpus() or type(ivf) not in growable_lists():
        return None
    centroids = _on_gpu(faiss.IndexFlat(ivf.d, ivf.metric_type))
    centroids.add(ivf.quantizer.reconstruct_n(0, ivf.nlist))

    def add_vectors(vectors: np.ndarray) -> None:
        lists = np.ascontiguousarray(centroids.search(vectors, 1)[1].ravel())
        ivf.add_core(len(vectors), faiss.swig_ptr(vectors), None, faiss.swig_ptr(lists))

    return add_vectors


def set_probes(index: Any) -> None:
    """Set how many lists a query visits."""
    if ivf := _lists(index):
        ivf.nprobe = min(ivf.nlist, max(PROBES, ivf.nlist // 64))


def query(path: str, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(cosines, ids), two (n, k) arrays: the k nearest to each of (n, d) vectors of any length. `path`: a
    local file. Raises ValueError for vectors of another dimension."""
    import faiss

    index = faiss.read_index(path)
    vectors = np.ascontiguousarray(vectors, np.float32)
    if vectors.ndim != 2 or vectors.shape[1] != index.d:
        raise ValueError(f"vectors must be (n, {index.d}), got {vectors.shape}")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines, ids = index.search(vectors / np.maximum(lengths, 1e-30), k)
    return cosines, ids


# --- parts of an index ----------------------------------------------------------------------------


def transforms(index: Any) -> list[Any]:
    """The transforms (PCA, OPQ) that vectors pass before the index proper, in order."""
    import faiss

    if not isinstance(index, faiss.IndexPreTransform):
        return []
    chain: Any = index.chain
    return [faiss.downcast_VectorTransform(chain.at(i)) for i in range(chain.size())]


def transformed(chain: list[Any], vectors: np.ndarray) -> np.ndarray:
    """Vectors after a chain of transforms."""
    with faiss_threads(1):
        for transform in chain:
            vectors = transform.apply(vectors)
    return vectors


def inner(index: Any) -> Any:
    """The index proper, behind the transforms."""
    import faiss

    behind = index.index if isinstance(index, faiss.IndexPreTransform) else index
    return faiss.downcast_index(behind)


def growable_lists() -> tuple[type, ...]:
    """The classes of inverted lists that take a list number for each row, and whose file can grow row by
    row."""
    import faiss

    return (faiss.IndexIVFFlat, faiss.IndexIVFScalarQuantizer, faiss.IndexIVFPQ)


def _lists(index: Any) -> Any:
    """The inverted lists behind the transforms; None if the index proper is of another kind."""
    import faiss

    behind = inner(index)
    return behind if isinstance(behind, faiss.IndexIVF) else None


def _train_transforms(index: Any, vectors: np.ndarray) -> np.ndarray:
    """Train the transforms; returns the transformed vectors."""
    with faiss_threads(1):
        for transform in transforms(index):
            if not transform.is_trained:
                transform.train(vectors)
            vectors = transform.apply(vectors)
    return vectors


def _train_lists(ivf: Any, vectors: np.ndarray) -> None:
    """Find the centroids as FAISS does, on the GPU if there is one. FAISS itself would add them to a graph on
    many threads, in an order that depends on the number of threads; here one thread adds them."""
    import faiss

    if ivf.quantizer_trains_alone == "\1":  # a char in C++; 1: there are no centroids (a multi-index)
        return
    clustering = faiss.Clustering(ivf.d, ivf.nlist, ivf.cp)
    clustering.train(vectors, _on_gpu(faiss.IndexFlat(ivf.d, ivf.metric_type)))
    centroids = faiss.vector_to_array(clustering.centroids).reshape(ivf.nlist, ivf.d)
    with faiss_threads(1):
        ivf.quantizer.train(centroids)
        ivf.quantizer.add(centroids)


def _on_gpu(index: Any) -> Any:
    """A copy of an index on all GPUs; the index itself without one."""
    import faiss

    return faiss.index_cpu_to_all_gpus(index) if faiss.get_num_gpus() else index

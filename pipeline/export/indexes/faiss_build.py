"""FAISS without a pool: create, train, fill and query an index of unit vectors.

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
from pipeline.plan.index_choice import ONE_LEVEL
from pipeline.recipe.faiss_factory import check_factory
from pipeline.threads import faiss_threads

PROBES = (
    32  # lists that a query visits until `recall.py` has found how many it takes, or a 64th of all if more
)

# Candidates that a search of the graph over the centroids holds. FAISS takes 16 whatever is asked for. Of
# 65,536 centroids of clustered vectors, 16 find the nearest for .91 of the vectors, but only .54 of the
# nearest 181; twice as many as lists find .99 of these (tests/benchmarks/RESULTS.md).
FILLING = 16
CANDIDATES = 2  # per list that a query visits


def create(factory: str, dimension: int, key: str = "export.index") -> Any:
    """An empty index. `key`: of the recipe, for messages. Raises RecipeError for a factory string that FAISS
    refuses for this dimension, or that it must not see (recipe/faiss_factory.py)."""
    import faiss

    try:
        check_factory(factory)
        return faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
    except ValueError as error:
        raise RecipeError(f"{key}.factory {error}") from None
    except (RuntimeError, MemoryError) as error:
        raise RecipeError(
            f"{key}.factory must be auto or a FAISS factory string such as Flat or "
            f"IVF1024,SQ8 (for {dimension} dimensions), got {factory!r}: {_reason(error)}"
        ) from None


def _reason(error: Exception) -> str:
    """FAISS's message without the source line it comes from."""
    return str(error).rpartition(": ")[2]


def train(index: Any, vectors: np.ndarray, factory: str, key: str = "export.index") -> None:
    """Train on (n, d) float32 vectors. Raises RecipeError if they are too few."""
    if index.is_trained:
        return
    try:
        vectors = _train_transforms(index, vectors)
        if ivf := lists_of(index):
            _train_lists(ivf, vectors)
        inner(index).train(vectors)  # transforms and lists are trained, so this trains the codes
        index.is_trained = True
    except (RuntimeError, MemoryError) as error:
        raise RecipeError(
            f"{key}.factory: {factory} cannot be trained on {len(vectors)} vectors "
            f"({_reason(error)}); name a smaller one, or auto"
        ) from None


def adder(index: Any) -> Callable[[np.ndarray], None]:
    """A function that adds (n, d) float32 vectors to a trained index. A GPU, if any, finds their lists."""
    import faiss

    behind, chain = inner(index), transforms(index)
    add_transformed = _gpu_adder(behind) or behind.add
    graph = isinstance(behind, faiss.IndexHNSW)
    if isinstance(behind, faiss.IndexIVF):
        _hold(behind, FILLING)

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


def set_probes(index: Any, probes: int | None = None) -> None:
    """Set how many lists a query visits; by default PROBES, for an index that is still to be filled."""
    if ivf := probed_lists(index):
        if probes:
            visit(ivf, probes)
        else:
            ivf.nprobe = min(ivf.nlist, max(PROBES, ivf.nlist // 64))


def visit(ivf: Any, probes: int) -> None:
    """Set how many inverted lists a query visits. A graph of the centroids must hold more candidates than
    that, or it misses many of the lists."""
    ivf.nprobe = min(probes, ivf.nlist)
    _hold(ivf, max(FILLING, CANDIDATES * ivf.nprobe))


def _hold(ivf: Any, candidates: int) -> None:
    """Set how many candidates a search of the graph of the centroids holds, if there is one."""
    import faiss

    if isinstance(graph := faiss.downcast_index(ivf.quantizer), faiss.IndexHNSW):
        graph.hnsw.efSearch = candidates


def write(index: Any, path: str) -> None:
    """Write an index to a local file."""
    import faiss

    faiss.write_index(index, path)


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


def is_growable(index: Any) -> bool:
    """Whether its file can grow row by row, and be joined from parts (faiss_file.py)."""
    import faiss

    behind = inner(index)
    return isinstance(behind, faiss.IndexFlat) or type(behind) in growable_lists()


def lists_of(index: Any) -> Any:
    """The inverted lists behind the transforms; None if the index proper is of another kind."""
    import faiss

    behind = inner(index)
    return behind if isinstance(behind, faiss.IndexIVF) else None


def probed_lists(index: Any) -> Any:
    """The inverted lists that a search visits: also those behind an index that ranks again what they give."""
    import faiss

    behind = inner(index)
    return lists_of(
        faiss.downcast_index(behind.base_index) if isinstance(behind, faiss.IndexRefine) else behind
    )


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

    if ivf.quantizer_trains_alone == "\1":  # a char in C++; 1: there are no centroids (a multi-index)
        return
    centroids = _centroids(vectors, ivf.nlist, ivf)
    with faiss_threads(1):
        ivf.quantizer.train(centroids)
        ivf.quantizer.add(centroids)


def _centroids(vectors: np.ndarray, count: int, ivf: Any) -> np.ndarray:
    """(count, d) centroids. Many are found in two steps, as faiss.contrib.clustering does: of the vectors
    nearest to each of about sqrt(count) first centroids, a share of `count` by their number. Each vector is
    compared with 2 sqrt(count) centroids instead of `count`: for 262,144 lists, 256 times less work."""
    if count <= ONE_LEVEL or len(vectors) < count:
        return _k_means(vectors, count, ivf)
    first = _k_means(vectors, int(count**0.5), ivf)
    nearest = _on_gpu(_flat(first, ivf)).search(vectors, 1)[1].ravel()
    order = np.argsort(nearest, kind="stable")
    ends = np.cumsum(np.bincount(nearest, minlength=len(first)))
    counts = np.diff(ends * count // len(vectors), prepend=0)
    found = [np.empty((0, ivf.d), np.float32)]
    for start, end, share in zip(
        (ends - np.diff(ends, prepend=0)).tolist(), ends.tolist(), counts.tolist(), strict=True
    ):
        if share:
            found.append(_k_means(vectors[order[start:end]], share, ivf))
    return np.concatenate(found)


def _k_means(vectors: np.ndarray, count: int, ivf: Any) -> np.ndarray:
    """(count, d) centroids by FAISS's k-means with the settings of the index."""
    import faiss

    settings = ivf.cp
    settings.min_points_per_centroid = 1  # a warning on stderr is nobody's
    clustering = faiss.Clustering(ivf.d, count, settings)
    clustering.train(vectors, _on_gpu(faiss.IndexFlat(ivf.d, ivf.metric_type)))
    return faiss.vector_to_array(clustering.centroids).reshape(count, ivf.d)


def _flat(vectors: np.ndarray, ivf: Any) -> Any:
    """An exact index of vectors, by the metric of `ivf`."""
    import faiss

    flat = faiss.IndexFlat(ivf.d, ivf.metric_type)
    flat.add(vectors)
    return flat


def _on_gpu(index: Any) -> Any:
    """A copy of an index on all GPUs; the index itself without one."""
    import faiss

    return faiss.index_cpu_to_all_gpus(index) if faiss.get_num_gpus() else index

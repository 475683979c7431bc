"""Which index `auto` takes, how large one is, and how it is cut into parts; sizes beside FAISS's own."""

import faiss
import numpy as np
import pytest

from pipeline.errors import RecipeError
from pipeline.export.indexes import faiss_build
from pipeline.plan.cluster import GIB
from pipeline.plan.index_choice import Shape, choose, cut, part_rows, shape_of, why_not_built
from tests.support.unordered_codes import leave_codes_unordered


@pytest.mark.parametrize(
    ("rows", "factory"),
    [
        (0, "Flat"),
        (100_000, "Flat"),
        (100_001, "IVF1024,Flat"),  # 4 * sqrt = 1265
        (1_000_000, "IVF4096,Flat"),
        (1_000_001, "IVF4096,SQfp16"),
        (10_000_000, "IVF16384,SQfp16"),  # 12649
        (10_000_001, "IVF65536_HNSW32,SQfp16"),  # 16 * sqrt = 50596
        (40_000_000, "IVF131072_HNSW32,SQ8"),  # 41.6 GB with two bytes per number
        (60_000_000, "IVF131072_HNSW32,SQ8"),  # 31.5 GB of 34.4
        (70_000_000, "OPQ64_256,IVF131072_HNSW32,PQ64"),  # 36.5 GB with SQ8
        (300_000_000, "OPQ64_256,IVF131072_HNSW32,PQ64"),  # 2^18 lists: 21 GB of training vectors
        (1_000_000_000, "OPQ16_64,IVF131072_HNSW32,PQ16"),
        (3_800_000_000, "OPQ16_64,IVF131072_HNSW32,PQ16"),  # does not fit: left in parts
    ],
)
def test_auto_in_32_gib(rows, factory):
    assert choose(rows, 512, 32 * GIB) == factory
    assert faiss_build.create(factory, 512).metric_type == faiss.METRIC_INNER_PRODUCT


@pytest.mark.parametrize(
    ("gib", "factory"),
    [
        (0.2, "Flat"),  # 205 MB
        (0.1, "IVF512,SQfp16"),  # 1024 lists: 84 MB of training vectors, more than half
        (0.05, "IVF256,SQ8"),
        (0.01, "OPQ64_256,IVF64,PQ64"),
        (0.001, "OPQ16_64,IVF4,PQ16"),  # the smallest
    ],
)
def test_less_memory_takes_shorter_codes_and_fewer_lists(gib, factory):
    assert choose(100_000, 512, gib * GIB) == factory


def test_codes_fit_the_dimension():
    assert choose(20_000_000, 32, 0.4 * GIB) == "OPQ8_32,IVF32768_HNSW32,PQ8"
    assert choose(20_000_000, 32, GIB) == "IVF65536_HNSW32,SQ8"


FACTORIES = [
    "Flat",
    "IVF64,Flat",
    "IVF64,SQ8",
    "IVF16,SQfp16",
    "IVF64_HNSW32,SQ8",
    "OPQ8_32,IVF64_HNSW32,PQ8",
    "HNSW16",
    "HNSW32_SQ8",
    "HNSW16,SQ8",
    "IVF16,PQ8x4fs",
    "SQ8",
    "PQ16x4",
    "IVF16,RaBitQ",
    "IVF16,SQ8,RFlat",
    "IVF64,SQ8,Refine(SQ8)",
    "L2norm,Flat",
    "Pad80,Flat",
    "RR32,IVF16,SQ6",
]


def hasten(index):
    """Leave out what takes FAISS most of its training, and changes no size: 49 of the 50 steps in which a
    rotation is learned, and the order of codes."""
    chain = index.chain if isinstance(index, faiss.IndexPreTransform) else None
    for at in range(chain.size() if chain else 0):
        step = faiss.downcast_VectorTransform(chain.at(at))
        if isinstance(step, faiss.OPQMatrix):
            step.niter = step.niter_pq = step.niter_pq_0 = 1
    leave_codes_unordered(index)


@pytest.mark.parametrize("factory", FACTORIES)
def test_sizes_are_those_that_faiss_writes(factory):
    rows = np.random.default_rng(0).standard_normal((5_000, 64), np.float32)
    index = faiss.index_factory(64, factory, faiss.METRIC_INNER_PRODUCT)
    hasten(index)
    index.train(rows[:2_600])
    index.add(rows)
    size = len(faiss.serialize_index(index))
    shape = shape_of(factory, 64)
    assert shape.bytes(5_000) == pytest.approx(size, rel=0.03)
    if shape.divisible:
        assert faiss_build.is_growable(index)
    ivf = faiss_build.probed_lists(index)
    assert shape.lists == (ivf.nlist if ivf else 0)


def test_training_size():
    assert shape_of("IVF4096,SQ8", 16).training_rows == 40 * 4096
    assert shape_of("OPQ4_16,IVF65536_HNSW32,PQ4", 16).training_rows == 40 * 65536
    assert shape_of("SQ8", 16).training_rows == 65_536
    assert shape_of("Flat", 16).training_rows == shape_of("HNSW32", 16).training_rows == 0


def test_a_part_has_256_mib_or_four_times_its_head():
    assert part_rows(shape_of("IVF4096,Flat", 512)) == round((256 << 20) / (4 * 512 + 8))
    assert part_rows(Shape(1, 1, 40, 100 << 20, True)) == round((400 << 20) / 40)
    assert part_rows(shape_of("HNSW32", 512)) is None


def test_parts_are_runs_of_shards():
    counts = {"a": 3, "b": 0, "c": 4, "d": 1, "e": 9, "f": 2}
    assert cut(list(counts), counts, 5) == [("a", "c"), ("d", "e"), ("f",)]
    assert cut(list(counts), counts, None) == [("a", "c", "d", "e", "f")]
    assert cut(["b"], counts, 5) == [()]
    assert cut(["e"], counts, 5) == [("e",)]


# --- what FAISS will not build ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factory", "rows", "reason"),
    [
        ("IVF65,Flat", 64, "IVF65 needs a vector for each list, and there are 64"),
        ("IVF64,Flat", 64, ""),
        ("PQ100", 64, "PQ100 cuts 128 numbers into 100 equal parts, which does not come out even"),
        ("PCA64,PQ24", 64, "PQ24 cuts 64 numbers into 24 equal parts, which does not come out even"),
        ("PCA256,Flat", 300, "PCA256 makes 256 numbers of 128; it can make 128 at most"),
        ("PCA32,Flat", 31, "PCA32 is trained on 32 vectors or more, and there are 31"),
        ("PCA32,Flat", 32, ""),
        ("PQ16x4", 15, "PQ16x4 is trained on 16 vectors or more, and there are 15"),
        ("PQ16x4", 16, ""),
        ("HNSW8_PQ16x4", 15, "HNSW8_PQ16x4 is trained on 16 vectors or more, and there are 15"),
        ("IVF4,SQ8", 64, ""),
    ],
)
def test_what_cannot_be_built_is_told_as_faiss_would(factory, rows, reason):
    assert why_not_built(factory, 128, rows) == reason
    vectors = np.random.default_rng(0).standard_normal((rows, 128)).astype(np.float32)
    try:
        faiss_build.train(faiss_build.create(factory, 128), vectors, factory)
    except RecipeError:
        assert reason
    else:
        assert not reason


def test_rows_that_are_not_known_rule_nothing_out():
    assert why_not_built("IVF100000,PQ16", 128, None) == ""

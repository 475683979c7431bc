"""What the indexes of a recipe will be and cost, before they are built: for `winnow plan`.

    for index in planned_indexes(session, stored, rates):
        print(index.factory, index.bytes, index.train_seconds)

Seconds are CPU seconds of one core; a task with more cores takes less by about their number. They follow from
three rates, which were measured on one core of a virtual machine with AVX2 (`HERE`) or, with
`winnow plan --measure`, on the machine that plans.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import orjson
import polars as pl

from pipeline.plan.cluster import GIB
from pipeline.plan.growth.growth import growth_of, index_identity
from pipeline.plan.growth.sources import read_sources, sources_now
from pipeline.plan.index_choice import ONE_LEVEL, SPARE, Shape, choose, cut, part_rows, shape_of
from pipeline.plan.passes import Stored
from pipeline.plan.session import Session
from pipeline.recipe.check import column_types
from pipeline.recipe.sections import Index
from pipeline.schema import owner
from pipeline.storage import layout
from pipeline.storage.folder import Folder
from pipeline.threads import faiss_threads

ITERATIONS = 10  # of k-means, FAISS's default for lists
QUERIES = 1_000  # compared with every row, to measure recall
CODEBOOK_VECTORS = 65_536  # of which codebooks are trained, each with 256 centroids
CODEBOOK_ITERATIONS = {"PQ": 25, "OPQ": 250}  # over all of the codebook's numbers, about
MEASURED_LISTS, MEASURED_ROWS, MEASURED_WIDTH = 4_096, 4_096, 256


@dataclass(frozen=True)
class Rates:
    """Of one core: multiplications and additions per second in matrix products; numbers per second that are
    read from a column and brought to unit length; seconds per number of a vector that a graph over
    MEASURED_LISTS centroids takes to find its nearest. `measured`: here and now."""

    flops: float
    numbers: float
    graph: float
    measured: bool = False


HERE = Rates(flops=8e10, numbers=1e8, graph=1.7e-7)


@dataclass(frozen=True)
class PlannedIndex:
    """An index that would be built, or grow. Figures that are not known yet are None.

    key            of the recipe: `export.index`
    rows           in it, if every kept sample has an embedding
    at_most        whether that is an upper bound, since nothing is decided yet
    factory        the factory string, chosen by `auto` or named
    bytes          of the index, on disk and in memory alike
    parts          tasks that fill it
    joined         whether the parts fit the memory of the recipe, and become one file
    training_rows  vectors that it is trained on
    train_seconds  of one core: reading the column once, and training
    add_seconds    of one core: reading it once more, adding, and comparing every row with the queries that
                   measure recall
    measured       whether the seconds follow from rates measured here
    added_rows     rows that are added to an index that grows; `rows` are those that it then has. None if it
                   is built anew
    remark         what is added to the index that is there, or why it is built anew; None if there is none,
                   or it is current
    """

    key: str
    rows: int | None
    at_most: bool
    dimension: int | None
    factory: str | None
    bytes: int | None
    memory: float
    parts: int | None
    joined: bool | None
    training_rows: int | None
    train_seconds: float | None
    add_seconds: float | None
    measured: bool
    added_rows: int | None = None
    remark: str | None = None


def planned_indexes(session: Session, stored: Stored, rates: Rates = HERE) -> list[PlannedIndex]:
    """The indexes of a recipe, as they would be built from what is stored now."""
    indexes = session.recipe.export.every_index()
    kept = _kept(session) if indexes and len(stored.rows) == len(session.shards) else None
    counts = kept or dict(stored.rows) or None
    found = [
        (
            index,
            _planned(
                f"export.{name}", index, counts, kept is None, _dimension(session, index, stored), rates
            ),
        )
        for name, index in indexes.items()
    ]
    return [_grown(planned, index, session, rates, kept is not None) for index, planned in found]


def _grown(
    planned: PlannedIndex, index: Index, session: Session, rates: Rates, is_decided: bool
) -> PlannedIndex:
    """The same if an index lies there that grows: the cost of the rows that are added. Its files are not
    compared with their digests."""
    manifest = _manifest(index)
    if not manifest.get("complete") or manifest.get("decision") == session.decisions:
        return planned
    if not is_decided:
        return replace(planned, remark="lies there: whether it grows shows once `winnow keep` has decided")

    def before() -> pl.DataFrame:
        return read_sources(Folder(index.path))

    def now() -> pl.DataFrame:
        return sources_now(session, index.embedding)

    growth = growth_of(manifest, index_identity(session, index), index, before, now)
    if isinstance(growth, str):
        return replace(planned, remark=f"is built anew: {growth}")
    live, counts = growth.live, dict(growth.added.select("shard", "kept").iter_rows())
    return replace(
        planned,
        rows=live.rows + growth.rows,
        factory=live.key,
        bytes=live.shape.bytes(live.rows + growth.rows),
        parts=len(cut(list(counts), counts, part_rows(live.shape))),
        joined=not live.parts,
        training_rows=0,
        train_seconds=0.0,
        add_seconds=add_seconds(live.key, live.shape, growth.rows, live.dimension, rates),
        added_rows=growth.rows,
        remark=growth.told(),
    )


def _manifest(index: Index) -> Mapping[str, Any]:
    """What the index at a path says of itself; nothing without one."""
    try:
        manifest = orjson.loads(Folder(index.path).read(f"{index.stem}.json"))
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def _planned(
    key: str,
    index: Index,
    counts: Mapping[str, int] | None,
    at_most: bool,
    dimension: int | None,
    rates: Rates,
) -> PlannedIndex:
    """One index; `counts`: its rows by shard."""
    rows = sum(counts.values()) if counts is not None else None
    if counts is None or rows is None or dimension is None:
        named = None if index.factory == "auto" else index.factory
        unknown: dict[str, Any] = dict.fromkeys(
            ("bytes", "parts", "joined", "training_rows", "train_seconds", "add_seconds")
        )
        return PlannedIndex(
            key, rows, at_most, dimension, named, memory=index.memory, measured=rates.measured, **unknown
        )
    memory = index.memory * GIB
    factory = choose(rows, dimension, memory) if index.factory == "auto" else index.factory
    shape = shape_of(factory, dimension)
    parts = len(cut(list(counts), counts, part_rows(shape)))
    return PlannedIndex(
        key=key,
        rows=rows,
        at_most=at_most,
        dimension=dimension,
        factory=factory,
        bytes=shape.bytes(rows),
        memory=index.memory,
        parts=parts,
        joined=parts == 1 or shape.bytes(rows) <= memory,
        training_rows=min(rows, shape.training_rows),
        train_seconds=train_seconds(factory, shape, rows, dimension, rates),
        add_seconds=add_seconds(factory, shape, rows, dimension, rates),
        measured=rates.measured,
    )


def train_seconds(factory: str, shape: Shape, rows: int, dimension: int, rates: Rates) -> float:
    """CPU seconds of reading the column and training."""
    if factory == "Flat":
        return 0.0
    vectors = min(rows, shape.training_rows)
    compared = shape.lists if shape.lists <= ONE_LEVEL else 2 * math.sqrt(shape.lists)
    flops = ITERATIONS * vectors * compared * 2 * shape.width
    for name, iterations in CODEBOOK_ITERATIONS.items():
        if any(word.startswith(name) for word in factory.split(",")):
            flops += iterations * min(vectors, CODEBOOK_VECTORS) * 256 * 2 * shape.width
    graph = _graph_seconds(shape, shape.lists, rates) * 2.5 if _has_graph(factory) else 0.0
    read = rows if rows <= 2 * SPARE * vectors else SPARE * vectors
    return read * dimension / rates.numbers + flops / rates.flops + graph


def add_seconds(factory: str, shape: Shape, rows: int, dimension: int, rates: Rates) -> float:
    """CPU seconds of reading the column, finding the list of each row, and comparing it with the queries."""
    flops = rows * 2.0 * dimension * (0 if factory == "Flat" else QUERIES)
    graph = 0.0
    if _has_graph(factory):
        graph = _graph_seconds(shape, rows, rates)
    else:
        flops += rows * 2.0 * shape.width * shape.lists
    if ",PQ" in factory:
        flops += rows * 2.0 * shape.width * 256
    return rows * dimension / rates.numbers + flops / rates.flops + graph


def _has_graph(factory: str) -> bool:
    """Whether a graph finds the lists of a row, or holds the rows."""
    return "HNSW" in factory


def _graph_seconds(shape: Shape, rows: int, rates: Rates) -> float:
    """Seconds in which a graph over the lists finds the nearest of so many rows; a larger one leaves the
    caches."""
    return rows * rates.graph * shape.width * (math.log2(max(shape.lists or rows, 2)) / 12) ** 2


def measured_rates() -> Rates:
    """The rates of one core of this machine; takes about a second."""
    import faiss

    rng = np.random.default_rng(0)
    centroids, rows = (
        rng.standard_normal((count, MEASURED_WIDTH), np.float32) for count in (MEASURED_LISTS, MEASURED_ROWS)
    )
    flat = faiss.IndexFlatIP(MEASURED_WIDTH)
    graph = faiss.IndexHNSWFlat(MEASURED_WIDTH, 32, faiss.METRIC_INNER_PRODUCT)
    with faiss_threads(1):
        flat.add(centroids)
        graph.add(centroids)
        flops = 2 * MEASURED_LISTS * MEASURED_ROWS * MEASURED_WIDTH / _seconds(lambda: flat.search(rows, 1))
        linked = _seconds(lambda: graph.search(rows, 1)) / MEASURED_ROWS / MEASURED_WIDTH
    column = pl.Series("e", rows.astype(np.float16), pl.Array(pl.Float16, MEASURED_WIDTH))
    numbers = MEASURED_ROWS * MEASURED_WIDTH / _seconds(lambda: _unit(column)) / 2  # and the file's decoding
    return Rates(flops, numbers, linked, measured=True)


def _seconds(work: Any) -> float:
    """CPU seconds of the second call of a function."""
    work()
    began = time.process_time()
    work()
    return max(time.process_time() - began, 1e-6)


def _unit(column: pl.Series) -> np.ndarray:
    """A column's vectors at unit length, as the export makes them."""
    vectors = column.to_numpy().astype(np.float32)
    unit: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def _kept(session: Session) -> dict[str, int] | None:
    """Shard -> kept rows; None without a decision."""
    if not session.store.root.exists(layout.rules(session.decisions)):
        return None
    table = session.store.read(layout.decided_shards(session.decisions), ["shard", "kept"])
    return dict(table.iter_rows())


def _dimension(session: Session, index: Index, stored: Stored) -> int | None:
    """The width of an embedding: as its operator declares it, else that of a part in the store."""
    declared: Any = column_types(session.recipe).get(index.embedding)
    if size := getattr(declared, "size", None):
        return int(size)
    operator = owner(index.embedding)
    parts = stored.parts.get(session.folder(operator), ()) if operator is not None else ()
    if (shard := next((s.name for s in session.shards if s.name in parts), None)) is None:
        return None
    return (
        int(getattr(session.columns.read(shard, [index.embedding])[index.embedding].dtype, "size", 0)) or None
    )

"""How many of the true nearest vectors a search of an index finds: recall.

    nearest = Nearest(queries)                    # exact search, part by part, while the parts are filled
    nearest.add(vectors)
    exact = Exact.of([...])                       # of all parts
    exact.recall(ids)                             -> (recall@1, recall@10)
    least = exact.least_probes(ranks, .95)        # below it, too many of the nearest are in other lists
    fewest_probes(search, exact, lists, .95, least)

The queries are vectors of the index itself, drawn by uid; what counts is the nearest others. If several are
equally near, as copies of a picture are, each of them counts.
"""

import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np

from pipeline.npy import open_member

QUERIES = 1_000
K = 10  # nearest others of a query
HELD = 32  # exact nearest that are held of each query: room for equals of the tenth
EQUAL = 1e-6  # difference of cosines below which two count as equal
NONE = -1  # the id of no row


class Nearest:
    """The HELD nearest of the vectors added so far to each of (q, d) queries.

    scores, ids   (q, HELD), best first; ids count the vectors added, NONE where there are fewer"""

    def __init__(self, queries: np.ndarray) -> None:
        self.queries = queries
        self.scores = np.full((len(queries), HELD), -np.inf, np.float32)
        self.ids = np.full((len(queries), HELD), NONE, np.int64)
        self.added = 0

    def add(self, vectors: np.ndarray) -> None:
        """Compare the queries with (n, d) more vectors: one matrix product."""
        import faiss

        if len(self.queries) and len(vectors):
            scores, ids = faiss.knn(
                self.queries, vectors, min(HELD, len(vectors)), metric=faiss.METRIC_INNER_PRODUCT
            )
            self.scores, self.ids = best(
                np.hstack([self.scores, scores]), np.hstack([self.ids, ids + self.added]), HELD
            )
        self.added += len(vectors)


def read_recall(data: bytes, dimension: int) -> dict[str, np.ndarray]:
    """The arrays of a `recall.npz`: (q, d) `vectors` of the queries; (q, HELD) `scores` and `ids` of their
    exact nearest; the (q,) ids of the queries themselves, `own`. Raises ValueError for something else."""
    wanted = {
        "vectors": (np.float32, (dimension,)),
        "scores": (np.float32, (HELD,)),
        "ids": (np.int64, (HELD,)),
        "own": (np.int64, ()),
    }
    found = dict[str, np.ndarray]()
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            for name, (dtype, shape) in wanted.items():
                header, file = open_member(archive, f"{name}.npy", "recall.npz", lambda packed: packed)
                right = header.dtype == dtype and header.shape[1:] == shape and not header.by_column
                if not right or header.shape[0] > QUERIES:
                    raise ValueError(f"recall.npz has {name} of {header.kind}")
                found[name] = np.frombuffer(file.read(header.nbytes), dtype).reshape(header.shape)
    except (zipfile.BadZipFile, zlib.error, KeyError, IndexError, EOFError, NotImplementedError) as error:
        raise ValueError(f"recall.npz is garbled: {error}") from None
    if len({len(array) for array in found.values()}) != 1:
        raise ValueError("recall.npz has another number of queries than of answers")
    return found


def best(scores: np.ndarray, ids: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best of each row's scores, with their ids; of equal ones those that come first."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(ids, order, 1)


@dataclass(frozen=True)
class Exact:
    """The exact nearest of each query among all parts, and the query's own id. Ids count through them."""

    scores: np.ndarray
    ids: np.ndarray
    own: np.ndarray

    def others(self, ids: np.ndarray, k: int) -> np.ndarray:
        """The first k of each query's (q, n) ids that are not its own; NONE where there are fewer."""
        order = np.argsort(ids == self.own[:, None], axis=1, kind="stable")[:, : ids.shape[1] - 1]
        return np.take_along_axis(np.where(ids == self.own[:, None], NONE, ids), order, 1)[:, :k]

    def recall(self, ids: np.ndarray) -> tuple[float, float]:
        """(recall@1, recall@10) of the (q, K + 1) ids that a search found. 1 if there is nothing to find."""
        return tuple(self._recall(self.others(ids, k), k) for k in (1, K))  # type: ignore[return-value]

    def least_probes(self, ranks: np.ndarray, wanted: float) -> int:
        """The fewest lists that hold `wanted` of the nearest: a search that visits fewer cannot reach this
        recall@10. `ranks`: (q, HELD), how many lists are nearer to the query than that of each id."""
        low, high = 1, int(np.max(ranks, initial=0)) + 1
        while low < high:
            middle = (low + high) // 2
            held = np.where(ranks < middle, self.ids, NONE)
            first = np.argsort(held == NONE, axis=1, kind="stable")[:, : K + 1]
            reached = self.recall(np.take_along_axis(held, first, 1))[1] >= wanted
            low, high = (low, middle) if reached else (middle + 1, high)
        return low

    def _recall(self, found: np.ndarray, k: int) -> float:
        """The share of the k nearest others that was found."""
        scores = np.where((self.ids == self.own[:, None]) | (self.ids == NONE), -np.inf, self.scores)
        ordered = -np.sort(-scores, axis=1)
        wanted = np.minimum(k, np.isfinite(scores).sum(axis=1))
        if not wanted.sum():
            return 1.0
        bound = np.take_along_axis(ordered, np.maximum(wanted - 1, 0)[:, None], 1) - EQUAL
        right = np.where(scores >= bound, self.ids, -2)
        hits = (found[:, :, None] == right[:, None, :]).any(axis=2).sum(axis=1)
        return round(float(np.minimum(hits, wanted).sum() / wanted.sum()), 4)


@dataclass(frozen=True)
class Answer:
    """The (q, K + 1) ids that a search with so many probes found, and the seconds it took."""

    ids: np.ndarray
    seconds: float


@dataclass(frozen=True)
class Found:
    """The probes that reach a recall, that recall, and the seconds that the queries took."""

    probes: int
    recall_1: float
    recall_10: float
    seconds: float


Search = Callable[[Sequence[int]], list[Answer]]  # an answer for each number of probes
GAIN = 0.005  # of recall: if four times as many probes bring less, the codes are the limit, not the lists


def fewest_probes(search: Search, exact: Exact, lists: int, wanted: float, least: int = 1) -> Found:
    """The fewest lists to visit so that recall@10 is `wanted`. If no number of them reaches it, since the
    codes are too short, the fewest that come within GAIN of the best. `lists`: those there are; `least`: it
    takes so many at least."""
    tried: dict[int, Found] = {}

    def attempt(numbers: Sequence[int]) -> None:
        for probes, answer in zip(numbers, search(numbers), strict=True):
            tried[probes] = Found(probes, *exact.recall(answer.ids), answer.seconds)

    powers = [(2, 4, 8), (16, 32), (64, 128), *((1 << n,) for n in range(8, 25))]
    rounds = [(least,), *(above for row in powers if (above := tuple(n for n in row if n > least)))]
    for numbers in rounds if lists else [(0,)]:
        attempt(sorted({min(number, max(lists, 0)) for number in numbers} - tried.keys()))
        most = max(tried)
        best_recall = tried[most].recall_10
        if best_recall >= wanted or most >= lists:
            break
        fewer = [found.recall_10 for probes, found in tried.items() if probes <= most // 4]
        if most >= 64 and fewer and best_recall - max(fewer) < GAIN:
            wanted = best_recall - GAIN
            break
    wanted = min(wanted, max(found.recall_10 for found in tried.values()))
    while between := _between(tried, wanted):
        attempt(between)
    return next(tried[probes] for probes in sorted(tried) if tried[probes].recall_10 >= wanted)


def _between(tried: dict[int, Found], wanted: float) -> list[int]:
    """Up to three numbers of probes between the most that do not suffice and the fewest that do."""
    enough = min(probes for probes, found in tried.items() if found.recall_10 >= wanted)
    below = max((probes for probes in tried if probes < enough), default=enough)
    step = max(1, (enough - below) // 4, enough // 32)
    return list(range(below + step, enough, step))[:3]

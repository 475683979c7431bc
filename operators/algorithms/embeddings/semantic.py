"""SemDeDup inside one cluster: how similar each vector is to what comes before it, by blocks of a matrix
product in float32.

Both functions take (n, d) float32 vectors of unit length, the one to keep first, and return (n,) similarities
in [0, 1], 0 for the first and for one that is like nothing, and (n,) the place of its neighbour, -1 at 0.
"""

import numpy as np

BLOCK = 256  # rows of a product


def nearest_earlier(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The highest cosine with any earlier vector, and which (the earliest of equals): SemDeDup's released
    code, there the maximum of a column of the upper triangle. Memory: 4 BLOCK n bytes."""
    count = len(vectors)
    highest, place = np.zeros(count, np.float32), np.full(count, -1)
    buffer = np.empty(BLOCK * count, np.float32)
    for start in range(0, count, BLOCK):
        stop = min(start + BLOCK, count)
        cosines = buffer[: (stop - start) * stop].reshape(stop - start, stop)
        np.matmul(vectors[start:stop], vectors[:stop].T, out=cosines)
        cosines[:, start:][np.triu_indices(stop - start)] = -1  # itself and later ones
        place[start:stop] = cosines.argmax(1)
        highest[start:stop] = cosines[np.arange(stop - start), place[start:stop]]
    return _bounded(highest, place)


def joins_earlier(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The highest bound at which a vector is in one group with an earlier one, and the first of that group.
    Groups of a bound are those that pairs of a higher cosine connect. So for every bound, exactly the first
    of each group has a similarity that does not exceed it. Memory: 4 n^2 bytes.

    Pairs of a spanning tree of highest cosines, from the highest down, merge groups. Whenever two merge, the
    later of their firsts stops to be one."""
    count = len(vectors)
    highest, place = np.zeros(count, np.float32), np.full(count, -1)
    first = list(range(count))
    for one, two, cosine in _spanning_tree(vectors):
        earlier, later = sorted((_root(first, one), _root(first, two)))
        highest[later], place[later] = cosine, earlier
        first[later] = earlier
    return _bounded(highest, place)


def _root(first: list[int], at: int) -> int:
    """The first of the group that `at` is in; paths are halved on the way."""
    while first[at] != at:
        first[at] = first[first[at]]
        at = first[at]
    return at


def _spanning_tree(vectors: np.ndarray) -> list[tuple[int, int, float]]:
    """The n - 1 pairs of a spanning tree of highest cosines, (one, two, cosine), from the highest down, by
    Prim's method, since every pair is an edge."""
    cosines = _cosines(vectors)
    outside = np.ones(len(vectors), bool)
    best, near = np.full(len(vectors), -2, np.float32), np.zeros(len(vectors), np.int64)
    better = np.empty(len(vectors), bool)
    added, pairs = 0, []
    for _ in range(len(vectors) - 1):
        outside[added], best[added] = False, -3
        np.greater(cosines[added], best, out=better)
        better &= outside
        np.copyto(best, cosines[added], where=better)
        np.copyto(near, added, where=better)
        added = int(best.argmax())
        pairs.append((int(near[added]), added, float(best[added])))
    return sorted(pairs, key=lambda pair: -pair[2])


def _cosines(vectors: np.ndarray) -> np.ndarray:
    """(n, n) float32: all cosines. Half of them are multiplied, the others copied."""
    found = np.empty((len(vectors), len(vectors)), np.float32)
    for start in range(0, len(vectors), BLOCK):
        stop = min(start + BLOCK, len(vectors))
        found[start:stop, :stop] = vectors[start:stop] @ vectors[:stop].T
        found[:start, start:stop] = found[start:stop, :start].T
    return found


def _bounded(similarity: np.ndarray, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rounding errors and negative cosines cut off."""
    similarity = similarity.clip(0, 1)
    return similarity, np.where(similarity > 0, place, -1)

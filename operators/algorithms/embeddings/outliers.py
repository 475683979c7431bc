"""Local outlier scores from distances to nearest neighbours. For all of them, higher is more suspicious.

r_1 <= ... <= r_k are a point's distances to its k nearest neighbours nn_1 ... nn_k, itself excluded, and
kd = r_k its k-distance. Source: Huang et al. 2025 (ICLR), Detecting Backdoor Samples in Contrastive
Language Image Pretraining, and the modules dao, slof, lid_detection, k_distance of its released code.

Duplicates make zeros and ties. Everything is finite all the same: 0 / 0 counts as 1 (as dense as its
neighbours); a ratio of distances is kept within [1/1000, 1000]; the LID of a point with k copies of itself
is the least there is, 0.109, and of one at k equal distances, where it is infinite, 1000.
"""

from collections.abc import Mapping

import numpy as np

CAP = 1000.0
SCORES = ("k_distance", "slof", "lid", "dao")


def ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b of distances, within [1/CAP, CAP]."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        found: np.ndarray = np.clip(np.where(a == b, 1.0, a / b), 1 / CAP, CAP)
    return found


def lid(distances: np.ndarray) -> np.ndarray:
    """(..., k) ascending distances -> (...) local intrinsic dimensionality by maximum likelihood,
    -1 / mean(log(r_i / r_k + 1e-4)), in (0, CAP]."""
    last = distances[..., -1:]
    shares = np.divide(distances, last, out=np.zeros_like(distances), where=last > 0)
    mean = np.log(shares + 1e-4).mean(-1)
    found: np.ndarray = -1 / np.minimum(mean, -1 / CAP)
    return found


def scores(
    distances: np.ndarray, neighbour_distance: np.ndarray, neighbour_lid: np.ndarray
) -> dict[str, np.ndarray]:
    """(..., k) ascending distances to the nearest neighbours, their k-distances and LIDs -> the four scores,
    (...) each:

    k_distance  kd(x)
    slof        mean over j of kd(x) / kd(nn_j)
    lid         LID(x)
    dao         mean over j of LID(nn_j) * log(kd(x) / kd(nn_j))
    """
    own = distances[..., -1]
    ratios = ratio(own[..., None], neighbour_distance)
    dao = (neighbour_lid * np.log(ratios)).mean(-1)
    return dict(zip(SCORES, (own, ratios.mean(-1), lid(distances), dao), strict=True))


def published(images: np.ndarray, k: int, texts: np.ndarray | None = None) -> Mapping[str, np.ndarray]:
    """The released code's scores of a batch (n, d) against itself, index for index, in float64; with `texts`
    (n, d) against both. For comparison only: the query's distance is that to its (k+1)th neighbour, the
    neighbours' own that to their kth, with one zero (themselves) among the distances of their LID, and
    since indices into a list without the query are used on one with it, most neighbours are the wrong ones.
    """
    n = len(images)
    points = images if texts is None else np.concatenate([images, texts])
    mask = np.tile(~np.eye(n, dtype=bool), len(points) // n)
    among = _pairwise(images, points)[mask].reshape(n, -1)
    order = np.argsort(among, axis=1, kind="stable")[:, :k]
    a = np.sort(among, axis=1)
    full = np.sort(_pairwise(points, points), axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = a[:, k, None] / full[order, k]
        lids = [-k / np.log(d[:, :k] / d[:, k, None] + 1e-4).sum(1) for d in (a, full)]
        dao = (lids[1][order] * np.log(ratios)).mean(1)
    slof, dao = (np.nan_to_num(s, nan=CAP, posinf=CAP, neginf=0.0) for s in (ratios.mean(1), dao))
    return dict(zip(SCORES, (a[:, k], slof, lids[0], dao), strict=True))


def _pairwise(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(n, d), (m, d) -> (n, m) float64 Euclidean distances; 0 if below a millionth of the
    lengths, as rounding leaves them between equal vectors."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    lengths = np.square(x).sum(1)[:, None] + np.square(y).sum(1)
    squared = lengths - 2 * x @ y.T
    distances: np.ndarray = np.sqrt(np.where(squared < 1e-12 * lengths, 0, squared))
    return distances

"""CLIPCov's greedy choice inside one class: in which order samples are picked, and their value when they are.

The value of a sample i of a class of n samples with unit image and caption vectors x and y:

    f_i = c_i + pair s_ii + label l_i - centre (y_i . unit(mean x) + x_i . unit(mean y))
    c_i = sum over j of (s_ij + s_ji) / n,   s_ij = x_i . y_j

Each pick p lowers the values of all others: by (s_ip + s_pi) / n, since p covers a part of what they cover,
and by (c_p + label l_p) / n, the same for all of the class.
"""

import heapq
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

BLOCK = 1024  # rows of a product


class Weights(NamedTuple):
    """Of the terms of a value, that of c_i being 1."""

    pair: float
    label: float
    centre: float


class Class(NamedTuple):
    """The samples of a class: (n, d) float32 unit vectors of images and captions, (n,) similarities of
    caption and label."""

    images: np.ndarray
    texts: np.ndarray
    labels: np.ndarray


class Picks(NamedTuple):
    """(n,) `gain`: the value of each sample as it was picked, or the least of those picked before it: so the
    highest gains of all classes are the picks of one greedy choice over all of them. (n,) `order`: 1 for the
    first pick of the class; 0 for samples that were not picked, whose gain is what it was at the end."""

    gain: np.ndarray
    order: np.ndarray


def exact(samples: Class, weights: Weights, most: int) -> Picks:
    """At most `most` picks, by lazy greedy: values only fall, so a value is worked out again only once it is
    the highest. That holds if no s_ij of the class is negative; if a few are, some picks may come late. Sums
    over j factorise, so that all takes O(n d) and O(d) more for each value that is worked out again."""
    images, texts = samples.images, samples.texts
    count = len(images)
    covered = _products(images, texts.sum(0, dtype=np.float64)) + _products(
        texts, images.sum(0, dtype=np.float64)
    )
    coverage = covered / count
    values = coverage + _own_terms(samples, weights)
    constants = (coverage + weights.label * samples.labels) / count
    heap = [(-value, at) for at, value in enumerate(values.tolist())]
    heapq.heapify(heap)
    picked_images, picked_texts = np.zeros((2, images.shape[1]))
    fresh = np.zeros(count, np.int64)  # how many picks a value takes into account
    picks = _Record(count)
    bounds = values.copy()
    while picks.made < most:
        negated, at = heapq.heappop(heap)
        if fresh[at] == picks.made:
            picks.add(at, -negated)
            picks.lowered += constants[at]
            picked_images += images[at]
            picked_texts += texts[at]
        else:
            fresh[at] = picks.made
            bounds[at] = values[at] - (images[at] @ picked_texts + texts[at] @ picked_images) / count
            heapq.heappush(heap, (-bounds[at], at))
    return picks.ended(bounds)


def released(samples: Class, weights: Weights, most: int, refresh: int) -> Picks:
    """As the released notebook picks: values fall only after every `refresh` picks (the first time after
    refresh - 1), by those since the last time; but c_p of all picks so far is taken off each time. Negative
    cosines count as 0, which takes n^2 d FLOP."""
    images, texts = samples.images, samples.texts
    count = len(images)
    coverage = np.zeros(count)
    for start in range(0, count, BLOCK):
        rows = slice(start, start + BLOCK)
        coverage[rows] = _clamped(images[rows], texts) + _clamped(texts[rows], images)
    coverage /= count
    values = coverage + _own_terms(samples, weights)
    picks = _Record(count)
    chosen: list[int] = []
    for size in _runs(most, refresh):
        new = _highest(values, size)
        for at in new:
            picks.add(at, values[at])
        chosen += new
        values[new] = -np.inf
        if (len(chosen) + 1) % refresh == 0:
            values -= (_clamped(images, texts[new]) + _clamped(texts, images[new])) / count
            values -= (coverage[chosen].sum() + weights.label * samples.labels[new].sum()) / count
    return picks.ended(values)


def _runs(most: int, refresh: int) -> Iterator[int]:
    """How many picks follow each other before values fall, until `most` are made."""
    made, size = 0, refresh - 1 or refresh
    while made < most:
        yield min(size, most - made)
        made, size = made + size, refresh


def _highest(values: np.ndarray, size: int) -> list[int]:
    """The places of the `size` highest values, the highest first; of equals, the first."""
    cut = np.partition(values, len(values) - size)[len(values) - size]
    places = np.flatnonzero(values >= cut)
    ordered: list[int] = places[np.argsort(-values[places], kind="stable")][:size].tolist()
    return ordered


class _Record:
    """The picks of a class as they are made."""

    def __init__(self, count: int) -> None:
        self.gain = np.zeros(count)
        self.order = np.zeros(count, np.uint32)
        self.made = 0
        self.lowered = 0.0  # what earlier picks took off all values of the class
        self.least = np.inf

    def add(self, at: int, value: float) -> None:
        """Note a pick, with its value before what is taken off the whole class."""
        self.made += 1
        self.least = min(self.least, value - self.lowered)
        self.gain[at], self.order[at] = self.least, self.made

    def ended(self, values: np.ndarray) -> Picks:
        """The picks, and what others are worth now."""
        rest = self.order == 0
        self.gain[rest] = np.minimum(values[rest] - self.lowered, self.least)
        return Picks(self.gain, self.order)


def _own_terms(samples: Class, weights: Weights) -> np.ndarray:
    """(n,) the terms of a value besides c_i."""
    pairs = np.einsum("nd,nd->n", samples.images, samples.texts, dtype=np.float64)
    centres = _products(samples.texts, _mean_direction(samples.images))
    centres += _products(samples.images, _mean_direction(samples.texts))
    found: np.ndarray = weights.pair * pairs + weights.label * samples.labels - weights.centre * centres
    return found


def _mean_direction(vectors: np.ndarray) -> np.ndarray:
    """(d,) the mean of (n, d) vectors at unit length; zeros if it has no direction."""
    mean: np.ndarray = vectors.mean(0, dtype=np.float64)
    length = np.linalg.norm(mean)
    return mean / length if length > 0 else mean


def _products(vectors: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(n, d) float32 times (d,) float64 -> (n,) float64, in blocks: all of it in float64 would be large."""
    blocks = (vectors[start : start + BLOCK] @ other for start in range(0, len(vectors), BLOCK))
    return np.concatenate([np.zeros(0), *blocks])


def _clamped(vectors: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n,) sums over all others of their cosines with each vector that are positive."""
    cosines = vectors @ others.T
    sums: np.ndarray = np.maximum(cosines, 0, out=cosines).sum(1, dtype=np.float64)
    return sums

"""PDQ, the perceptual hash of 256 bits that block lists are exchanged in.

    bits, quality = pdq(image)    # (32,) uint8 and 0 to 100

Source: facebook/ThreatExchange, pdq/cpp (hashing/pdqhashing.cpp, downscaling/downscaling.cpp): brightness,
blurred twice by a box of 1/128 of each side, at 64 x 64 points; 16 x 16 of its cosine transform; a bit is
whether its coefficient exceeds the median. The blur is linear, and so are the points: here both are one
matrix product along each side, which takes a fraction of the time. The bits are those of the released code,
but for coefficients that equal the median up to rounding (tests/operators/test_perceptual.py).
"""

from functools import lru_cache

import numpy as np

POINTS, SIDE = 64, 16
LEAST_SIDE = 5  # pixels; a smaller picture has no hash
STRIP = 1024  # rows of a picture that are in memory as floats
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def pdq(image: np.ndarray) -> tuple[np.ndarray, int]:
    """(h, w, 3) uint8, both sides at least LEAST_SIDE -> (32,) uint8, the bits as they are written in hex,
    and the quality: how much there is to see, 0 to 100."""
    down, across = _blur(image.shape[0]), _blur(image.shape[1])
    rows = np.zeros((POINTS, image.shape[1]), np.float32)
    for start in range(0, len(image), STRIP):
        strip = image[start : start + STRIP]
        rows += down[:, start : start + STRIP] @ (strip @ LUMA)
    small = rows @ across.T
    coefficients = (_COSINES @ small @ _COSINES.T).ravel()
    median = np.partition(coefficients, coefficients.size // 2 - 1)[coefficients.size // 2 - 1]
    return np.packbits((coefficients > median)[::-1]), _quality(small)


def _quality(small: np.ndarray) -> int:
    """From the differences of neighbouring points, in whole hundredths of the range of brightness."""
    steps = (np.diff(small, axis=0), np.diff(small, axis=1))
    total = sum(int(np.abs(np.trunc(step * 100 / 255)).sum()) for step in steps)
    return min(100, total // 90)


@lru_cache(64)
def _blur(size: int) -> np.ndarray:
    """(64, size) float32: the weights with which the pixels of a side make its 64 points."""
    window = (size + 2 * POINTS - 1) // (2 * POINTS)
    at = np.arange(size)
    ahead = (window + 2) // 2
    first, past = np.maximum(at - (window - ahead), 0), np.minimum(at + ahead, size)
    points = ((np.arange(POINTS) + 0.5) * size / POINTS).astype(int)
    weights = np.zeros((POINTS, size + 1))
    for point, middle in enumerate(points):
        for near in range(first[middle], past[middle]):  # the second pass over the first
            share = 1 / ((past[middle] - first[middle]) * (past[near] - first[near]))
            weights[point, first[near]] += share
            weights[point, past[near]] -= share
    return np.cumsum(weights, 1)[:, :-1].astype(np.float32)


def _cosines() -> np.ndarray:
    """(16, 64) float32: rows 1 to 16 of the cosine transform."""
    row, column = np.arange(SIDE)[:, None] + 1, np.arange(POINTS)
    scaled = np.sqrt(2 / POINTS) * np.cos(np.pi / 2 / POINTS * row * (2 * column + 1))
    return np.asarray(scaled, np.float32)


_COSINES = _cosines()

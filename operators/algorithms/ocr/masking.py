"""Boxes of text, and the colours that replace them in a picture; free of columns and batches.

Boxes are (n, 4, 2) int32: corners in pixels (x, y), upper left first, then clockwise.

Source: T-MARS (arXiv 2307.03132), which fills text with the mean colour around it; Telea 2004, "An image
inpainting technique based on the fast marching method", in OpenCV, as in Parrot Captions (arXiv 2312.14232).
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

LINE = 10  # pixels: boxes whose upper left corners differ less in height are on one line (RapidOCR's bound)
NARROWEST = 2  # pixels: a ring is at least this wide
REACH = 3  # pixels around one that Telea's method looks at


def reading_order(boxes: Sequence[np.ndarray]) -> list[int]:
    """Indices of the boxes from top to bottom, and from left to right within a line."""
    by_height = sorted(range(len(boxes)), key=lambda place: boxes[place][0][1])
    lines = [0] * len(boxes)
    line = 0
    for before, place in pairwise(by_height):
        line += bool(boxes[place][0][1] - boxes[before][0][1] >= LINE)
        lines[place] = line
    return sorted(by_height, key=lambda place: (lines[place], boxes[place][0][0]))


def shorter_side(box: np.ndarray) -> float:
    """Length in pixels of the shorter side of a box at any angle."""
    return min(float(np.linalg.norm(box[0] - corner)) for corner in (box[1], box[3]))


def text_mask(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """(height, width) uint8: 1 in a box or on its edge, else 0."""
    import cv2

    mask = np.zeros((height, width), np.uint8)
    for box in boxes:
        cv2.fillPoly(mask, [box], 1)
    return mask


def fill_ring(image: np.ndarray, boxes: np.ndarray, ring: float) -> np.ndarray:
    """A copy, (h, w, 3) uint8, with each box filled with the mean colour of a ring around it. The ring is
    `ring` times the box's shorter side wide, and leaves out pixels of other boxes. A box without such a ring
    takes the mean colour of all pixels that are not text; if all are text, the mean of the picture."""
    filled = image.copy()
    mask = text_mask(boxes, *image.shape[:2])
    for box in boxes:
        _fill(filled, box, ring_colour(image, mask, box, ring))
    return filled


def ring_colour(image: np.ndarray, mask: np.ndarray, box: np.ndarray, ring: float) -> tuple[int, ...]:
    """The mean colour around a box, over the pixels that `mask` does not mark as text."""
    import cv2

    wide = max(NARROWEST, round(ring * shorter_side(box)))
    low = np.maximum(box.min(0) - wide - 1, 0)
    right, bottom = box.max(0) + wide + 2
    part = image[low[1] : bottom, low[0] : right]
    text = mask[low[1] : bottom, low[0] : right]
    around = np.zeros_like(text)
    cv2.polylines(around, [box - low], True, 1, 2 * wide + 1)
    for pixels, chosen in ((part, around & (1 - text)), (image, 1 - mask)):
        if chosen.any():
            return tuple(round(value) for value in cv2.mean(pixels, chosen)[:3])
    return tuple(round(value) for value in cv2.mean(image)[:3])


def _fill(image: np.ndarray, box: np.ndarray, colour: tuple[int, ...]) -> None:
    """Fill a box, in place."""
    import cv2

    cv2.fillPoly(image, [box], colour)


def fill_telea(image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """A copy, (h, w, 3) uint8, with its boxes painted over from their edges inwards."""
    import cv2

    found: np.ndarray = cv2.inpaint(image, text_mask(boxes, *image.shape[:2]), REACH, cv2.INPAINT_TELEA)
    return found

"""Masks touch the boxes alone, and rings give the colours that a hand would count."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.algorithms.ocr.masking import fill_ring, fill_telea, reading_order, ring_colour, text_mask


def box(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.int32)


def gray(height: int, width: int, value: int) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


# --- masks -----------------------------------------------------------------------------------------


def test_a_mask_holds_a_box_with_its_edge():
    mask = text_mask(box(2, 1, 5, 3)[None], 6, 8)
    expected = np.zeros((6, 8), np.uint8)
    expected[1:4, 2:6] = 1  # 3 rows of 4
    assert (mask == expected).all()
    assert mask.mean() == 12 / 48


def test_a_mask_counts_what_boxes_share_once():
    both = text_mask(np.stack([box(0, 0, 3, 3), box(2, 2, 5, 5)]), 10, 10)
    assert both.sum() == 16 + 16 - 4


def test_a_slanted_box():
    mask = text_mask(np.array([[[3, 0], [6, 3], [3, 6], [0, 3]]], np.int32), 7, 7)
    assert mask.sum() == 1 + 3 + 5 + 7 + 5 + 3 + 1


def test_no_boxes():
    none = np.zeros((0, 4, 2), np.int32)
    assert text_mask(none, 4, 5).sum() == 0
    assert (fill_ring(gray(4, 5, 9), none, 0.1) == 9).all()


# --- colours ---------------------------------------------------------------------------------------


def test_the_ring_has_the_mean_colour_of_what_is_around():
    """The left half is 10, the right half 200, and the box lies in the middle of both."""
    image = gray(20, 20, 10)
    image[:, 10:] = 200
    image[8:12, 8:12] = 77  # what the box holds does not count
    middle = box(8, 8, 11, 11)
    assert ring_colour(image, text_mask(middle[None], 20, 20), middle, 0.1) == (105, 105, 105)


def test_the_ring_is_as_wide_as_asked():
    """A short side of 20 and a ring of 0.1 and 0.3: white begins 4 pixels from the box."""
    image = gray(80, 80, 255)
    image[26:55, 26:55] = 0
    middle = box(30, 30, 50, 50)
    mask = text_mask(middle[None], 80, 80)
    assert ring_colour(image, mask, middle, 0.1) == (0, 0, 0)
    assert ring_colour(image, mask, middle, 0.3)[0] > 50


def test_another_box_does_not_colour_the_ring():
    image = gray(30, 60, 50)
    image[10:20, 30:50] = 255
    boxes = np.stack([box(10, 10, 29, 19), box(30, 10, 49, 19)])
    assert (fill_ring(image, boxes, 0.1) == 50).all()


def test_without_a_ring_the_rest_of_the_picture_counts_and_at_last_all_of_it():
    image = gray(10, 30, 0)
    image[:, 20:] = 90
    near = np.stack([box(0, 0, 9, 9), box(10, 0, 15, 9)])
    assert ring_colour(image, text_mask(near, 10, 30), near[0], 0.1) == (
        64,
        64,
        64,
    )  # 10 of 14 columns are 90
    everything = box(0, 0, 29, 9)
    assert ring_colour(image, text_mask(everything[None], 10, 30), everything, 0.1) == (30, 30, 30)


def test_telea_continues_what_is_around():
    image = gray(40, 40, 60)
    image[:, 20:] = 180
    image[15:25, 5:12] = 255
    filled = fill_telea(image, box(4, 14, 12, 25)[None])
    np.testing.assert_allclose(filled[14:26, 4:13], 60, atol=5)


CORNERS = st.tuples(st.integers(0, 39), st.integers(0, 29), st.integers(0, 25), st.integers(0, 25))


@settings(max_examples=60)
@given(st.lists(CORNERS, min_size=1, max_size=5), st.integers(0, 9), st.sampled_from(["ring", "telea"]))
def test_a_fill_touches_the_boxes_alone(corners, seed, fill):
    image = np.random.default_rng(seed).integers(40, 200, (30, 40, 3), np.uint8)
    image.flags.writeable = False
    boxes = np.stack([box(x, y, min(39, x + w), min(29, y + h)) for x, y, w, h in corners])
    filled = fill_ring(image, boxes, 0.2) if fill == "ring" else fill_telea(image, boxes)
    outside = text_mask(boxes, 30, 40) == 0
    assert (filled[outside] == image[outside]).all()
    if fill == "ring":
        assert filled.min() >= 40
        assert filled.max() < 200


# --- order -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("corners", "expected"),
    [
        ([], []),
        ([(50, 0), (0, 9), (0, 20)], [1, 0, 2]),  # 9 pixels lower is the same line
        ([(50, 0), (0, 10)], [0, 1]),  # 10 are not
        ([(0, 40), (9, 20), (3, 21), (7, 0)], [3, 2, 1, 0]),
    ],
)
def test_reading_order(corners, expected):
    assert reading_order([box(x, y, x + 20, y + 8) for x, y in corners]) == expected

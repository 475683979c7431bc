"""The two looks of OCR in integers: where the second looks, by hand; nothing of it needs a network."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.algorithms.ocr import looks
from operators.algorithms.ocr.looks import Place, marked_places, merged, sheet_of, shelved, standard


def marks(height: int, width: int, *spots: tuple[int, int]) -> np.ndarray:
    """(height, width), true at (row, column)."""
    found = np.zeros((height, width), bool)
    for spot in spots:
        found[spot] = True
    return found


def test_a_place_by_hand():
    """Of a map of 100 x 200 cells for 800 x 1600 pixels, the cell (50, 100) is pixels 400 to 408, 800 to 808.
    With 32 around, that is 368 to 440 and 768 to 840; to multiples of 32, 352 to 448 and 768 to 864."""
    assert marked_places(marks(100, 200, (50, 100)), 800, 1600) == [Place(768, 352, 864, 448)]


def test_a_place_ends_with_the_picture():
    assert marked_places(marks(100, 200, (0, 0)), 800, 1600) == [Place(0, 0, 64, 64)]
    assert marked_places(marks(100, 200, (99, 199)), 800, 1600) == [Place(1536, 736, 1600, 800)]


def test_too_many_marks_are_the_whole_picture(monkeypatch):
    monkeypatch.setattr(looks, "MOST", 2)
    two = marks(100, 200, (10, 10), (90, 190))
    three = marks(100, 200, (10, 10), (90, 190), (10, 190))
    assert len(marked_places(two, 800, 1600)) == 2
    assert marked_places(three, 800, 1600) == []
    assert sheet_of(three, 800, 1600) == ([(Place(0, 0, 1600, 800), 0, 0)], (800, 1600))


def test_overlapping_places_become_one():
    """The third overlaps what the first two become, and neither of them."""
    one, other, third = Place(0, 0, 4, 4), Place(3, 3, 9, 5), Place(6, 0, 8, 2)
    assert merged([one, other, third]) == [Place(0, 0, 9, 5)]
    beside = Place(4, 0, 6, 4)  # shares an edge with the first
    assert merged([one, beside]) == [one, beside]


def test_shelves_by_hand():
    """On a width of 100: the highest first, 60 wide, one of 40 beside it; one of 50 on the next shelf."""
    low, high, middle = Place(0, 0, 50, 32), Place(0, 100, 60, 196), Place(200, 0, 240, 64)
    sheet, height = shelved([low, high, middle], 100)
    assert sheet == [(high, 0, 0), (middle, 60, 0), (low, 0, 96)]
    assert height == 128


def test_the_sheet_of_least_area():
    """Two places of 96 x 96 take 192 x 96 side by side, or 128 x 192 on two shelves: the former is less."""
    found, shape = sheet_of(marks(100, 200, (20, 20), (80, 180)), 800, 1600)
    assert shape == (96, 192)
    assert [(left, top) for _, left, top in found] == [(0, 0), (96, 0)]


def test_a_sheet_that_is_hardly_smaller_is_the_whole_picture():
    everywhere = np.ones((100, 200), bool)
    assert sheet_of(everywhere, 800, 1600) == ([(Place(0, 0, 1600, 800), 0, 0)], (800, 1600))


@given(
    spots=st.lists(st.tuples(st.integers(0, 39), st.integers(0, 59)), min_size=1, max_size=30),
    rows=st.integers(5, 20),
    columns=st.integers(5, 20),
)
def test_every_mark_is_seen_once_and_put_back_where_it_was(spots, rows, columns):
    """Whatever is marked: places do not overlap, on the picture nor on the sheet; and what is cut out comes
    back to where it was, with zeros elsewhere."""
    height, width = 32 * rows, 32 * columns
    sheet, shape = sheet_of(marks(40, 60, *spots), height, width)
    numbers = 1 + np.arange(height * width, dtype=np.float32).reshape(height, width)
    cut = np.zeros((1, *shape), np.float32)
    for place, left, top in sheet:
        part = numbers[place.top : place.bottom, place.left : place.right]
        room = cut[0, top : top + part.shape[0], left : left + part.shape[1]]
        assert room.shape == part.shape
        assert not room.any()
        room[:] = part
    back = looks._put_back(cut, sheet, height, width)[0]
    for row, column in spots:
        y, x = int((row + 0.5) * height / 40), int((column + 0.5) * width / 60)
        assert back[y, x] == numbers[y, x]
    assert ((back == 0) | (back == numbers)).all()


def test_pixels_as_paddleocr_scales_them():
    """Blue first. Red 255, green 0 and blue 124 of 255: (124 / 255 - .485) / .229, (0 - .456) / .224 and
    (1 - .406) / .225, as its inference.yml has means and spreads, in that order, for BGR."""
    found = standard(np.array([[[255, 0, 124]]], np.uint8))
    expected = [(124 / 255 - 0.485) / 0.229, -0.456 / 0.224, (1 - 0.406) / 0.225]
    assert found.shape == (3, 1, 1)
    assert found.ravel() == pytest.approx(expected, abs=1e-5)

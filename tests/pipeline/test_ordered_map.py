"""Results come in the order of the items, and no more items are taken than may be under way."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.ordered_map import ordered_map, threaded_map


def slow_first(number: int) -> int:
    """The square; the first items take longest, so that they are done last."""
    time.sleep(0.02 / (number + 1))
    return number * number


@pytest.mark.parametrize("most", [1, 3, 50])
def test_results_are_in_the_order_of_the_items(most: int) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert list(ordered_map(pool, most, slow_first, range(20))) == [n * n for n in range(20)]
    assert list(threaded_map(slow_first, range(20))) == [n * n for n in range(20)]


@pytest.mark.parametrize("most", [1, 3])
def test_items_are_taken_as_they_are_needed(most: int) -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    with ThreadPoolExecutor(4) as pool:
        results = ordered_map(pool, most, slow_first, items())
        for handed_out in range(1, 6):
            next(results)
            assert len(taken) == handed_out + most - 1


def test_an_error_comes_at_its_turn() -> None:
    results = threaded_map(lambda number: 1 // number, [1, 0])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_nothing_of_no_items() -> None:
    assert list(threaded_map(slow_first, [])) == []

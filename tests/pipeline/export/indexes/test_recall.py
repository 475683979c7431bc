"""Recall by hand: the nearest others, equals, the fewest probes."""

import numpy as np
import pytest

from pipeline.export.indexes.index_files import packed
from pipeline.export.indexes.recall import NONE, Answer, Exact, Nearest, fewest_probes, read_recall


def circle(*degrees) -> np.ndarray:
    """Unit vectors at these angles."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def exact(own, *angles) -> Exact:
    """Of one query, which is a row itself: the cosines to rows at these angles from it."""
    nearest = Nearest(circle(0))
    nearest.add(circle(*angles))
    return Exact(nearest.scores, nearest.ids, np.array([own]))


def test_the_nearest_of_several_batches_with_ids_that_count_on():
    nearest = Nearest(circle(0, 90))
    nearest.add(circle(50, 10))
    nearest.add(circle(80, 0, 30))
    assert nearest.ids[0, :6].tolist() == [3, 1, 4, 0, 2, NONE]
    assert nearest.ids[1, :6].tolist() == [2, 0, 4, 1, 3, NONE]
    np.testing.assert_allclose(nearest.scores[0, 1], np.cos(np.radians(10)), atol=1e-6)


def test_the_query_itself_does_not_count():
    found = exact(2, 20, 10, 0, 30)  # nearest first: 2 (itself), 1, 0, 3
    pad = [NONE] * 7
    assert found.recall(np.array([[2, 1, 0, 3, *pad]])) == (1.0, 1.0)
    assert found.recall(np.array([[2, 0, 1, *pad, NONE]])) == (0.0, 0.6667)
    assert found.recall(np.array([[1, 0, 3, *pad, NONE]])) == (1.0, 1.0)  # it is not found, which is no loss
    assert found.recall(np.array([[2, *pad, NONE, NONE, NONE]])) == (0.0, 0.0)


def test_each_of_several_that_are_equally_near_counts():
    found = exact(0, 0, 10, 10, -10, 40)
    for first in (1, 2, 3):
        assert found.recall(np.array([[0, first, *[NONE] * 9]]))[0] == 1.0
    assert found.recall(np.array([[0, 4, *[NONE] * 9]]))[0] == 0.0


def test_an_index_of_one_row_has_nothing_to_find():
    assert exact(0, 0).recall(np.full((1, 11), NONE)) == (1.0, 1.0)


def searching(reached: dict[int, int], asked: list[int]):
    """A search that finds some of the ten nearest, by the number of probes, and notes what it was asked."""

    def search(numbers):
        asked.extend(numbers)
        found = [max(share for probes, share in reached.items() if probes <= number) for number in numbers]
        return [Answer(np.array([[0, *range(1, 1 + n), *[NONE] * (10 - n)]]), 0.5) for n in found]

    return search


@pytest.mark.parametrize(
    ("reached", "lists", "wanted", "probes", "recall"),
    [
        ({0: 10}, 0, 0.95, 0, 1.0),  # without lists
        ({1: 10}, 64, 0.95, 1, 1.0),
        ({1: 5, 7: 10}, 64, 0.95, 7, 1.0),
        ({1: 5, 7: 8, 21: 9, 40: 10}, 64, 0.9, 21, 0.9),
        ({1: 5, 7: 8, 21: 9, 40: 10}, 64, 0.95, 40, 1.0),
        ({1: 5, 3: 6}, 4, 0.95, 3, 0.6),  # all lists are visited, and the codes are too short
        ({1: 3, 5: 6}, 1 << 20, 0.95, 5, 0.6),  # more probes gain nothing
        ({1: 1, 12: 2, 60: 4, 250: 7, 900: 10}, 1024, 0.95, 900, 1.0),
    ],
)
def test_the_fewest_probes(reached, lists, wanted, probes, recall):
    found = exact(0, 0, *range(1, 11), *range(50, 60))
    asked: list[int] = []
    chosen = fewest_probes(searching(reached, asked), found, lists, wanted)
    assert chosen.recall_10 == recall
    assert probes <= chosen.probes <= probes + max(1, probes // 16)
    assert max(asked) <= max(lists, 0)
    assert len(asked) == len(set(asked)) < 40
    again = fewest_probes(searching(reached, []), found, lists, wanted, min(3, probes or 1))
    assert again.recall_10 == recall
    assert probes <= again.probes <= probes + max(1, probes // 16)


def test_the_lists_of_the_nearest_say_how_many_a_search_must_visit():
    found = exact(0, 0, *range(1, 11), 50)  # itself, the ten nearest, another
    ranks = np.full(found.ids.shape, NONE)
    ranks[0, :12] = [0, 0, 0, 0, 0, 0, 0, 0, 3, 6, 8, 0]
    assert [found.least_probes(ranks, wanted) for wanted in (0.5, 0.7, 0.75, 0.9, 0.95, 1)] == [
        1,
        1,
        4,
        7,
        9,
        9,
    ]


def test_a_search_of_the_least_lists_is_enough_if_the_codes_are_exact():
    found, asked = exact(0, 0, *range(1, 11)), list[int]()
    assert fewest_probes(searching({1: 5, 9: 10}, asked), found, 64, 0.95, least=9).probes == 9
    assert asked == [9]


def arrays(**other) -> dict[str, np.ndarray]:
    """Of two queries of three numbers."""
    right = {
        "vectors": np.ones((2, 3), np.float32),
        "scores": np.ones((2, 32), np.float32),
        "ids": np.ones((2, 32), np.int64),
        "own": np.ones(2, np.int64),
    }
    return {**right, **other}


def test_the_queries_that_an_index_keeps():
    found = read_recall(packed(**arrays()), 3)
    assert {name: array.tolist() for name, array in found.items()} == {
        name: array.tolist() for name, array in arrays().items()
    }


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK",
        packed(**arrays())[:-30],
        packed(vectors=np.ones((2, 3), np.float32)),
        packed(**arrays(vectors=np.ones((2, 4), np.float32))),
        packed(**arrays(ids=np.ones((2, 32), np.int32))),
        packed(**arrays(own=np.ones(3, np.int64))),
        packed(**arrays(own=np.ones((), np.int64))),
        packed(**arrays(own=np.ones(1_001, np.int64))),
        packed(**arrays(own=np.array(["a", "b"]))),
        packed(**arrays(scores=np.asfortranarray(np.ones((2, 32), np.float32)))),
    ],
    ids=range(11),
)
def test_what_is_not_a_file_of_queries(data):
    with pytest.raises(ValueError, match=r"recall\.npz"):
        read_recall(data, 3)

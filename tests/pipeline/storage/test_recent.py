"""Few values are held, those used last, whatever the number of threads."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.storage.recent import Recent


def test_the_value_used_longest_ago_goes_first():
    made = []
    recent = Recent[str, str](2)

    def get(key: str) -> str:
        return recent.get(key, lambda: made.append(key) or key.upper())

    assert [get(key) for key in "abaca"] == list("ABACA")
    assert made == ["a", "b", "c"]
    assert get("b") == "B"  # it went when c came
    assert made == ["a", "b", "c", "b"]


def test_put_replaces():
    recent = Recent[str, int](2)
    assert recent.put("a", 1) == 1
    recent.put("a", 2)
    assert recent.get("a", lambda: 3) == 2


def test_none_is_a_value_and_an_error_is_not():
    recent = Recent[str, int | None](2)
    with pytest.raises(KeyError):
        recent.get("a", lambda: {}["a"])
    assert recent.get("a", lambda: None) is None
    assert recent.get("a", lambda: 1) is None


def test_many_threads():
    recent = Recent[int, int](3)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: recent.get(i % 7, lambda: i % 7 * 10), range(4000)))
    assert found == [i % 7 * 10 for i in range(4000)]
    assert len(recent._values) == 3

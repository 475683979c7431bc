"""Cards within bounds: of their number, their texts and the bytes of their pictures."""

import pytest

from pipeline.view import album
from pipeline.view.album import Album
from pipeline.view.cards import Cost
from pipeline.view.numbers.choices import Chosen, Group
from tests.support.decided_pool import decided, ordinary, sample, write_tar

PLACES = [("00000", row) for row in range(4)]
GROUP = Group(None, "random_kept", "some")


def test_each_sample_has_one_card_however_often_it_is_shown(tmp_path):
    ordinary(tmp_path / "pool")
    cost = Cost()
    made = Album(decided(tmp_path, {}), 12, cost)
    made.add([*PLACES, PLACES[0]])
    made.add(PLACES[2:])
    pictures = made.pictures([Chosen(GROUP, tuple(PLACES)), Chosen(GROUP, (PLACES[1],))])
    assert list(pictures.cards) == ["s0", "s1", "s2", "s3"]
    assert [(group.kind, group.ids) for group in pictures.groups] == [
        ("random", ["s0", "s1", "s2", "s3"]),
        ("random", ["s1"]),
    ]
    assert cost.pictures == 4


def test_pictures_that_would_make_the_page_large_are_left_out(tmp_path, monkeypatch):
    ordinary(tmp_path / "pool")
    made = Album(decided(tmp_path, {}), 12, Cost())
    made.add(PLACES)
    whole = [card.picture for card in made.pictures([]).cards.values()]
    monkeypatch.setattr(album, "MOST_BYTES", len(whole[0]) + len(whole[1]) + 1)
    cards = list(made.pictures([]).cards.values())
    assert [card.picture for card in cards] == [*whole[:2], None, None]
    assert [card.why_no_picture for card in cards] == [None, None, album.TOO_LARGE, album.TOO_LARGE]


@pytest.mark.parametrize(("most", "lengths"), [(1_000_000, [10_000, 10_000]), (100, [10_000, 300])])
def test_long_captions_are_cut(tmp_path, monkeypatch, most, lengths):
    monkeypatch.setattr(album, "MOST_TEXT", most)
    write_tar(tmp_path / "pool" / "0.tar", [f for n in range(2) for f in sample(n, caption="ab " * 5_000)])
    made = Album(decided(tmp_path, {}), 12, Cost())
    made.add([("0", 0), ("0", 1)])
    captions = [card.captions[0] for card in made.pictures([]).cards.values()]
    assert [len(caption) for caption in captions] == lengths
    assert all(caption.endswith("…") for caption in captions)


def test_values_that_json_does_not_know_become_texts():
    values = {"a": [1, 2.5, None, b"x"], "b": {"c": 1}, "c": ("y" * 400,)}
    plain = {key: album._plain(value) for key, value in values.items()}
    assert plain == {"a": [1, 2.5, None, "b'x'"], "b": "{'c': 1}", "c": ["y" * 299 + "…"]}

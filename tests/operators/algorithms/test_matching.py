"""Sub-string matching: golden rows of MetaCLIP's rules (GOLDENS.md), and equality with the definition
itself."""
# ruff: noqa: E501 (lists)

import gzip
import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.algorithms import matching
from operators.algorithms.matching import Matcher, Spacing, read_entries, spaced_entry
from tests.support.metaclip_spacing import spaced

ENGLISH = [
    "dog",
    "Dog",
    "hot dog",
    "T-shirt",
    "t-shirt",
    "3",
    "U.S.",
    "battery",
    "battery plate",
    "photo of",
    "of",
    "a",
    "New York",
    "café",
    "(red)",
    "rock",
    "roll",
    "rock n roll",
    "image",
]
ENGLISH_GOLDENS = {
    "hot dog": "dog, hot dog",
    "Hot Dog.": "Dog",
    "a photo of a dog, hot  dog": "dog, photo of, of, a",
    "hot\tdog": "dog, hot dog",
    "Adult T-shirt": "T-shirt",
    "T-shirt/hoodie": "",
    "U.S. flag": "",
    "battery plate": "battery, battery plate",
    "battery,plate": "battery",
    "New York; rock & roll": "New York, rock, roll",
    "rock n roll!": "rock, roll, rock n roll",
    "(red) dog": "dog, (red)",
    "café: image": "café, image",
    "dogs": "",
    '"dog"': "",
    "dog's": "",
    "": "",
    "dog\ndog": "dog",
    "`dog`": "dog",
}
WORLD = [
    "dog",
    "hot dog",
    "(red)",
    "C++",
    "猫",
    "猫dog",
    "U.S.",
    "日本",
    "犬 小屋",
    "café",
    "ภาพ",
    "-",
    "·mark",
    "「mark",
    "e.g",
    "ñandú",
    "서울",
]
WORLD_GOLDENS = {
    "x(red)y": "(red)",
    "I use C++, daily": "C++",
    "黒猫の写真": "猫",
    "猫dog park": "猫|猫dog",
    "U.S. map": "",
    "日本語": "日本",
    "犬 小屋": "犬 小屋",
    "犬小屋": "",
    "Café": "",
    "café!": "café",
    "ภาพถ่าย": "ภาพ",
    "hot-dog": "-",
    "서울 야경": "서울",
    "서울의 야경": "",
    "e.g. dog": "dog",
    "x·mark": "",
    "x ·mark": "·mark",
    "x「mark": "「mark",
    "\u3000dog\u00a0": "dog",
}


pytestmark = pytest.mark.usefixtures("own_automata")


def defined(entries: list[str], text: str, spacing: Spacing) -> list[int]:
    """The definition, word for word; of equal entries the last id."""
    searched = spaced(text.strip() if spacing == "worldwide" else text)
    last = {spaced_entry(entry, spacing): number for number, entry in enumerate(entries)}
    return sorted(number for entry, number in last.items() if entry in searched)


def found(entries: list[str], text: str, spacing: Spacing) -> list[int]:
    ids, counts = Matcher(entries, spacing)(pl.Series([text]))
    assert counts.tolist() == [len(ids)]
    return list(ids.tolist())


@pytest.mark.parametrize(("text", "expected"), ENGLISH_GOLDENS.items())
def test_english_goldens(text, expected):
    assert [ENGLISH[i] for i in found(ENGLISH, text, "english")] == [e for e in expected.split(", ") if e]


@pytest.mark.parametrize(("text", "expected"), WORLD_GOLDENS.items())
def test_worldwide_goldens(text, expected):
    assert [WORLD[i] for i in found(WORLD, text, "worldwide")] == [e for e in expected.split("|") if e]


LETTERS = st.text("ab .,!`\n\t-(猫ท서", max_size=12)


@given(
    st.lists(LETTERS.filter(bool), min_size=1, max_size=12),
    LETTERS,
    st.sampled_from(["english", "worldwide"]),
)
@settings(max_examples=200)
def test_equals_the_definition(entries, text, spacing):
    assert found(entries, text, spacing) == defined(entries, text, spacing)


@given(st.text(max_size=40))
@settings(max_examples=100)
def test_any_text_is_searched(text):
    text = text.encode("utf-8", "ignore").decode()  # what a String column can hold
    assert found([*ENGLISH, "\0"], text, "english") == defined([*ENGLISH, "\0"], text, "english")


def test_neighbours_share_a_space_and_ids_come_once():
    ids, counts = Matcher(["a", "b", "a b", "b a"], "english")(pl.Series(["a b a b", None, "", "b"]))
    assert (ids.tolist(), counts.tolist()) == ([0, 1, 2, 3, 1], [4, 0, 0, 1])


def test_the_last_of_equal_entries_counts():
    assert found(["dog", "cat", "dog"], "dog cat", "english") == [1, 2]


def test_a_long_text_and_awkward_characters():
    text = "dog " * 25_000 + "\0 👩‍👩‍👧 e\u0301 hot dog"
    assert [ENGLISH[i] for i in found(ENGLISH, text, "english")] == ["dog", "hot dog"]
    assert found(["👩‍👩‍👧", "\0", "e\u0301", "é"], text, "english") == [0, 1, 2]  # no normalisation


# --- lists -----------------------------------------------------------------------------------------


def test_lists_in_every_form(tmp_path):
    entries = ["dog", "New York", "猫", "a b"]
    (tmp_path / "list.json").write_text(json.dumps(entries))
    (tmp_path / "list.txt").write_text("dog\n\nNew York\n猫\r\na b\n", encoding="utf-8")
    with gzip.open(tmp_path / "list.txt.gz", "wt", encoding="utf-8") as file:
        file.write("\n".join(entries))
    for name in ("list.json", "list.txt", "list.txt.gz"):
        assert read_entries(str(tmp_path / name)) == entries
        assert read_entries(f"file://{tmp_path / name}") == entries


@pytest.mark.parametrize(
    ("content", "part"), [('["a", 3]', "entry 1 must be a text"), ('["a", ""]', "entry 1")]
)
def test_a_wrong_entry_is_named(tmp_path, content, part):
    (tmp_path / "list.json").write_text(content)
    with pytest.raises(ValueError, match=part):
        read_entries(str(tmp_path / "list.json"))


# --- once per machine ------------------------------------------------------------------------------


def test_an_automaton_is_built_once_per_machine(monkeypatch, tmp_path):
    built = []
    whole = matching._built
    monkeypatch.setattr(matching, "_built", lambda patterns: built.append(len(patterns)) or whole(patterns))
    first, second = Matcher(ENGLISH, "english"), Matcher(ENGLISH, "english")
    Matcher([*ENGLISH, "cat"], "english")
    assert built == [len(ENGLISH), len(ENGLISH) + 1]
    assert first(pl.Series(["hot dog"]))[0].tolist() == second(pl.Series(["hot dog"]))[0].tolist() == [0, 2]
    folder = next(tmp_path.glob("winnow-*"))
    assert folder.stat().st_mode & 0o777 == 0o700
    assert not list(folder.glob("*.tmp"))


def test_a_folder_that_others_can_write_is_not_trusted(tmp_path, monkeypatch):
    Matcher(ENGLISH, "english")
    folder: Path = next(tmp_path.glob("winnow-*"))
    folder.chmod(0o777)
    for file in folder.iterdir():
        file.write_bytes(b"planted")
    assert found(ENGLISH, "hot dog", "english") == [0, 2]

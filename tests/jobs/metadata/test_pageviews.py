"""Titles by page views, and the union of the lists."""

import bz2
import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.metadata.entries import Source, encode, fits, union
from jobs.metadata.pageviews import TitleBounds, rank_titles, read_hour
from jobs.metadata.sources import files_of
from tests.jobs.metadata.made_sources import (
    HOUR,
    hours,
)


def rank_hours(folder: str, **wanted):
    paths = files_of("--pageviews", folder, "pageviews-*")
    return rank_titles(paths, TitleBounds(**wanted), map, lambda *_: None)


def test_titles_by_views_over_hours(tmp_path):
    second = "en Golden_Retriever 21 0\nen Main_Page 55 0\nen Rare 49 0\nen Golden_Retriever 50 0\n"
    found = rank_hours(hours(tmp_path / "v", HOUR, second))
    assert found.entries == ["Main Page", "Café", "Golden Retriever", "A b"]  # 115, 100, 100, 70
    assert (found.passed, found.broken) == (5, 0)  # and "-", which does not fit


@pytest.mark.parametrize(
    ("wanted", "titles"),
    [
        ({}, ["Café", "A b"]),
        ({"views": 100}, ["Café"]),
        ({"views": 50}, ["Café", "A b", "Main Page", "Golden Retriever"]),
        ({"views": 49, "hourly": 49, "titles": 5}, ["Café", "A b", "Main Page", "Golden Retriever", "Rare"]),
        ({"titles": 1}, ["Café"]),
        ({"titles": 0}, []),
        ({"max_length": 3}, ["A b"]),
        ({"project": "en.m"}, ["Main Page"]),
    ],
)
def test_thresholds_of_titles(tmp_path, wanted, titles):
    assert rank_hours(hours(tmp_path / "v", HOUR), **wanted).entries == titles


@pytest.mark.parametrize(("suffix", "pack"), [("", bytes), (".gz", gzip.compress), (".bz2", bz2.compress)])
def test_kinds_of_files(tmp_path, suffix, pack):
    path = tmp_path / f"pageviews-20240501-000000{suffix}"
    path.write_bytes(pack(HOUR.encode()))
    assert read_hour(str(path), TitleBounds(project="aa")).views == {"Main Page": 60}


def test_broken_rows_are_counted(tmp_path):
    path = tmp_path / "pageviews-1"
    path.write_bytes(b"en A 70 0\nen B\nen C x 0\nen \xff 99 0\nen D 80 0\n")
    found = rank_hours(str(path))
    assert (found.entries, found.broken) == (["D", "A"], 2)


# The list
@pytest.mark.parametrize(
    "entry", ["", "!", "?!", "...", "—", "a\nb", "a\r", "a\tb", "a\u2028b", " ", "$", "x" * 257]
)
def test_what_does_not_fit(entry):
    assert not fits(entry, 256)


@pytest.mark.parametrize("entry", ["a", "1", "C++", "(red)", "猫", "x" * 256, "♥", "U.S."])
def test_what_fits(entry):
    assert fits(entry, 256)


def test_union_by_hand():
    found, rows = union([Source("x", ["b", "a", "!"], 9), Source("y", ["a", "c", "b"], 3)], 256)
    assert found == ["b", "a", "c"]
    assert [tuple(row) for row in rows] == [("x", 9, 3, 2), ("y", 3, 3, 1)]


@given(st.lists(st.lists(st.text(max_size=4), max_size=6), max_size=4))
def test_union_law(lists):
    found, rows = union([Source("", part, 0) for part in lists], 3)
    assert len(found) == len(set(found)) == sum(row.new for row in rows)
    assert set(found) == {entry for part in lists for entry in part if fits(entry, 3)}
    assert union([Source("", found, 0)], 3)[0] == found
    assert json.loads(encode(found, "x.json")) == found
    assert gzip.decompress(encode(found, "x.txt.gz")).decode().splitlines() == found

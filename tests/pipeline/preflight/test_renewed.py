"""`winnow plan` says why results that the store has do not count."""

import json

import pytest

from tests.support.place import Place

PLUGIN = """import polars as pl
from pipeline.operator import Column, File, Score


class Length(Score):
    times: float = 1.0
    words: File = ""
    needs = ("text",)
    writes = {"value": pl.Float32}

    def score(self, batch):
        return batch.select(value=(pl.col("text").str.len_chars() * self.times).cast(pl.Float32))


class Twice(Score):
    of: Column
    writes = {"value": pl.Float32}

    def score(self, batch):
        return batch.select(value=pl.col(self.of) * 2)
"""


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path)
    made.tar("0", ["a red dog", "a cat"])
    (tmp_path / "mine.py").write_text(PLUGIN)
    (tmp_path / "list.txt").write_text("a\n")
    made.plugins = [str(tmp_path / "mine.py")]
    made.compute = {
        "length": {"use": "mine.Length", "words": str(tmp_path / "list.txt")},
        "twice": {"use": "mine.Twice", "of": "length.value"},
    }
    made.keep, made.export = {"twice.value": {"min": 1}}, {}
    return made


def said(place):
    """What `winnow plan` says is computed anew, and why."""
    return json.loads(place.winnow("plan", "--json").stdout)["renewed"]


def test_nothing_is_said_of_what_is_new_or_computed(place):
    assert said(place) == {}
    place.winnow("compute")
    assert said(place) == {}
    place.tar("1", ["two cows"])
    assert said(place) == {}


def test_a_parameter_a_file_and_a_source(place, tmp_path):
    place.winnow("compute")
    place.compute["length"]["times"] = 2.5
    assert said(place) == {"length": "the store has results for times 1.0, not 2.5"}
    (tmp_path / "list.txt").write_text("b\n")
    assert said(place) == {
        "length": "the store has results for times 1.0, not 2.5, for another file as words"
    }
    del place.compute["length"]["times"]
    assert said(place) == {"length": "the store has results for another file as words"}
    (tmp_path / "list.txt").write_text("a\n")
    (tmp_path / "mine.py").write_text(PLUGIN.replace("* 2)", "* 3)"))
    source = "the store has results of another source of the plugin mine"
    assert said(place) == {"length": source, "twice": source}
    shown = " ".join(place.winnow("plan").stdout.split())
    assert f"anew compute.length: {source} anew compute.twice: {source}" in shown
    place.winnow("compute")
    assert said(place) == {}


def test_of_several_results_the_nearest_counts(place):
    for times in (1.0, 2.0):
        place.compute["length"]["times"] = times
        place.winnow("compute")
    place.compute["length"].update(times=3.0)
    assert said(place)["length"] in [f"the store has results for times {n}, not 3.0" for n in (1.0, 2.0)]
    place.compute["length"].update(times=2.0, words="")
    assert said(place) == {"length": "the store has results for another file as words"}

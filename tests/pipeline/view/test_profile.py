"""Columns summed up: exact counts, quantiles of the rows that are drawn, exact ones on demand."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import yaml

from pipeline.errors import RecipeError
from pipeline.rule import Rule
from pipeline.view import one_column as detail
from pipeline.view import profile as profiles
from tests.support.decided_pool import decided, sample, write_tar

WORDS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4]


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """A pool of 20 captions with so many words, one sample without a caption, and one that is empty."""
    folder = tmp_path_factory.mktemp("columns")
    members = [m for n, count in enumerate(WORDS) for m in sample(n, caption=" ".join(["word"] * count))]
    members += [m for m in sample(20, caption="") if not m[0].endswith(".json")]
    members += [m for m in sample(21, caption="x") if m[0].endswith(".jpg")]
    write_tar(folder / "pool" / "0.tar", members[:30])
    write_tar(folder / "pool" / "1.tar", members[30:])
    keep = {"caption.words": {"min": 3}, "long": {"column": "caption.characters", "top": 0.25}}
    return decided(folder, {}, keep=keep)


def columns_of(session) -> pl.DataFrame:
    names = [shard.name for shard in session.shards]
    return session.columns.read_many(names, ["caption.words", "caption.language"])


def test_numbers(session):
    whole = profiles.profile(session)
    words = whole.columns["caption.words"]
    values = columns_of(session)["caption.words"].drop_nulls()
    assert (whole.rows, whole.sampled, whole.shards, whole.of_shards) == (22, 22, 2, 2)
    assert (words.kind, words.dtype, words.rows) == ("number", "UInt32", 22)
    assert words.nulls == 22 - len(values)
    assert dict(words.reasons) == {"no caption": words.nulls}
    assert (words.least, words.most) == (values.min(), values.max())
    assert words.quantiles["50%"] == values.quantile(0.5, "nearest")


def test_texts_vectors_and_what_is_not_computed(session):
    whole = profiles.profile(session)
    assert whole.columns["image_format"].frequent == {"jpg": 22}
    vector = next(column for column in whole.columns.values() if column.kind == "vector")
    assert (vector.nulls, vector.quantiles, vector.frequent) == (None, {}, {})
    alone = profiles.profile(session, [vector.column]).columns[vector.column]
    assert alone.nulls is not None
    assert whole.not_computed == []


def test_bytes_are_shown_as_digits_under_their_own_type(tmp_path):
    write_tar(tmp_path / "pool" / "0.tar", [*sample(0), *sample(1)])
    compute = {"digest": {"use": "duplicates.ImageDigest"}}
    session = decided(tmp_path, {}, compute=compute, keep={})
    shown = profiles.profile(session).columns["digest.digest"]
    digests = session.columns.read("0", ["digest.digest"])["digest.digest"].to_list()
    assert (shown.dtype, shown.kind, shown.nulls) == ("Binary", "text", 0)
    assert shown.frequent.keys() == {digest.hex() for digest in digests}


@pytest.mark.parametrize("count", [1, 5, 21])
def test_of_many_rows_those_with_the_smallest_draws_are_taken(session, count, monkeypatch):
    monkeypatch.setattr(profiles, "SAMPLED", count)
    first, again = profiles.profile(session), profiles.profile(session)
    assert (first.sampled, first.rows) == (count, 22)
    assert first == again
    assert first.columns["caption.words"].least == 0 or min(WORDS) == first.columns["caption.words"].least


def test_quantiles_of_one_column_are_exact(session, monkeypatch):
    monkeypatch.setattr(profiles, "SAMPLED", 3)
    found = detail.one_column(session, "caption.words")
    values = np.sort(columns_of(session)["caption.words"].drop_nulls().to_numpy())
    assert found.sampled == 3
    for name, value in found.profile.quantiles.items():
        assert value == values[round(int(name[:-1]) / 100 * (len(values) - 1))], name


def test_the_histogram_counts_every_value_once(session):
    found = detail.one_column(session, "caption.words")
    values = columns_of(session)["caption.words"].drop_nulls().to_list()
    assert sum(each.count for each in found.bins) == len(values)
    for each in found.bins:
        low = -1 if each.low is None else each.low
        high = 10**9 if each.high is None else each.high
        assert each.count == sum(low <= value < high for value in values)
    assert [(mark.rule, mark.bound, mark.value) for mark in found.marks] == [("caption.words", ">= 3", 3.0)]
    assert found.override[-1] == "keep.caption.words=null"


def test_a_share_is_marked_at_its_cut(session):
    (mark,) = detail.one_column(session, "caption.characters").marks
    assert mark.rule == "long"
    assert mark.bound == f">= {mark.value:.6g} (top 25%)"


@pytest.mark.parametrize(
    ("least", "step"), [(0.0, 1.0), (0.03, 0.05), (1.0, 1.0), (1.1, 2.0), (6.0, 10.0), (1e300, 1e300)]
)
def test_steps_are_round(least, step):
    assert detail._round_step(least) == pytest.approx(step)


def test_an_unknown_column(session):
    with pytest.raises(
        RecipeError, match=r"caption\.word is not a column of the pool \(did you mean caption\.words"
    ):
        profiles.profile(session, ["caption.word"])
    with pytest.raises(RecipeError, match="zzz is not a column of the pool; there are: text, url"):
        detail.one_column(session, "zzz")


def test_what_is_suggested_is_not_what_is_so(session):
    """Of the 21 counts in order, 0 1 1 2 2 3 ..., 10 % is the third and 25 % the sixth."""
    quantiles = detail.one_column(session, "caption.words").profile.quantiles
    assert (quantiles["10%"], quantiles["25%"]) == (1, 3)
    for change, suggested in {
        "caption.words: {min: 3}": "keep.caption.words.min=1",
        "caption.words: {min: 1}": "keep.caption.words.min=3",
        "caption.words: {top: 0.3}": "keep.caption.words.top=0.5",
        "caption.words: {top: 0.5}": "keep.caption.words.top=0.3",
        "caption.words: {bottom: 0.5}": "keep.caption.words.bottom=0.3",
    }.items():
        keep = {
            name: Rule.model_validate({"column": name, **keys})
            for name, keys in yaml.safe_load(f"{{{change}}}").items()
        }
        other = replace(session, recipe=session.recipe.model_copy(update={"keep": keep}))
        assert detail.one_column(other, "caption.words").override == [suggested, "keep.caption.words=null"]


def test_among_is_suggested_for_texts_alone(session):
    """The rule refuses bytes, whose digits are shown."""
    shown = replace(detail.one_column(session, "text").profile, frequent={"beef": 2}, dtype="String")
    assert list(detail._overrides(session, shown)) == ["keep.text.among=[beef]"]
    assert list(detail._overrides(session, replace(shown, dtype="Binary"))) == []

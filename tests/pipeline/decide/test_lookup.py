"""Samples by uid, by the beginning of one, and by key; and what is read for it."""

import polars as pl
import pytest

from pipeline.decide import lookup
from pipeline.decide.decide import decide
from pipeline.decide.explain import explain_rows, look_up
from pipeline.decide.lookup import find, with_uids
from pipeline.plan.session import Session
from pipeline.pool.sample_table import StoredSamples
from pipeline.recipe.load import parse
from tests.pipeline.pool.kinds.test_kinds import tables
from tests.support.samples import samples, uid

KEEP = {"given.u32": {"min": 1}}


@pytest.fixture
def session(stored):
    """Two shards of four samples; keys 00000 to 00003 in both."""
    made = stored({name: pl.DataFrame({"u32": [1, 2, 3, 4]}) for name in ("a", "b/c")}, KEEP)
    for name in ("a", "b/c"):
        keys = ["00000", "cafe", "x y", f"only-{name[0]}"]
        uids = [
            uid(name, 0),
            "abcd" + "0" * 28,
            f"abcd{name[0] == 'a':x}" + "1" * 27,
            "0" * 31 + str(len(name)),
        ]
        frame = samples(4, name, key=keys, uid=uids).with_columns(error=pl.lit(None, pl.String))
        notes = {"content": f"content of {name}", "state": ""}
        made.store.write(f"samples/{name}.parquet", frame, notes)
    made = made.refreshed()
    decide(made)
    return made


@pytest.fixture
def columns_read(monkeypatch):
    """The columns of samples that are read from now on."""
    names = []
    read = StoredSamples.read
    monkeypatch.setattr(StoredSamples, "read", lambda self, s, n: names.extend(n) or read(self, s, n))
    return names


@pytest.mark.parametrize(
    ("word", "places"),
    [
        (uid("a", 0), [("a", 0)]),
        (uid("b/c", 0).upper(), [("b/c", 0)]),
        (f" {uid('a', 0)} ", [("a", 0)]),
        ("abcd" + "0" * 28, [("a", 1), ("b/c", 1)]),  # several samples of one uid
        ("abcd0000-0000", [("a", 1), ("b/c", 1)]),
        (uid("a", 0)[:10], [("a", 0)]),
        ("abcd1", [("a", 2)]),
        ("00000", [("a", 0), ("b/c", 0)]),  # a key, although uids begin with it
        ("cafe", [("a", 1), ("b/c", 1)]),
        ("b/c/cafe", [("b/c", 1)]),
        ("a/x y", [("a", 2)]),
        ("only-b", [("b/c", 3)]),
    ],
)
def test_what_a_word_names(session, word, places):
    found = find(session, [word])
    assert (list(found.places), list(found.unknown)) == (places, [])


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("f" * 32, f"no sample of the pool has the uid {'f' * 32}"),
        (
            "abc",
            "no sample of the pool has the uid, beginning of a uid, or key 'abc'; the beginning of a uid needs "
            "at least 4 digits",
        ),
        ("d/cafe", "no sample of the pool has the uid, beginning of a uid, or key 'd/cafe'"),
        ("\x1b[31m", "no sample of the pool has the uid, beginning of a uid, or key '\\x1b[31m'"),
        ("", "no sample of the pool has the uid, beginning of a uid, or key ''"),
        (
            "abcd",
            f"'abcd' begins 3 uids: abcd{'0' * 28}, abcd0{'1' * 27}, abcd1{'1' * 27}; give more of its digits",
        ),
    ],
)
def test_what_is_said_of_a_word_that_names_nothing(session, word, message):
    found = find(session, [word, uid("a", 0)])
    assert (list(found.places), list(found.unknown)) == ([("a", 0)], [message])


def test_a_key_of_very_many_samples(session, monkeypatch):
    monkeypatch.setattr(lookup, "MOST", 1)
    assert find(session, ["00000", "only-a"]).unknown == [
        "2 samples have the key '00000'; name its shard: a/00000"
    ]


def test_several_words_keep_their_order(session):
    found = look_up(session, ["only-b", "nope", uid("a", 0), "a/cafe", uid("a", 0)])
    assert [(e.shard, e.row) for e in found.explanations] == [("b/c", 3), ("a", 0), ("a", 1)]
    assert len(found.unknown) == 1
    assert look_up(session, []).explanations == []
    assert [e.row for e in explain_rows(session, [("a", 2), ("a", 0), ("a", 2)])] == [2, 0, 2]


def test_nothing_but_uids_is_read_for_a_uid_or_its_beginning(session, columns_read):
    find(session, [uid("a", 0)])
    assert set(columns_read) == {"uid"}
    columns_read.clear()
    find(session, ["abcd1"])
    assert columns_read == ["uid"] * 2  # each shard's uids once
    columns_read.clear()
    find(session, ["b/c/only-b"])
    assert columns_read == ["key"] * 2


def test_the_places_of_uids(session):
    assert with_uids(session, ["abcd" + "0" * 28, "f" * 32]) == {"abcd" + "0" * 28: ("a", 1)}


def test_a_datacomp_folder(tmp_path):
    pool = {"datacomp": tables(tmp_path / "pool"), "store": str(tmp_path / "store")}
    session = Session.open(parse({"pool": pool}))
    uids = session.columns.read_many([shard.name for shard in session.shards], ["uid"])["uid"]
    for word in (uids[2], uids[2][:8], "000000002"):
        assert [row for _, row in find(session, [word]).places] == [2]
    assert len(find(session, ["000000099", "9" * 5000]).unknown) == 2

"""Digests of images, and the ranks of copies."""

import polars as pl
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from pydantic import ValidationError

from operators.duplicates import Exact, ImageDigest
from tests.support.groups import run_group
from tests.support.samples import samples

UIDS = [f"{number:032x}" for number in range(10)]
KEYS = [b"a", b"b", b"a", None, b"a", b"b", b"a", b"c"]
SCORES = [0.5, 0.2, float("nan"), 0.9, 0.7, 0.2, None, 0.1]


def pool(rows=8, **columns):
    return samples(rows, uid=UIDS[:rows]).with_columns(**{n: pl.Series(c) for n, c in columns.items()})


def ranked(frame=None, **fields):
    """By column, the values of an Exact over the keys above."""
    frame = pool(**{"d.key": KEYS, "clip.score": SCORES}) if frame is None else frame
    return run_group(Exact(**{"key": "d.key", **fields}), frame).to_dict(as_series=False)


def test_digests_of_files():
    result = ImageDigest().score(samples(3), [memoryview(b"one"), None, memoryview(b"two")])
    assert result["digest"].to_list() == [blake3(b"one").digest(16), None, blake3(b"two").digest(16)]


def test_the_lowest_uid_is_kept():
    """Keys a: rows 0 2 4 6; b: rows 1 5; c: row 7; row 3 has none."""
    found = ranked()
    assert found["size"] == [4, 2, 4, None, 4, 2, 4, 1]
    assert found["rank"] == [1, 1, 2, None, 3, 2, 4, 1]
    assert found["first"] == [None, None, UIDS[0], None, UIDS[0], UIDS[1], UIDS[0], None]


def test_the_best_is_kept():
    """Of a: .7 (row 4), .5 (row 0), then those without a score by uid (rows 2, 6); of b: equal, by uid."""
    found = ranked(best="clip.score")
    assert found["rank"] == [2, 1, 3, None, 1, 2, 4, 1]
    assert found["first"] == [UIDS[4], None, UIDS[4], None, None, UIDS[1], UIDS[4], None]
    assert ranked(best="clip.score", order="lowest")["rank"] == [1, 1, 3, None, 2, 2, 4, 1]


def test_later_copies_share_a_rank():
    found = ranked(best="clip.score", ranks=2)
    assert found["size"] == [4, 2, 4, None, 4, 2, 4, 1]
    assert found["rank"] == [2, 1, 3, None, 1, 2, 3, 1]


def test_a_key_of_several_columns():
    frame = pool(4, text=["a", "a", "ab", "a"], url=["bc", "bc", "c", None])
    assert ranked(frame, key=["text", "url"])["size"] == [2, 2, 1, None]
    assert ranked(frame, key=["text"])["size"] == [3, 3, 1, 3]


def test_samples_that_share_a_uid_have_different_ranks():
    frame = pool(4, **{"d.key": [1, 1, 1, 2]}).with_columns(
        uid=pl.lit(UIDS[5]), shard=pl.Series(list("bbaa"))
    )
    found = ranked(frame)
    assert found["rank"] == [2, 3, 1, 1]
    assert found["first"] == [UIDS[5], UIDS[5], None, None]


@pytest.mark.parametrize("key", ["", []])
def test_a_key_must_be_named(key):
    with pytest.raises(ValidationError):
        Exact(key=key)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([None, 1, 2, 3]), st.sampled_from([None, 0.0, 1.0, 2.0])), max_size=30
    ),
    st.integers(1, 4),
    st.integers(1, 9),
)
def test_parts_give_what_the_whole_gives(rows, ranks, size):
    """Beside a plain sort of each key's rows."""
    uids = [f"{number * 7 % 31:032x}" for number in range(len(rows))]
    types = {"d.key": pl.Int64, "clip.score": pl.Float64}
    frame = samples(len(rows), uid=uids).hstack(pl.DataFrame(rows, schema=types, orient="row"))
    operator = Exact(key="d.key", best="clip.score", ranks=ranks)
    parts = [operator.partial(frame[at : at + size]) for at in range(0, len(rows) + 1, size)]
    found = operator.of_summary(frame, operator.merge(pl.concat(parts)))
    for key in (1, 2, 3):
        own = frame.hstack(found).filter(pl.col("d.key") == key)
        ordered = own.sort("clip.score", "uid", descending=[True, False], nulls_last=True)
        assert ordered["rank"].to_list() == [min(at + 1, ranks + 1) for at in range(len(own))]
        assert ordered["size"].to_list() == [len(own)] * len(own)
        assert (
            ordered["first"].to_list() == [None, *ordered["uid"].to_list()[:1] * (len(own) - 1)][: len(own)]
        )
    assert (
        found.filter(frame["d.key"].is_null()).null_count().sum_horizontal().sum()
        == 3 * frame["d.key"].null_count()
    )


def test_evidence_names_the_copy_that_is_kept():
    frame = pool(**{"d.key": KEYS, "clip.score": SCORES})
    operator = Exact(key="d.key")
    rows = frame.hstack(run_group(operator, frame).rename(lambda name: f".{name}"))
    shown = [operator.evidence(rows[at], {}, {}).to_dicts() for at in range(8)]
    assert shown[0] == [{"copies": 4, "rank": 1}]
    assert shown[2] == [{"copies": 4, "rank": 2, "uid": UIDS[0]}]
    assert shown[3] == shown[7] == []


def test_the_order_of_groups_in_a_summary_changes_nothing():
    operator = Exact(key="d.key", best="clip.score")
    frame = pool(**{"d.key": KEYS, "clip.score": SCORES})
    summary = operator.merge(operator.partial(frame))
    assert_frame_equal(operator.of_summary(frame, summary[::-1]), operator.of_summary(frame, summary))

"""Braces in the patterns of a pool: what they stand for, and that they are counted before that is listed."""

import pytest
from braceexpand import braceexpand
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.pool.listing.patterns import places


@pytest.mark.parametrize(
    "pattern",
    [
        "{0..999999999}.tar",
        "{0..99999999999999999999}.tar",
        "a{-5..-999999999..3}.tar",
        "{0..9999}{0..9999}.tar",
        "{a,b}" * 40,
        "{{0..1999999},{0..1999999}}.tar",
        "{0..999999999\n}.tar",
        "{\u0660..\u0669\u0669\u0669\u0669\u0669\u0669\u0669\u0669}.tar",
        "{" * 1000 + "}" * 1000,
        "{a," * 50 + "}" * 50,
    ],
)
def test_braces_are_bounded(pattern):
    with pytest.raises(ValueError, match=r"stand for more than 2,000,000 paths|braces inside each other"):
        next(places(pattern))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from("{},ab-")
        | st.sampled_from(["0..3", "a..d", "9..0..-3", "c..a..2", "07..11", "a..5", "3..5\n", "\n"]),
        max_size=25,
    ).map("".join)
)
def test_braces_stand_for_what_braceexpand_makes_of_them(pattern):
    try:
        expected = [text for text in braceexpand(pattern, escape=False) if text.strip()]
    except ValueError:
        with pytest.raises(ValueError, match="Unbalanced"):
            list(places(pattern))
        return
    assert len(list(places(pattern))) == len(expected)


def test_many_paths_are_fine():
    assert sum(1 for _ in places("{a..e..2}/{000..999}{,x}.tar")) == 6000

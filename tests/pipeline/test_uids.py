"""How a sample gets its uid: one by one and by the table, the same."""

from collections import Counter

import numpy as np
import polars as pl
import pytest

from pipeline.uids import first_unsorted, has_own_uid, key_uid, own_uid, sample_uid, table_uids, text_url_uid

OWN = "0123456789ABCDEF0123456789abcdef"
SCHEMA = dict.fromkeys(("uid", "key", "text", "url"), pl.String)


def test_from_text_and_url():
    """Values of `printf 'a doghttp://x/1.jpg' | md5sum`, and without the text."""
    assert text_url_uid("a dog", "http://x/1.jpg") == "73580803bfb29850198750a67088c554"
    assert text_url_uid(None, "http://x/1.jpg") == "19c772f4a0ea52a055e818d3fd01df4d"
    assert text_url_uid("a dog", None) is None
    assert text_url_uid("a dog", "") is None


def test_from_the_key():
    """Values of `printf '00000\\0abc' | b2sum -l 128` and of `printf '00000\\0abc\\0002' | b2sum -l 128`."""
    assert key_uid("00000", "abc", 0) == "880615f1c1037778dc9a465fc825901c"
    assert key_uid("00000", "abc", 2) == "fbd16ba1ffda009b9839bf5c3affa932"


@pytest.mark.parametrize("value", [None, 7, "", OWN[:-1], OWN + "0", "g" * 32, OWN + "\n"])
def test_of_another_form_is_none_of_its_own(value):
    assert own_uid(value) is None
    if value is None or isinstance(value, str):
        found = pl.select(has_own_uid(pl.lit(value, pl.String))).item()
        assert not found


def test_one_by_one_and_by_the_table():
    rows = [
        (OWN.lower(), "a", "t", "u"),
        (None, "a", "t", "u"),
        (None, "a", "t", None),
        (None, "b", None, ""),
        (None, "a", "t", None),
    ]
    frame = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    seen = Counter[str]()
    parts = [table_uids(frame[:3], "s", seen), table_uids(frame[3:], "s", seen)]
    earlier = [0, 0, 0, 0, 1]
    expected = [
        sample_uid(own, text, url, "s", key, count)
        for (own, key, text, url), count in zip(rows, earlier, strict=True)
    ]
    assert pl.concat(parts).to_list() == expected
    assert expected[0] == OWN.lower()
    assert expected[1] == text_url_uid("t", "u")
    assert expected[2:] == [key_uid("s", "a", 0), key_uid("s", "b", 0), key_uid("s", "a", 1)]
    assert seen == {"a": 2, "b": 1}


def test_first_unsorted():
    rows = np.array([(1, 5), (1, 5), (2, 0), (1, 9), (0, 0)], "u8,u8")
    assert first_unsorted(rows) == f"{1:016x}{9:016x}"
    assert first_unsorted(rows[:3]) is None

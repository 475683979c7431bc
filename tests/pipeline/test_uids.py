"""How a sample gets its uid, one by one and by the table; and the draw that depends on it."""

import hashlib
import math
import random
from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.uids import (
    draw,
    first_unsorted,
    key_uid,
    own_uid,
    own_uids,
    sample_uid,
    table_uids,
    text_uids,
    text_url_uid,
    uid_halves,
)
from tests.support.reference_draw import reference_draw, splitmix64

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
        found = pl.select(own_uids(pl.lit(value, pl.String))).item()
        assert not found


@pytest.mark.parametrize(
    "value", ["00112233-4455-6677-8899-AABBCCDDEEFF", "00112233445566778899aabbccddeeff"]
)
def test_a_uuid_is_a_uid(value):
    assert own_uid(value) == "00112233445566778899aabbccddeeff"
    assert pl.select(own_uids(pl.lit(value))).item() == "00112233445566778899aabbccddeeff"
    assert own_uid(value[:-1] + "g") is None
    assert own_uid("0011223344556677-8899-AABB-CCDD-EEFF") is None


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


def test_of_texts():
    """RFC 1321's test suite gives the first two digests; the third is md5 of UTF-8 bytes."""
    texts = pl.Series(["", "abc", "Müller 日本"])
    md5 = hashlib.md5(b"M\xc3\xbcller \xe6\x97\xa5\xe6\x9c\xac", usedforsecurity=False).hexdigest()
    assert text_uids(texts).to_list() == [
        "d41d8cd98f00b204e9800998ecf8427e",
        "900150983cd24fb0d6963f7d28e17f72",
        md5,
    ]
    assert text_uids(texts.clear()).dtype == pl.String


def test_first_unsorted():
    rows = np.array([(1, 5), (1, 5), (2, 0), (1, 9), (0, 0)], "u8,u8")
    assert first_unsorted(rows) == f"{1:016x}{9:016x}"
    assert first_unsorted(rows[:3]) is None


# --- the draw ---------------------------------------------------------------------------------------

UIDS = pl.Series([f"{random.Random(row).getrandbits(128):032x}" for row in range(20_000)])


def test_reference_is_splitmix64():
    assert splitmix64(0) == 0xE220A8397B1DCDAF  # the first outputs for seed 0, as published
    assert splitmix64(0x9E3779B97F4A7C15) == 0x6E789E6AA1B965F4


@pytest.mark.parametrize("seed", [0, 1, 42, 2**63 - 1])
def test_draw_equals_reference(seed):
    assert draw(seed, UIDS[:200]).tolist() == [reference_draw(seed, uid) for uid in UIDS[:200]]


def test_draw_golden_values():
    uids = pl.Series(["0" * 32, "f" * 32, "0123456789abcdef" * 2])
    assert draw(0, uids).tolist() == [reference_draw(0, uid) for uid in uids]
    assert uid_halves(pl.Series(["0123456789abcdef0000000000000001"])) == (0x0123456789ABCDEF, 1)


@given(st.integers(0, 2**63 - 1), st.lists(st.text("0123456789abcdef", min_size=32, max_size=32), min_size=1))
def test_draw_is_pure_and_within_bounds(seed, uids):
    drawn = draw(seed, pl.Series(uids))
    assert ((drawn >= 0) & (drawn < 1)).all()
    assert drawn.tolist() == [reference_draw(seed, uid) for uid in uids]


def test_draw_does_not_depend_on_order_or_batches():
    whole, order = draw(7, UIDS), np.random.default_rng(0).permutation(len(UIDS))
    assert (draw(7, UIDS[order]) == whole[order]).all()
    parts = [draw(7, UIDS[start : start + 333]) for start in range(0, len(UIDS), 333)]
    assert (np.concatenate(parts) == whole).all()
    assert draw(7, UIDS[:0]).shape == (0,)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_draw_is_uniform(seed):
    """Kolmogorov-Smirnov: sqrt(n) D exceeds 1.95 with probability 0.001."""
    drawn = np.sort(draw(seed, UIDS))
    n = len(drawn)
    ranks = np.arange(n) / n
    distance = max(np.abs(drawn - ranks).max(), np.abs(drawn - ranks - 1 / n).max())
    assert distance * math.sqrt(n) < 1.95


def test_draws_of_neighbouring_seeds_and_uids_are_unrelated():
    assert abs(np.corrcoef(draw(0, UIDS), draw(1, UIDS))[0, 1]) < 0.03
    counted = draw(0, pl.Series([f"{row:032x}" for row in range(20_000)]))
    assert abs(np.corrcoef(counted[:-1], counted[1:])[0, 1]) < 0.03
    assert abs(counted.mean() - 0.5) < 0.01

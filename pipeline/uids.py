"""Uids: where a sample's uid comes from, how uids are searched, and the random draw that depends on them.

A sample's uid is its own if it has one of 32 hex digits; else md5 of text + url, as cc2dataset and so
DataComp make it; else a hash of the shard, the key, and the number of earlier samples with that key.
"""

import hashlib
import re
from binascii import unhexlify

import numpy as np
import polars as pl


def _mix(state: np.ndarray) -> np.ndarray:
    """splitmix64's finaliser: a bijection of uint64 that passes PractRand (Steele et al. 2014)."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = state ^ (state >> np.uint64(31))
    return mixed


def uid_halves(uids: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """(n,) String of 32 hex digits -> their upper and lower 64 bits, two (n,) uint64 arrays."""
    digits = uids.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    words = np.frombuffer(unhexlify(digits.buffers()[2]) if len(digits) else b"", ">u8").astype(np.uint64)
    return words[0::2], words[1::2]


def search_uids(rows: np.ndarray, high: np.ndarray, low: np.ndarray, side: str) -> np.ndarray:
    """(m,) how many of the (n,) sorted rows of u8,u8 come before each uid, its equals with them for side
    `right`. Rows may be a mapped file: about 2 log n of them are read."""
    first, past = np.zeros(len(high), np.int64), np.full(len(high), len(rows), np.int64)
    while (apart := first < past).any():
        middle = np.where(apart, (first + past) // 2, 0)
        found = rows[middle]
        equal, less = found["f0"] == high, found["f0"] < high
        before = less | (equal & ((found["f1"] <= low) if side == "right" else (found["f1"] < low)))
        first = np.where(apart & before, middle + 1, first)
        past = np.where(apart & ~before, middle, past)
    return first


def first_unsorted(rows: np.ndarray) -> str | None:
    """Of (n,) rows of u8,u8 the first uid that comes after a larger one; None where they are sorted."""
    high, low = rows["f0"], rows["f1"]
    wrong = (high[:-1] > high[1:]) | ((high[:-1] == high[1:]) & (low[:-1] > low[1:]))
    if not wrong.any():
        return None
    place = int(wrong.argmax()) + 1
    return f"{int(high[place]):016x}{int(low[place]):016x}"


def draw(seed: int, uids: pl.Series) -> np.ndarray:
    """(n,) float64 uniform in [0, 1), a pure function of (seed, uid): the same on every machine."""
    high, low = uid_halves(uids)
    golden = np.uint64(0x9E3779B97F4A7C15)
    with np.errstate(over="ignore"):
        state = _mix(np.full(len(uids), seed, np.uint64) + golden)
        state = _mix((state ^ high) + golden)
        state = _mix((state ^ low) + golden)
    return (state >> np.uint64(11)) * 2.0**-53


UID = re.compile(r"[0-9a-fA-F]{32}")


def own_uid(value: object) -> str | None:
    """The uid that a sample brings along, in lower case; None where it is of another form."""
    return value.lower() if isinstance(value, str) and UID.fullmatch(value) else None


def made_uid(text: str | None, url: str | None) -> str | None:
    """md5 of text + url; None without a url."""
    if not url:
        return None
    return hashlib.md5(((text or "") + url).encode(), usedforsecurity=False).hexdigest()


def placed_uid(shard: str, key: str, occurrence: int) -> str:
    """A uid where all else is missing; names hold no NUL, so the parts cannot mix. `occurrence` counts the
    earlier samples of the shard with the same key."""
    text = "\0".join((shard, key, str(occurrence)) if occurrence else (shard, key))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

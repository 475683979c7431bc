"""Uids: how a sample gets one, how uids are searched, and the random draw that depends on them.

The rule, in this order (`sample_uid` for one sample, `table_uids` for a table):

1. the sample's own uid, in lower case, if it has one of 32 hexadecimal digits; a UUID without its dashes;
2. md5 of text + url if it has a url, as cc2dataset and so DataComp make uids;
3. a hash of the shard's name, the key, and how often the key came before in the shard.
"""

import hashlib
import re
from binascii import unhexlify
from collections import Counter

import numpy as np
import polars as pl

UID = re.compile(r"[0-9a-fA-F]{32}")
UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
UUID_LENGTH = 36


# --- the rule -------------------------------------------------------------------------------------


def sample_uid(own: object, text: str | None, url: str | None, shard: str, key: str, earlier: int) -> str:
    """The uid of one sample. `own`: what its metadata gives as uid, of any type. `earlier`: the number of
    earlier samples of the shard that count for its key."""
    return own_uid(own) or text_url_uid(text, url) or key_uid(shard, key, earlier)


def table_uids(frame: pl.DataFrame, shard: str, seen: Counter[str]) -> pl.Series:
    """(n,) uids of a table's rows. `frame` has the String columns `uid` (as `own_uids` gives it),
    `key`, `text` and `url`. `seen` counts, by key, the shard's rows that took their uid from the key; it is
    updated."""
    if not frame["uid"].null_count():
        return frame["uid"]
    uids = frame["uid"].to_list()
    columns = (frame[name].to_list() for name in ("key", "text", "url"))
    for index, (own, key, text, url) in enumerate(zip(uids, *columns, strict=True)):
        if own is None:
            uids[index] = text_url_uid(text, url)
            if uids[index] is None:
                uids[index] = key_uid(shard, key, seen[key])
                seen[key] += 1
    return pl.Series("uid", uids, pl.String)


def own_uids(column: pl.Expr) -> pl.Expr:
    """A String column of uids that samples have of their own, as `own_uid` gives them."""
    is_uuid = (column.str.len_bytes() == UUID_LENGTH) & column.str.contains(f"^{UUID.pattern}$")
    plain = pl.when(is_uuid).then(column.str.replace_all("-", "", literal=True)).otherwise(column)
    return pl.when(plain.str.contains(f"^{UID.pattern}$")).then(plain.str.to_lowercase())


def own_uid(value: object) -> str | None:
    """The uid that a sample's metadata gives, in lower case and without the dashes of a UUID; None if it is
    not a string of 32 hex digits."""
    if not isinstance(value, str):
        return None
    plain = value.replace("-", "") if UUID.fullmatch(value) else value
    return plain.lower() if UID.fullmatch(plain) else None


def text_url_uid(text: str | None, url: str | None) -> str | None:
    """md5 of text + url; None without a url."""
    if not url:
        return None
    return hashlib.md5(((text or "") + url).encode(), usedforsecurity=False).hexdigest()


def text_uids(texts: pl.Series) -> pl.Series:
    """(n,) 32 hex digits for each text, by which a draw may treat equal texts as one."""
    encoded = texts.cast(pl.Binary).to_list()
    digests = [hashlib.md5(text, usedforsecurity=False).hexdigest() for text in encoded]
    return pl.Series(digests, dtype=pl.String)


def key_uid(shard: str, key: str, earlier: int) -> str:
    """A hash of where the sample is. `earlier` tells apart samples of equal keys. Names hold no NUL, so two
    different triples never make the same text."""
    text = "\0".join((shard, key, str(earlier)) if earlier else (shard, key))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


# --- as numbers -----------------------------------------------------------------------------------


def uid_halves(uids: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """(n,) String of 32 hex digits -> their upper and lower 64 bits, two (n,) uint64 arrays."""
    digits = uids.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    words = np.frombuffer(unhexlify(digits.buffers()[2]) if len(digits) else b"", ">u8").astype(np.uint64)
    return words[0::2], words[1::2]


def search_uids(rows: np.ndarray, high: np.ndarray, low: np.ndarray, side: str) -> np.ndarray:
    """Binary search of (m,) uids, given as halves, in (n,) sorted rows of dtype u8,u8. Returns (m,) int64:
    how many rows are smaller than each uid (`side` left), or smaller or equal (`side` right). Rows may be a
    mapped file: about 2 log n of them are read."""
    first = np.zeros(len(high), np.int64)
    past = np.full(len(high), len(rows), np.int64)
    while (apart := first < past).any():
        middle = np.where(apart, (first + past) // 2, 0)
        probe = rows[middle]
        equal = probe["f0"] == high
        less = probe["f0"] < high
        before = less | (equal & ((probe["f1"] <= low) if side == "right" else (probe["f1"] < low)))
        first = np.where(apart & before, middle + 1, first)
        past = np.where(apart & ~before, middle, past)
    return first


def first_unsorted(rows: np.ndarray) -> str | None:
    """The first uid of (n,) rows of dtype u8,u8 that follows a larger one; None if the rows are sorted."""
    high = rows["f0"]
    low = rows["f1"]
    wrong = (high[:-1] > high[1:]) | ((high[:-1] == high[1:]) & (low[:-1] > low[1:]))
    if not wrong.any():
        return None
    index = int(wrong.argmax()) + 1
    return f"{int(high[index]):016x}{int(low[index]):016x}"


# --- the draw -------------------------------------------------------------------------------------


def draw(seed: int, uids: pl.Series) -> np.ndarray:
    """(n,) float64 uniform in [0, 1), a pure function of (seed, uid): the same on every machine."""
    high, low = uid_halves(uids)
    golden = np.uint64(0x9E3779B97F4A7C15)
    with np.errstate(over="ignore"):
        state = _mix(np.full(len(uids), seed, np.uint64) + golden)
        state = _mix((state ^ high) + golden)
        state = _mix((state ^ low) + golden)
    return (state >> np.uint64(11)) * 2.0**-53


def _mix(state: np.ndarray) -> np.ndarray:
    """splitmix64's finaliser: a bijection of uint64 that passes PractRand (Steele et al. 2014)."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = state ^ (state >> np.uint64(31))
    return mixed

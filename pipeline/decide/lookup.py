"""Samples by the words that people name them with.

    find(session, ["7d1e141fee937058d0f5f11e1fa44f04", "7d1e14", "00000/000012", "000012"])

A word is a uid, the beginning of one, or a key, with or without its shard before it. A key may name several
samples. Of a word that begins several uids, and of one that names nothing, the message says so.

What is read follows from the words: uids for uids and their beginnings, keys for keys. A word that could be
either is looked for among keys first if it has digits only, as most keys do, and else among uids.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import brief
from pipeline.ordered_map import threaded_map
from pipeline.plan.session import Session
from pipeline.progress import watched

Place = tuple[str, int]  # (shard, row)

UID = re.compile(r"[0-9a-f]{32}")
LEAST = 4  # digits of the beginning of a uid
PREFIX = re.compile(rf"[0-9a-f]{{{LEAST},31}}")
SHORT = re.compile(rf"[0-9a-f]{{1,{LEAST - 1}}}")
DIGITS = re.compile(r"[0-9]+")
CANDIDATES = 5  # uids that an ambiguous beginning names
MOST = 100  # samples of one key
LOOKING = "looking samples up"


@dataclass(frozen=True)
class Found:
    """The samples that words name, in the order of the words, and a message for each word that names none."""

    places: Sequence[Place]
    unknown: Sequence[str]


def find(session: Session, words: Sequence[str]) -> Found:
    """The samples that these words name. Raises what reading the samples does."""
    wanted = list(dict.fromkeys(word.strip() for word in words))
    uids = {_plain(word): word for word in wanted if UID.fullmatch(_plain(word))}
    found = dict[str, list[Place]]()
    unknown = dict[str, str]()
    for uid, place in _with_uids(session, list(uids)):
        found.setdefault(uids[uid], []).append(place)
    rest = [word for word in wanted if word not in found]
    _by_keys(session, [word for word in rest if _like_key(word)], found, unknown)
    rest = [word for word in rest if word not in found and word not in unknown]
    _by_prefixes(session, [word for word in rest if PREFIX.fullmatch(_plain(word))], found, unknown)
    _by_keys(session, [w for w in rest if w not in found and not _like_key(w)], found, unknown)
    for word in (word for word in wanted if word not in found and word not in unknown):
        what = "uid" if UID.fullmatch(_plain(word)) else "uid, beginning of a uid, or key"
        unknown[word] = f"no sample of the pool has the {what} {_shown(word)}{_hint(word)}"
    places = dict.fromkeys(place for word in wanted for place in found.get(word, ()))
    return Found(list(places), [unknown[word] for word in wanted if word in unknown and word not in found])


def with_uids(session: Session, uids: Sequence[str]) -> dict[str, Place]:
    """The first sample of the pool with each of these uids, as far as there is one."""
    found = dict[str, Place]()
    for uid, place in _with_uids(session, uids):
        found.setdefault(uid, place)
    return found


def _plain(word: str) -> str:
    """A word as a uid is written: in lower case, a UUID without its dashes."""
    return word.replace("-", "").lower()


def _like_key(word: str) -> bool:
    """Whether a word is looked for among the keys first."""
    return bool(DIGITS.fullmatch(word)) and not UID.fullmatch(word)


def _shown(word: str) -> str:
    """A word, for a message."""
    return _plain(word) if UID.fullmatch(_plain(word)) else brief(word)


def _hint(word: str) -> str:
    """What to do about a word that is too short to be looked for among the beginnings of uids."""
    short = SHORT.fullmatch(_plain(word))
    return f"; the beginning of a uid needs at least {LEAST} digits" if short else ""


def _with_uids(session: Session, uids: Sequence[str]) -> list[tuple[str, Place]]:
    """(uid, place) of every sample with one of these uids, in pool order."""
    if not uids:
        return []
    columns, names = session.columns, [shard.name for shard in session.shards]
    rows_by_shard = threaded_map(lambda shard: columns.find(shard, uids), names)
    by_shard = list(zip(names, watched(LOOKING, rows_by_shard, len(names)), strict=True))
    found = list[tuple[str, Place]]()
    for shard, rows in ((shard, rows) for shard, rows in by_shard if rows):
        named = columns.rows_at(shard, rows, ["uid"])["uid"]
        found += [(uid, (shard, row)) for uid, row in zip(named, rows, strict=True)]
    return found


def _by_prefixes(
    session: Session, words: Sequence[str], found: dict[str, list[Place]], unknown: dict[str, str]
) -> None:
    """The samples whose uids begin with one of these; a word that begins several uids is `unknown`."""
    if not words:
        return
    prefixes = {word: _plain(word) for word in words}
    names = [shard.name for shard in session.shards]
    starting = session.columns.samples.starting
    starts = list(prefixes.values())
    frames = watched(LOOKING, threaded_map(lambda shard: starting(shard, starts), names), len(names))
    hits = [
        (uid, (n, row))
        for n, f in zip(names, frames, strict=True)
        for row, uid in f.select("row", "uid").iter_rows()
    ]
    for word, prefix in prefixes.items():
        own = [(uid, place) for uid, place in hits if uid.startswith(prefix)]
        uids = sorted({uid for uid, _ in own})
        if len(uids) == 1:
            found[word] = [place for _, place in own]
        elif uids:
            more = f" and {len(uids) - CANDIDATES:,} more" if len(uids) > CANDIDATES else ""
            listed = ", ".join(uids[:CANDIDATES])
            unknown[word] = (
                f"{_shown(word)} begins {len(uids):,} uids: {listed}{more}; give more of its digits"
            )


def _by_keys(
    session: Session, words: Sequence[str], found: dict[str, list[Place]], unknown: dict[str, str]
) -> None:
    """The samples with these keys, with or without their shard; a key of very many samples is `unknown`."""
    names = [shard.name for shard in session.shards]
    wanted = {name: _keys_in(name, words) for name in names}
    names = [name for name in names if wanted[name]]
    keyed = session.columns.samples.keyed
    hits = dict[str, list[Place]]()
    frames = watched(LOOKING, threaded_map(lambda n: keyed(n, list(wanted[n])), names), len(names))
    for shard, frame in zip(names, frames, strict=True):
        for row, key in frame.select("row", "key").iter_rows():
            hits.setdefault(wanted[shard][key], []).append((shard, row))
    for word, places in hits.items():
        if len(places) <= MOST:
            found[word] = places
            unknown.pop(word, None)
        else:
            shard, _ = places[0]
            unknown[word] = (
                f"{len(places):,} samples have the key {_shown(word)}; name its shard: {shard}/{word}"
            )


def _keys_in(shard: str, words: Sequence[str]) -> dict[str, str]:
    """The keys that words name in a shard, and the word for each."""
    own = {word.removeprefix(f"{shard}/"): word for word in words if word.startswith(f"{shard}/")}
    return {word: word for word in words} | own

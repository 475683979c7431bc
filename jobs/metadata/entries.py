"""A metadata list from its sources: which entries it takes, in which order, and how it is written. No I/O.

**Source**: MetaCLIP (arXiv 2309.16671) removes empty strings and single punctuation marks; MetaCLIP 2 (arXiv
2507.22062) also removes entries of punctuation alone and entries over 256 characters.
"""

import gzip
import json
import string
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

SUFFIXES = (".json", ".txt", ".json.gz", ".txt.gz")


class Source(NamedTuple):
    """Entries of one source, best first and at most as many as its cap; and how many passed its threshold."""

    name: str
    entries: Sequence[str]
    passed: int


class Row(NamedTuple):
    """Entries of one source: over its threshold, within its cap, and new in the list."""

    source: str
    passed: int
    capped: int
    new: int


NUMERALS = Source("numerals", [str(number) for number in range(100)], 100)


def fits(entry: str, max_length: int) -> bool:
    """Whether an entry is one line of at most `max_length` characters and not empty or punctuation alone."""
    if len(entry) > max_length or "\t" in entry or entry.splitlines() != [entry]:
        return False
    return not all(c in string.punctuation or unicodedata.category(c)[0] in "PZC" for c in entry)


def union(sources: Iterable[Source], max_length: int) -> tuple[list[str], list[Row]]:
    """All entries that fit, each once, in the order of the sources; and the counts of each source."""
    seen: dict[str, None] = {}
    rows = []
    for source in sources:
        before = len(seen)
        seen |= dict.fromkeys(entry for entry in source.entries if fits(entry, max_length))
        rows.append(Row(source.name, source.passed, len(source.entries), len(seen) - before))
    return list(seen), rows


def encode(entries: Sequence[str], path: str) -> bytes:
    """The list as UTF-8, one entry per line: JSON, plain text or gzip of these, by the ending of `path`.

    Equal lists make equal bytes: gzip's time stamp is 0.
    """
    if path.removesuffix(".gz").endswith(".json"):
        data = ("[\n" + ",\n".join(json.dumps(e, ensure_ascii=False) for e in entries) + "\n]\n").encode()
    else:
        data = "".join(f"{entry}\n" for entry in entries).encode()
    return gzip.compress(data, mtime=0) if path.endswith(".gz") else data

"""A metadata list out of its sources: which entries fit, in which order, and how it is written. Pure.

**Source**: MetaCLIP (arXiv 2309.16671) removes empty strings and single punctuation marks, MetaCLIP 2 (arXiv
2507.22062) also pure punctuation and entries over 256 characters.
"""

import gzip
import json
import string
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

SUFFIXES = (".json", ".txt", ".json.gz", ".txt.gz")


class Source(NamedTuple):
    """Entries of one source, best first and under its cap, and how many passed its threshold."""

    name: str
    entries: Sequence[str]
    found: int


class Row(NamedTuple):
    """The books of one source: over the threshold, under the cap, and new in the list."""

    source: str
    found: int
    capped: int
    new: int


NUMERALS = Source("numerals", [str(number) for number in range(100)], 100)


def fits(entry: str, max_length: int) -> bool:
    """Whether it is not empty, of max_length characters at most, on one line, and not all punctuation."""
    if len(entry) > max_length or "\t" in entry or entry.splitlines() != [entry]:
        return False
    return not all(c in string.punctuation or unicodedata.category(c)[0] in "PZC" for c in entry)


def union(sources: Iterable[Source], max_length: int) -> tuple[list[str], list[Row]]:
    """Entries in the order of the sources, each once, without those that do not fit; and the books."""
    seen: dict[str, None] = {}
    rows = []
    for source in sources:
        before = len(seen)
        seen |= dict.fromkeys(entry for entry in source.entries if fits(entry, max_length))
        rows.append(Row(source.name, source.found, len(source.entries), len(seen) - before))
    return list(seen), rows


def encode(entries: Sequence[str], path: str) -> bytes:
    """UTF-8, an entry a line: a JSON list, or plain; gzip without a time. Equal lists make equal bytes."""
    if path.removesuffix(".gz").endswith(".json"):
        data = ("[\n" + ",\n".join(json.dumps(e, ensure_ascii=False) for e in entries) + "\n]\n").encode()
    else:
        data = "".join(f"{entry}\n" for entry in entries).encode()
    return gzip.compress(data, mtime=0) if path.endswith(".gz") else data

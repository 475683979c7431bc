"""Headers that say more of the next member of a tar: GNU's long names and pax records.

    attributes(b"x", b"14 path=a.jpg\\n")     # {"path": b"a.jpg"}

Format: POSIX.1-2017, `pax`, "pax Header Block"; GNU tar 1.35 manual, "Basic Tar Format".
"""

from collections.abc import Iterator

KINDS = b"LKxXg"  # GNU long name and long link, pax, Solaris's pax, global pax
GLOBAL = b"g"
MAX_BYTES = 1 << 20  # of one header's attributes; real ones have a few hundred
MOST_HEADERS = 64  # before one member; real ones have at most three
MOST_RECORDS = 4096  # of one pax header; real ones have a few dozen
LONGEST_NUMBER = 19  # digits of a record's length, and of a size
LONG = {b"L": "path", b"K": "linkpath"}


def attributes(kind: bytes, data: bytes) -> dict[str, bytes]:
    """What a header of this kind sets: `path`, `linkpath`, `size`, `sparse`. Raises ValueError."""
    return {LONG[kind]: data} if kind in LONG else dict(_pax(data))


def _pax(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The records of a pax header, "<length> <keyword>=<value>\\n", that matter here."""
    at, end = 0, len(data.rstrip(b"\0"))
    for _ in range(MOST_RECORDS):
        if at >= end:
            return
        blank = data.find(b" ", at, at + LONGEST_NUMBER + 1)
        length = data[at:blank] if blank > at else b""
        after = at + int(length) if length.isdigit() else 0
        keyword, equals, value = data[blank + 1 : max(after - 1, 0)].partition(b"=")
        size = keyword == b"size" and value
        if not equals or not blank < after <= end or size and not _is_size(size):
            raise ValueError(f"garbled pax records (at {data[at : at + 24]!r}) in")
        if keyword.startswith(b"GNU.sparse."):
            yield "sparse", value
        elif keyword in (b"path", b"linkpath", b"size") and value:
            yield keyword.decode(), value
        at = after
    if at < end:
        raise ValueError(f"more than {MOST_RECORDS:,} pax records in")


def _is_size(value: bytes) -> bool:
    """Whether a record's value is a size that a file can have."""
    return value.isdigit() and len(value) < LONGEST_NUMBER

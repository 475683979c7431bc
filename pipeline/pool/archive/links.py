"""Hard and symbolic links of a tar lead to files before them in the same tar, and nowhere else: the file
system is never asked.

What a link leads to is read once more: of a local file or object storage by its byte range, of a packed tar
only if it is among the last bytes that were unpacked.
"""

import posixpath
from collections import deque
from typing import NamedTuple

from pipeline.storage.ranges import Source

KINDS = b"12"
HARD = b"1"
MOST_FILES = 1 << 16  # before a link, that it may lead to
FREE = 64 << 20  # bytes that the links of a tar may lead to, whatever its size,
RATIO = 8  # and times the bytes before the link: so a small tar cannot stand for a large one


class Target(NamedTuple):
    """What a link leads to: bytes [offset, offset + size), or why it leads nowhere."""

    offset: int
    size: int
    data: memoryview | None
    trouble: str


class Earlier:
    """The files of a tar so far."""

    def __init__(self) -> None:
        self._files: deque[tuple[str, int, int]] = deque(maxlen=MOST_FILES)
        self._by_name: dict[str, tuple[int, int]] = {}  # filled when a link comes: few tars have any
        self._followed = 0
        self.add = self._files.append  # (name, offset, size)

    def follow(self, source: Source, name: str, link: str, hard: bool, at: int) -> Target:
        """What the link `name` at byte `at` leads to. A symbolic link is relative to its own folder."""
        path = _plain(link if hard else posixpath.join(posixpath.dirname(_plain(name)), link))
        offset, size = self._names().get(path, (-1, 0))
        if offset < 0 or path.startswith("/") and not hard:
            return self._nowhere(name, link, f"which is none of the {MOST_FILES:,} files before it")
        if self._followed + size > FREE + RATIO * at:
            return self._nowhere(name, link, "and the links before it led to too many bytes already")
        data = source.again(offset, size)
        if data is None or len(data) < size:
            return self._nowhere(name, link, "which lies too far before it in a packed tar: unpack the tar")
        self._followed += size
        self.add((name, offset, size))
        return Target(offset, size, memoryview(data), "")

    def _names(self) -> dict[str, tuple[int, int]]:
        """Where the files are, by name: the files that have come since the last link are entered."""
        names = self._by_name
        for name, offset, size in self._files:
            plain = _plain(name)
            names.pop(plain, None)
            names[plain] = offset, size
        self._files.clear()
        while len(names) > MOST_FILES:
            del names[next(iter(names))]  # the oldest
        return names

    @staticmethod
    def _nowhere(name: str, link: str, why: str) -> Target:
        return Target(0, 0, None, f"{name} is a link to {link}, {why}")


def _plain(path: str) -> str:
    """A path in a tar without `.` and `..`."""
    return posixpath.normpath(path) if path else path

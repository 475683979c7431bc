"""The paths and patterns of a pool, taken apart.

    for place in places("/data/{a,b}/*.tar"): ...    # two places: root /data/a and /data/b, parts ["*.tar"]

A path that exists is never taken for a pattern, neither for a glob (`[`, `?`, `*`) nor for braces.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

from braceexpand import braceexpand
from fsspec.core import has_magic, url_to_fs
from fsspec.implementations.local import LocalFileSystem

from pipeline.errors import brief

MOST_PATHS = 2_000_000  # that the braces of a pattern may stand for; DataComp's largest pool has 1.3 million
MOST_BRACES = 20  # inside each other
_SEQUENCE = re.compile(r"(-?\d+|[A-Za-z])\.\.(-?\d+|[A-Za-z])(?:\.\.-?(\d+))?\n?")  # as braceexpand has it
_DIGITS = 18  # of a number in braces
_MARK = re.compile(r"[{},]")


class Place(NamedTuple):
    """A path, or a glob: the folder `path`, and the parts below it, of which the first has magic."""

    text: str
    fs: Any
    path: str
    parts: tuple[str, ...] = ()

    @property
    def local(self) -> bool:
        """Whether it lies on the local disk."""
        return isinstance(self.fs, LocalFileSystem)

    @property
    def web(self) -> bool:
        """Whether it is a web address."""
        return is_web(self.text)

    def full(self, path: str) -> str:
        """A path of this file system as the rest of Winnow knows it: with its protocol, unless it is
        local."""
        return path if self.local else str(self.fs.unstrip_protocol(path))


def is_web(text: str) -> bool:
    """Whether a text is a web address. There, ? begins a query."""
    return text.startswith(("http://", "https://"))


def places(pattern: str) -> Iterator[Place]:
    """The places that a pattern stands for: one, or one for each text that its braces give."""
    if (literal := _existing(pattern)) is not None:
        yield literal
        return
    _check_braces(pattern)
    for text in braceexpand(pattern, escape=False):
        if text.strip():
            yield _existing(text) or _place(text)


def _check_braces(pattern: str) -> None:
    """Raises ValueError if the braces of a pattern stand for too many paths, or are too deep inside each
    other. `braceexpand` writes out what is in braces before the first path is known."""
    group = _Group(0)  # the whole pattern, as if it stood in braces
    around: list[_Group] = []
    for match in _MARK.finditer(pattern):
        if match[0] == "{":
            around.append(group)
            group = _Group(match.end())
            if len(around) > MOST_BRACES:
                raise ValueError(
                    f"pool.shards: more than {MOST_BRACES} braces inside each other in {brief(pattern)}"
                )
        elif not around:
            continue  # a comma outside of braces; of a brace too many, braceexpand says so
        elif match[0] == ",":
            group = _Group(group.start, group.others + group.texts, 1)
        else:
            inside = _SEQUENCE.fullmatch(pattern, group.start, match.start())
            count = _steps(*inside.groups()) if inside else group.others + group.texts
            group = around.pop()
            group = group._replace(texts=group.texts * count)
        if group.others + group.texts > MOST_PATHS:
            raise ValueError(
                f"pool.shards: the braces of {brief(pattern)} stand for more than {MOST_PATHS:,} paths; give a "
                "folder or a glob"
            )


class _Group(NamedTuple):
    """Braces that are open: where their inside begins, how many texts the parts before the last comma stand
    for, and how many the part since it."""

    start: int
    others: int = 0
    texts: int = 1


def _steps(first: str, last: str, step: str | None) -> int:
    """How many texts a sequence such as `00..99` or `a..z` stands for, or a few more."""
    if max(len(first), len(last)) > _DIGITS:
        return MOST_PATHS + 1
    letters = first.isalpha()
    if letters != last.isalpha():
        return 1  # a text like any other
    ends = (ord(first), ord(last)) if letters else (int(first), int(last))
    return abs(ends[1] - ends[0]) // (int((step or "")[-_DIGITS:] or 1) or 1) + 1


def _existing(text: str) -> Place | None:
    """The local path that a text is, if it exists and could be taken for a pattern."""
    if "{" not in text and not has_magic(text) or not text.strip() or is_web(text):
        return None
    fs, path = _file_system(text)
    if isinstance(fs, LocalFileSystem) and os.path.lexists(path):
        return Place(text, fs, os.path.abspath(path))
    return None


def _file_system(text: str) -> tuple[Any, str]:
    """The file system of a path or URL, and the path as that knows it."""
    if ":" not in text:  # of ten thousand paths, half the time
        return _local(), os.path.expanduser(text)
    file_system, path = url_to_fs(os.path.expanduser(text))
    return file_system, path


@cache
def _local() -> LocalFileSystem:
    """The local disk."""
    return LocalFileSystem()


def _place(text: str) -> Place:
    """A text without braces that is not an existing path with magic."""
    fs, path = _file_system(text)
    local = isinstance(fs, LocalFileSystem)
    path = os.path.abspath(path) if local else path.rstrip("/")
    if not has_magic(path) or is_web(text):
        return Place(text, fs, path)
    parts = path.split("/")
    first = next(index for index, part in enumerate(parts) if has_magic(part))
    while local and first < len(parts) and os.path.lexists("/".join(parts[: first + 1])):
        first += 1  # a folder that is called like a pattern
        while first < len(parts) and not has_magic(parts[first]):
            first += 1
    if first == len(parts):  # a file that does not exist, in a folder that is called like a pattern
        return Place(text, fs, path)
    return Place(text, fs, "/".join(parts[:first]) or ("/" if local else ""), tuple(parts[first:]))


# --- the root -------------------------------------------------------------------------------------


def root_of(pattern: str, roots: Iterable[str]) -> str:
    """The folder below which a pattern names shards. `roots`: those of its places. It follows from the
    pattern alone, not from what exists: of braces, the folder before the first part that has any."""
    roots = set(roots)
    if len(roots) > 1 and "{" in pattern:
        before = pattern.partition("{")[0].rpartition("/")
        place = _place(before[0] + before[1] or ".")
        roots.add(place.full(place.path))
    return common_folder(sorted(roots))


def common_folder(roots: Sequence[str]) -> str:
    """The deepest folder in which all of these are; "" if they are on different storage."""
    shared = os.path.commonprefix([root.split("/") for root in roots])
    if shared in ([""], ["", ""]):
        return "/"
    return "/".join(shared) + ("/" if len(shared) == 2 and not shared[1] else "")  # s3:// of two buckets


def parent(path: str) -> str:
    """The folder of a full path or URL."""
    if is_web(path):
        path = path.partition("?")[0]
    return path.rpartition("/")[0] or "/"

"""The paths and patterns of a pool, taken apart.

    for place in places("/data/{a,b}/*.tar"): ...    # two places: root /data/a and /data/b, parts ["*.tar"]

A path that exists is never taken for a pattern, neither for a glob (`[`, `?`, `*`) nor for braces.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from braceexpand import braceexpand
from fsspec.core import has_magic, url_to_fs
from fsspec.implementations.local import LocalFileSystem


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
    for text in braceexpand(pattern, escape=False):
        if text.strip():
            yield _existing(text) or _place(text)


def _existing(text: str) -> Place | None:
    """The local path that a text is, if it exists and could be taken for a pattern."""
    if "{" not in text and not has_magic(text) or not text.strip() or is_web(text):
        return None
    fs, path = url_to_fs(os.path.expanduser(text))
    if isinstance(fs, LocalFileSystem) and os.path.lexists(path):
        return Place(text, fs, os.path.abspath(path))
    return None


def _place(text: str) -> Place:
    """A text without braces that is not an existing path with magic."""
    fs, path = url_to_fs(os.path.expanduser(text))
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

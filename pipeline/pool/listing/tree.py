"""Folders and files as a listing shows them, on a local disk and on other storage alike.

    tree = LocalTree()
    tree.nodes("/data/pool")            # [Node("0.tar", ...), ...]
    tree = ListedTree(fs, "pool", fs.find("pool", detail=True))

A local tree is listed folder by folder, and links are followed. Other storage is listed once, as a whole.
"""

import errno
import os
import stat
from collections.abc import Callable, Hashable, Iterable, Mapping
from itertools import chain
from typing import Any, NamedTuple, Protocol

import orjson

from pipeline.pool.listing import reasons
from pipeline.storage import layout
from pipeline.storage.identity import MISSING, listed_state, local_state

FILE, FOLDER = "file", "folder"
_BROKEN = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)  # errors of a link that leads nowhere

# Files that only Winnow writes; and pairs of which the first alone may be part of a sample
_MANIFEST, _STORE = layout.MANIFEST, layout.POOL
_INDEX = ("image.json", "image.index"), ("text.json", "text.index")
_PARTS = "parts"  # the folder of an index that was left in parts
_STORE_KEYS, _INDEX_KEYS = {"format", "pool"}, {"decision", "embedding"}  # of `store.json`, of a manifest


class File(NamedTuple):
    """Bytes of a file, None if the listing did not say, and its state (storage/identity.py). `beside`: the
    state of the file beside it that describes it; empty if there is none."""

    size: int | None
    state: str
    beside: str = ""


class Node(NamedTuple):
    """One entry of a folder. `kind`: FILE, FOLDER, or the reason why it is neither."""

    name: str
    path: str
    kind: str
    source: Any  # what the file system said of it


class Tree(Protocol):
    """What a search needs to know of storage."""

    def nodes(self, folder: str) -> Iterable[Node]:
        """The entries of a folder. Raises OSError."""

    def identity(self, folder: str) -> Hashable:
        """What tells a folder from all others, however it was reached; None if links do not occur."""

    def file(self, node: Node) -> File:
        """Size and state of a file."""

    def content(self, path: str) -> bytes:
        """The bytes of a small file. Raises OSError."""


class LocalTree:
    """The local disk. One call of `stat` for each file that is asked for, one for each link and folder."""

    def nodes(self, folder: str) -> list[Node]:
        """See Tree."""
        with os.scandir(folder) as entries:
            return [Node(entry.name, entry.path, kind_of(entry), entry) for entry in entries]

    def identity(self, folder: str) -> Hashable:
        """See Tree."""
        seen = os.stat(folder)
        return seen.st_dev, seen.st_ino

    def file(self, node: Node) -> File:
        """See Tree. A file that is gone meanwhile has the state MISSING."""
        try:
            seen = node.source.stat()
        except OSError as error:
            return File(None, MISSING if error.errno in _BROKEN else "")
        return File(seen.st_size, local_state(seen))

    def content(self, path: str) -> bytes:
        """See Tree."""
        with open(path, "rb") as file:
            return file.read(1 << 20)


class ListedTree:
    """What a listing of other storage returned: fsspec's infos, below `root`. All paths are as the file
    system has them."""

    def __init__(self, fs: Any, root: str, infos: Iterable[Mapping[str, Any]]) -> None:
        self.fs = fs
        self.folders: dict[str, dict[str, Node]] = {root: {}}
        self.itself: Node | None = None  # if the root is a file
        for info in infos:
            self._add(root, info)

    def _add(self, root: str, info: Mapping[str, Any]) -> None:
        """Enter one file or folder, and the folders that it lies in."""
        path = info["name"].rstrip("/")
        *above, name = path.removeprefix(root).lstrip("/").split("/")
        kind = {"file": FILE, "link": FILE, "directory": FOLDER}.get(info["type"], reasons.special(0))
        if not name:
            self.itself = Node(name, path, kind, info)
        if not name or info["name"].endswith("/") and kind == FILE:
            return  # a key that ends in / stands for a folder
        folder = root
        for part in above:
            below = f"{folder}/{part}" if folder else part
            self.folders.setdefault(folder, {}).setdefault(part, Node(part, below, FOLDER, None))
            folder = below
        self.folders.setdefault(folder, {})[name] = Node(name, path, kind, info)

    def entry(self, folder: str, name: str) -> Node | None:
        """An entry of a folder, if there is one."""
        return self.folders.get(folder, {}).get(name)

    def nodes(self, folder: str) -> Iterable[Node]:
        """See Tree."""
        return self.folders.get(folder, {}).values()

    def identity(self, folder: str) -> Hashable:
        """See Tree. Other storage has no links."""
        return None

    def file(self, node: Node) -> File:
        """See Tree."""
        return File(node.source["size"], listed_state(node.source))

    def content(self, path: str) -> bytes:
        """See Tree."""
        return bytes(self.fs.cat_file(path))


def kind_of(entry: "os.DirEntry[str]") -> str:
    """The kind of a local entry, as in Node; only links and special files cost a call of `stat`."""
    if entry.is_file(follow_symlinks=False):
        return FILE
    if entry.is_dir(follow_symlinks=False):
        return FOLDER
    try:
        return kind_of_mode(entry.stat().st_mode)
    except OSError as error:
        return reasons.NOWHERE if error.errno in _BROKEN else reasons.unreadable(error)


def kind_of_mode(mode: int) -> str:
    """The kind of what has this mode, as in Node."""
    if stat.S_ISREG(mode):
        return FILE
    return FOLDER if stat.S_ISDIR(mode) else reasons.special(mode)


def is_written(names: Iterable[str], content: Callable[[str], bytes]) -> bool:
    """Whether Winnow wrote a folder with these entries: a store, or an export that is a folder. `content`
    reads one of its files."""
    held = {_MANIFEST, _STORE, _PARTS, *chain(*_INDEX)}.intersection(names)
    if _MANIFEST in held or any(held.issuperset(pair) for pair in _INDEX):
        return True
    described = [(_STORE, _STORE_KEYS)]
    described += [(manifest, _INDEX_KEYS) for manifest, _ in _INDEX if _PARTS in held]
    return any(name in held and _has_keys(content, name, keys) for name, keys in described)


def _has_keys(content: Callable[[str], bytes], name: str, keys: set[str]) -> bool:
    """Whether a file is a JSON object with these keys."""
    try:
        return bool(orjson.loads(content(name)).keys() >= keys)
    except (OSError, ValueError, AttributeError):
        return False

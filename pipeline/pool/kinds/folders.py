"""The folders of a pool that consists of files: which there are, and the files in each.

Links are followed; a link back to a folder above it is passed over. So are hidden files and folders, and
folders that Winnow wrote.
"""

import hashlib
import os
from bisect import bisect_left, bisect_right
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from pipeline.pool.listing import reasons
from pipeline.pool.listing.patterns import Place, common_folder, places, root_of
from pipeline.pool.listing.search import ANY_DEPTH, Above, search
from pipeline.pool.listing.tree import FILE, FOLDER, LocalTree, is_written, kind_of
from pipeline.pool.shards import STATS
from pipeline.storage.identity import MISSING, listed_state, local_state

# Sizes of files, by name; None if the listing did not say.
Sizes = Mapping[str, int | None]


@dataclass(frozen=True)
class Entries:
    """The content of a folder, less hidden files.

    sizes        the files
    folders      the paths of the folders in it
    passed_over  path -> why it is neither: a link that leads nowhere, a FIFO
    sources      name -> what the file system said of a file
    identity     tells the folder from all others, however it was reached; None if there are no links
    written      whether Winnow wrote it
    """

    sizes: Sizes
    folders: Sequence[str]
    passed_over: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, Any] = field(default_factory=dict)
    identity: Hashable = None
    written: bool = False

    @cached_property
    def ordered(self) -> list[str]:
        """The names of the files, sorted."""
        return sorted(self.sizes)

    def state_of(self, name: str) -> str:
        """The state of a file; empty if there is none of that name."""
        return _file(self.sources[name])[1] if name in self.sources else ""

    def measured(self, first: str, last: str) -> tuple[int, str]:
        """Bytes and state of the files from `first` to `last`, in the order of names. The state changes if
        any of them is rewritten, renamed, removed or added; it is empty if the file system tells too
        little."""
        names = self.ordered[bisect_left(self.ordered, first) : bisect_right(self.ordered, last)]
        files = [_file(self.sources[name]) for name in names]
        size = sum(bytes_of_file for bytes_of_file, _ in files)
        if not all(state for _, state in files):
            return size, ""
        told = "\0".join(f"{name}\0{state}" for name, (_, state) in zip(names, files, strict=True))
        digest = hashlib.blake2b(os.fsencode(told), digest_size=16)
        return size, f"{size} {digest.hexdigest()}"


def _file(source: Any) -> tuple[int, str]:
    """Size and state of a file, of what the file system said of it."""
    if isinstance(source, os.DirEntry):
        try:
            seen = source.stat()
        except OSError:  # it is gone meanwhile
            return 0, MISSING
        return seen.st_size, local_state(seen)
    return source["size"] or 0, listed_state(source)


class Roots(NamedTuple):
    """The folders that the paths of a pool stand for, the folder below which shards are named, and the
    folders that are searched, with the parts of the glob below each."""

    folders: list[str]
    shared: str
    searched: list[tuple[str, tuple[str, ...]]]


def find_roots(patterns: Sequence[str]) -> Roots:
    """See Roots. Raises ValueError if a pattern stands for no folder."""
    folders: list[str] = []
    searched = []
    shared = []
    for pattern in patterns:
        roots = []
        for place in list(places(pattern)) or [Place("", None, "")]:
            found = _folders(place) if place.text else []
            if not found:
                raise ValueError(
                    f"pool.shards: {place.text!r} (from {pattern!r}) is not a folder, as kind: files needs"
                )
            folders += [place.full(path) for path in found]
            roots.append(place.full(place.path))
            searched.append((roots[-1], (*place.parts, ANY_DEPTH)))
        shared.append(root_of(pattern, roots))
    return Roots(folders, common_folder(shared), searched)


def _folders(place: Place) -> list[str]:
    """The folders that a path or glob stands for."""
    if place.local and place.parts:
        return sorted(search(LocalTree(), place.path, place.parts).folders)
    whole = "/".join((place.path, *place.parts))
    if place.fs.isdir(whole):
        return [whole]
    return [path for path in place.fs.glob(whole) if place.fs.isdir(path)] if place.parts else []


def folders_below(root: str, passed_over: dict[str, str]) -> Iterator[tuple[str, Entries, str]]:
    """Every folder from the root down, with the files in it, and the state of the file beside it that says
    which URLs were lost. Fills `passed_over`."""
    todo: list[tuple[str, Above | None, str]] = [(root, None, _state_beside(root))]
    while todo:
        folder, above, beside = todo.pop()
        try:
            entries = list_folder(folder)
        except OSError as error:
            passed_over[folder] = reasons.unreadable(error)
            continue
        if above is not None and entries.identity is not None and above.has(entries.identity):
            passed_over[folder] = reasons.LOOP
        elif above is not None and entries.written:
            passed_over[folder] = reasons.WRITTEN
        else:
            passed_over.update(entries.passed_over)
            yield folder, entries, beside
            below = Above(entries.identity, above)
            for path in sorted(entries.folders, reverse=True):
                todo.append((path, below, entries.state_of(f"{os.path.basename(path)}{STATS}")))


def _state_beside(root: str) -> str:
    """The state of the file beside a folder that is not listed with the one above it; empty if there is none.
    Nothing lies beside a whole bucket."""
    if "://" in root and "/" not in root.partition("://")[2].strip("/"):
        return ""
    fs, path = url_to_fs(root + STATS)
    try:
        return local_state(os.stat(path)) if isinstance(fs, LocalFileSystem) else listed_state(fs.info(path))
    except OSError:
        return ""


def list_folder(folder: str) -> Entries:
    """One folder. Raises OSError."""
    fs, path = url_to_fs(folder)
    if isinstance(fs, LocalFileSystem):
        return _local(path)
    fs.invalidate_cache()  # the files may have changed since this process last looked
    infos = {info["name"].rstrip("/"): info for info in fs.ls(path, detail=True)}
    infos = {name: info for name, info in infos.items() if name != path and os.path.basename(name)[:1] != "."}
    files = {os.path.basename(name): info for name, info in infos.items() if info["type"] == "file"}
    below = [str(fs.unstrip_protocol(n)) for n, info in infos.items() if info["type"] == "directory"]
    written = is_written(files, lambda name: fs.cat_file(f"{path}/{name}"))
    return Entries({name: info["size"] for name, info in files.items()}, below, {}, files, None, written)


def _local(folder: str) -> Entries:
    """One folder of the local disk. Its files are not measured yet."""
    with os.scandir(folder) as entries:
        kinds = [(entry, kind_of(entry)) for entry in entries if not entry.name.startswith(".")]
    files = {entry.name: entry for entry, kind in kinds if kind == FILE}
    folders = [entry.path for entry, kind in kinds if kind == FOLDER]
    passed_over = {entry.path: kind for entry, kind in kinds if kind not in (FILE, FOLDER)}
    seen = os.stat(folder)
    written = is_written([entry.name for entry, _ in kinds], lambda name: _start(f"{folder}/{name}"))
    return Entries(dict.fromkeys(files), folders, passed_over, files, (seen.st_dev, seen.st_ino), written)


def _start(path: str) -> bytes:
    """The first MB of a local file."""
    with open(path, "rb") as file:
        return file.read(1 << 20)

"""The folders of a pool that consists of files: which there are, and the files in each.

Hidden files and folders, and symbolic links, are passed over, as in a tar: nothing outside the pool is read.
"""

import os
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from braceexpand import braceexpand
from fsspec.core import has_magic, url_to_fs
from fsspec.implementations.local import LocalFileSystem

# Sizes of files, by name; None if the listing did not say.
Sizes = Mapping[str, int | None]


class Listing(NamedTuple):
    """The content of a folder, less hidden files and links: files by name, and the paths of folders."""

    sizes: Sizes
    folders: list[str]


def find_folders(pattern: str) -> Iterator[str]:
    """The folders that a path, brace pattern or glob stands for; one that is called like it comes first.
    Raises ValueError if there is none."""
    literal = bool(pattern) and os.path.isdir(os.path.expanduser(pattern))
    for location in [pattern] if literal else braceexpand(pattern, escape=False):
        fs, path = url_to_fs(os.path.expanduser(location))
        local = isinstance(fs, LocalFileSystem)
        path = (os.path.abspath(path) if local else path).rstrip("/")
        found = fs.glob(path) if has_magic(path) and not literal else [path]
        folders = [folder for folder in found if location.strip() and fs.isdir(folder)]
        if not folders:
            raise ValueError(
                f"pool.shards: {location!r} (from {pattern!r}) is not a folder, as kind: files needs"
            )
        yield from folders if local else map(str, map(fs.unstrip_protocol, folders))


def folders_below(root: str) -> Iterator[tuple[str, Sizes]]:
    """Every folder from the root down, with the files that lie in it."""
    folders = [root]
    while folders:
        folder = folders.pop()
        listing = list_folder(folder)
        yield folder, listing.sizes
        folders += sorted(listing.folders, reverse=True)


def list_folder(folder: str) -> Listing:
    """One folder. Links are passed over, as in a tar."""
    fs, path = url_to_fs(folder)
    if isinstance(fs, LocalFileSystem):
        with os.scandir(path) as entries:
            seen = [entry for entry in entries if not entry.name.startswith(".")]
        files = (entry.name for entry in seen if entry.is_file(follow_symlinks=False))
        below = [entry.path for entry in seen if entry.is_dir(follow_symlinks=False)]
        return Listing(dict.fromkeys(files), below)
    fs.invalidate_cache()  # the files may have changed since this process last looked
    infos = {info["name"].rstrip("/"): info for info in fs.ls(path, detail=True)}
    infos = {name: info for name, info in infos.items() if name != path and os.path.basename(name)[:1] != "."}
    sizes = {os.path.basename(name): info["size"] for name, info in infos.items() if info["type"] == "file"}
    below = [str(fs.unstrip_protocol(n)) for n, info in infos.items() if info["type"] == "directory"]
    return Listing(sizes, below)

"""Paths that Winnow is about to write to, checked before any work."""

import os
import stat
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pipeline.errors import RecipeError
from pipeline.recipe.addresses import check_address

_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def real_path(path: str) -> str:
    """A path or URL in the one form by which two can be compared: local links resolved, other storage with
    its protocol."""
    fs, base = fsspec.core.url_to_fs(os.path.expanduser(path))
    if isinstance(fs, LocalFileSystem):
        return str(os.path.realpath(base))
    return str(fs.unstrip_protocol(base)).rstrip("/")


def check_output_path(path: str, key: str, folder: bool = False) -> None:
    """Raises RecipeError for an address on unknown storage, and if the local path that `key` names is
    something else than a file, or than a folder if it is to be one. A FIFO, device or socket there would be
    replaced by the file that is published."""
    check_address(key, path)
    given = Path(path).expanduser()
    if given.is_symlink() and not given.exists():
        raise RecipeError(f"{key}: {path} is a link that leads nowhere; mend it, or name another path")
    try:
        mode = os.stat(real_path(path)).st_mode
    except (OSError, ValueError):
        return  # there is nothing yet, or it is not a local path
    wanted = "folder" if folder else "file"
    if (kind := _KINDS[stat.S_IFMT(mode)]) != wanted:
        article = "a " if kind in ("file", "folder") else ""
        raise RecipeError(f"{key}: {path} is {article}{kind}, not a {wanted}; name another path")

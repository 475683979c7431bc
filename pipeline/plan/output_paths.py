"""Paths that Winnow is about to write to, checked before any work."""

import os
import re
import stat
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pipeline.errors import RecipeError, brief, shortened
from pipeline.recipe.addresses import check_address

_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

# Control characters, and marks that turn the direction of text
UNWANTED = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def real_path(path: str) -> str:
    """A path or URL in the one form by which two can be compared: local links resolved, other storage with
    its protocol."""
    fs, base = fsspec.core.url_to_fs(os.path.expanduser(path))
    if isinstance(fs, LocalFileSystem):
        return str(os.path.realpath(base))
    return str(fs.unstrip_protocol(base)).rstrip("/")


def check_output_path(path: str, key: str, folder: bool = False) -> None:
    """Raises RecipeError for a web address, an address on unknown storage, a path that cannot be shown or
    made, and if the local path that `key` names is something else than a file, or than a folder if it is to
    be one. A FIFO, device or socket there would be replaced by the file that is published."""
    check_address(key, path)
    if UNWANTED.search(path):
        raise RecipeError(f"{key}: {brief(path)} has control characters; name another path")
    if path.startswith(("http://", "https://")):
        raise RecipeError(
            f"{key}: {path} is a web address, to which nothing can be written; name another path"
        )
    given = Path(path).expanduser()
    try:
        if given.is_symlink() and not given.exists():
            raise RecipeError(f"{key}: {path} is a link that leads nowhere; mend it, or name another path")
    except OSError as error:
        raise RecipeError(f"{key}: {shortened(path)}: {error.strerror}; name another path") from None
    try:
        mode = os.stat(real_path(path)).st_mode
    except (OSError, ValueError):
        return  # there is nothing yet, or it is not a local path
    wanted = "folder" if folder else "file"
    if (kind := _KINDS[stat.S_IFMT(mode)]) != wanted:
        article = "a " if kind in ("file", "folder") else ""
        raise RecipeError(f"{key}: {path} is {article}{kind}, not a {wanted}; name another path")

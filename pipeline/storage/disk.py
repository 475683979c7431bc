"""What a local disk needs and object storage does not: names for files that are not published yet, and calls
that return when bytes are on the disk.

    .winnow-tmp.<host>.<process>.<thread>.<name>

A file with such a name was left behind if its process has ended. No other file is ever taken for one.
"""

import ctypes
import hashlib
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from typing import Any

PREFIX = ".winnow-tmp."
HOST = socket.gethostname().replace(".", "-")[:64]
WEEK = 7 * 86_400  # seconds
LONGEST = 120  # bytes of a name that is kept as it is: a file name has at most 255

_TEMPORARY = re.compile(r"\.winnow-tmp\.([^.]+)\.(\d+)\.\d+\.(.+)", re.DOTALL)


def temporary_path(folder: str, name: str) -> str:
    """The path in a folder at which this thread builds what it will publish there as `name`."""
    return f"{folder}/{PREFIX}{HOST}.{os.getpid()}.{threading.get_ident()}.{_short(name)}"


def is_temporary(name: str) -> bool:
    """Whether the name of a file or folder is one that this module made."""
    return name.startswith(PREFIX) and _TEMPORARY.fullmatch(name) is not None


def published(folder: str, suffix: str = "") -> Iterator[tuple[str, os.DirEntry[str]]]:
    """The complete files below a folder, to any depth, whose names end in a suffix: (path below the folder
    without the suffix, entry). None if there is no such folder. Links to folders are not followed."""
    try:
        entries = os.scandir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    with entries:
        for entry in entries:
            if entry.is_dir():
                if not entry.is_symlink():
                    yield from (
                        (f"{entry.name}/{name}", below) for name, below in published(entry.path, suffix)
                    )
            elif entry.name.endswith(suffix) and not is_temporary(entry.name):
                yield entry.name.removesuffix(suffix), entry


def is_leftover(path: str, name: str | None = None) -> bool:
    """Whether a killed process left this behind: one of this machine that has ended, or one of another
    machine whose file nobody has touched for a week. `name`: only if it was to be published under it."""
    found = _TEMPORARY.fullmatch(os.path.basename(path))
    if not found or name is not None and found[3] != _short(name):
        return False
    if found[1] == HOST:
        return not is_alive(int(found[2]))
    try:
        return time.time() - os.stat(path).st_mtime > WEEK
    except FileNotFoundError:
        return False


def remove_left_beside(base: str) -> None:
    """Remove what killed processes left beside a local file that they were to publish."""
    parent, name = os.path.split(base)
    for sibling in os.listdir(parent):
        left = os.path.join(parent, sibling)
        if is_leftover(left, name):
            remove_any(left)


def remove_any(path: str) -> None:
    """Remove a file or folder; another process may be faster."""
    with suppress(FileNotFoundError):
        shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)


def _short(name: str) -> str:
    """A name, or if it is long, a digest of it with the same suffix: `numpy.save` would add a missing one."""
    data = os.fsencode(name)
    if len(data) <= LONGEST:
        return name
    suffix = os.path.splitext(name)[1]
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    return digest + (suffix if len(os.fsencode(suffix)) < 20 else "")


def is_alive(pid: int) -> bool:
    """Whether this machine runs a process with that id."""
    try:
        os.kill(pid, 0)  # signal 0 checks and sends nothing
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it is another user's
        pass
    return True


# --- syncing --------------------------------------------------------------------------------------


def sync_file(path: str) -> None:
    """Return when a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(path: str) -> None:
    """Return when everything written to the file system of a path is on its disk. For thousands of small
    files that is much faster than a call for each. Raises OSError if the disk did not take it."""
    syncfs = _syncfs()
    if syncfs is None:
        os.sync()
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if syncfs(descriptor):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
    finally:
        os.close(descriptor)


@cache
def _syncfs() -> Any:
    """The C library's `syncfs`, which Linux has."""
    return getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)

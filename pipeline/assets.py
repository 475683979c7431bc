"""Files that operators' fields name: a path, an fsspec URL (s3://, hf://, ...) or a web address.

    local_file("s3://mine/weights.pt")            -> a path on this machine, fetched if need be
    read_bytes("https://example.org/list.txt.gz") -> its content, unpacked
    map_array("subset.npy")                       -> an array whose file is mapped into memory

Operators and plugins open the files of their `File` fields with these functions, in `setup`. Nothing in a
file is executed: no function here unpickles. All sizes are bounded.

A remote file is fetched once per machine, by the first process that needs it. Its copy stays in CACHE under a
name made from the address and, for storage, from what the storage lists of it (size, ETag, time). So a file
that changes is fetched again, and its older copy is removed. A web address counts by itself, as in cache
keys: its copy is never fetched again.
"""

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import fsspec
import numpy as np
from fsspec.implementations.local import LocalFileSystem

from pipeline.npy import check_size, read_header

CACHE = "~/.cache/winnow"
WEB = ("http://", "https://")
LARGEST = 256 << 30  # bytes of one fetched file: a subset file of 12.8 billion samples has 205 GB
IN_MEMORY = 1 << 30  # bytes of one file that is read whole, after unpacking
CHUNK = 4 << 20  # bytes read at a time
LONGEST_NAME = 100  # characters of a file's own name in the cache, counted from its end


class WrongContent(ValueError):
    """A file does not have the sha256 that it must have."""


def local_file(address: str, sha256: str = "") -> str:
    """The path of a file on this machine: `address` itself if it is local, else that of a fetched copy.

    With `sha256` (hex digits) the content is checked each time, and a copy that fails is removed. Raises
    FileNotFoundError, WrongContent, ValueError for a file larger than LARGEST, OSError.
    """
    fs, path = fsspec.core.url_to_fs(address) if "://" in address else (None, os.path.expanduser(address))
    local = fs is None or isinstance(fs, LocalFileSystem)
    try:
        found = path if local else _fetched(fs, path, address, sha256)
    except FileNotFoundError:
        raise FileNotFoundError(f"{address} does not exist") from None
    if not os.path.isfile(found):
        raise FileNotFoundError(f"{address} does not exist")
    if sha256 and (digest := _sha256(found)) != sha256:
        if not local:
            os.unlink(found)  # the next call fetches it again
        raise WrongContent(f"{found} has the sha256 {digest}, must have {sha256}")
    return found


def read_bytes(address: str, limit: int = IN_MEMORY) -> bytes:
    """The content of a file, unpacked if its name ends in .gz, .bz2 or .xz. Raises ValueError if it has more
    than `limit` bytes, and what `local_file` raises."""
    with fsspec.open(local_file(address), "rb", compression="infer") as file:
        return b"".join(_chunks(file, address, limit))


def map_array(address: str) -> np.ndarray:
    """The array of an .npy file, read-only and mapped into memory: all processes of a machine share its
    pages. Raises ValueError for another kind of file, one that is cut, or an array of Python objects, and
    what `local_file` raises."""
    path = local_file(address)
    with open(path, "rb") as file:
        header = read_header(file, address)
        check_size(header, os.fstat(file.fileno()).st_size, address)
    order: Any = "F" if header.by_column else "C"
    if not header.nbytes:  # nothing can be mapped
        return np.empty(header.shape, header.dtype)
    return np.memmap(path, header.dtype, "r", header.offset, header.shape, order)


def once_per_machine(name: str, build: Callable[[], bytes]) -> bytes:
    """The result of `build`, which the first process that needs `name` leaves in this user's temporary folder
    for the others. The name must tell apart all that the result depends on."""
    folder = Path(tempfile.gettempdir()) / f"winnow-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid() or folder.stat().st_mode & 0o077:
        return build()  # others can write to that folder: its files are not trusted
    with _locked(folder / f"{name}.lock"):
        if (path := folder / name).exists():
            return path.read_bytes()
        data = build()
        (folder / f"{name}.tmp").write_bytes(data)
        os.replace(folder / f"{name}.tmp", path)
        return data


def _fetched(fs: Any, path: str, address: str, sha256: str) -> str:
    """The path of a remote file's copy. The first process fetches it, the others wait."""
    web = address.startswith(WEB)
    name = os.path.basename(urlsplit(address).path if web else path)[-LONGEST_NAME:]
    stem = hashlib.sha256(address.encode()).hexdigest()[:16]
    folder = Path(CACHE).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / f"{stem}-{name}"
    if not (web or sha256):
        fs.invalidate_cache()  # another process may have written the file anew
        copy = folder / f"{stem}-{str(fs.ukey(path))[:12]}-{name}"
    with _locked(folder / f"{stem}.lock"):
        if not copy.exists():
            _fetch(fs, path, address, copy)
            for older in folder.glob(f"{stem}-*"):
                if older != copy:
                    older.unlink(missing_ok=True)
    return str(copy)


def _fetch(fs: Any, path: str, address: str, copy: Path) -> None:
    """Copy a remote file under a temporary name, then rename it: a copy that exists is complete."""
    aside = Path(f"{copy}.tmp")
    try:
        with fs.open(path, "rb") as source, open(aside, "wb") as file:
            for chunk in _chunks(source, address, LARGEST):
                file.write(chunk)
            size = getattr(source, "size", None)  # None if the server does not say
            if size is not None and file.tell() != size:
                raise OSError(f"{address} ended after {file.tell():,} of {size:,} bytes")
        os.replace(aside, copy)
    finally:
        aside.unlink(missing_ok=True)


def _chunks(file: BinaryIO, address: str, limit: int) -> Iterator[bytes]:
    """The content in pieces. Raises ValueError once there are more than `limit` bytes."""
    total = 0
    while chunk := file.read(CHUNK):
        total += len(chunk)
        if total > limit:
            raise ValueError(f"{address} must have at most {limit:,} bytes")
        yield chunk


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time. The lock ends with the process, even a killed one."""
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sha256(path: str) -> str:
    """The digest of a local file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""A folder on any fsspec file system. Files are written under a temporary name and renamed, so a file that
exists is complete.

    out = Folder("s3://bucket/out")
    out.publish("meta.json", b"{}")
    with out.publishing("rows.parquet") as path:     # a local path to write to
        frame.write_parquet(path)
    out.file_names()                                 # {"meta.json", "rows.parquet"}

Object storage has no rename: there a file is uploaded in one request, and shows when it is whole.
"""

import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

FOOTER_GUESS = 64 << 10  # bytes asked of the end of a parquet file on object storage: most footers fit
WEEK = 7 * 86_400  # seconds
TEMPORARY = ".tmp."  # what the names of unpublished files begin with; then host, process, thread
_HOST = socket.gethostname().replace(".", "-")


class Folder:
    """A folder on any fsspec file system. Paths given to its methods are relative to it; "" is the folder's
    own path, which a single file may have (`publish_at`)."""

    def __init__(self, root: str) -> None:
        self.fs, base = fsspec.core.url_to_fs(os.path.expanduser(root))
        self.base = base.rstrip("/")
        self.local = isinstance(self.fs, LocalFileSystem)

    def path(self, relative: str) -> str:
        """The full path of a file, as its file system knows it (without the protocol)."""
        return f"{self.base}/{relative}" if relative else self.base

    # --- writing ----------------------------------------------------------------------------------

    def publish(self, relative: str, data: bytes | memoryview) -> None:
        """Write a file so that it appears whole or not at all."""
        if not self.local:
            self.fs.pipe_file(self.path(relative), bytes(data))
            return
        with self.publishing(relative) as path, open(path, "wb") as file:
            file.write(data)

    @contextmanager
    def publishing(self, relative: str) -> Iterator[str]:
        """A local path to write to. The file there is published if the block ends without an error. If the
        process is killed, the file it leaves behind has a name that `remove_leftovers` recognises."""
        if not self.local:
            with tempfile.TemporaryDirectory() as folder:
                yield f"{folder}/file"
                self.publish_file(f"{folder}/file", relative)
            return
        folder, name = os.path.split(self.path(relative))
        os.makedirs(folder, exist_ok=True)
        temporary = _temporary(folder, name)
        try:
            yield temporary
            self.publish_file(temporary, relative)
        finally:  # after an error, such as a full disk, the file is still there
            with suppress(FileNotFoundError):
                os.unlink(temporary)

    def publish_file(self, path: str, relative: str) -> None:
        """Publish a file of this machine: rename it (same file system), or upload it."""
        if self.local:
            os.replace(path, self.path(relative))
        else:
            self.fs.put_file(path, self.path(relative))

    @contextmanager
    def temporary_folder(self) -> Iterator[str]:
        """A local folder for files that `publish_file` publishes later; removed when the block ends. If the
        process is killed, `remove_leftovers` removes it."""
        if self.local:
            os.makedirs(self.base, exist_ok=True)
        beside = self.base if self.local else None
        with tempfile.TemporaryDirectory(prefix=f"{TEMPORARY}{_HOST}.{os.getpid()}.", dir=beside) as folder:
            yield folder

    def remove(self, relatives: Sequence[str]) -> None:
        """Remove published files; on object storage many of them per request."""
        paths = [self.path(relative) for relative in relatives]
        if self.local:
            for path in paths:
                os.unlink(path)
        elif paths:
            self.fs.rm(paths)

    def remove_leftovers(self, also_live: bool = False) -> None:
        """Remove the unpublished files that killed processes left on a local disk: those of this machine
        whose process has ended, and those of other machines that nobody has touched for a week. `also_live`:
        all of them, for a folder that is finished and that no process may still write to."""
        for folder, folders, files in os.walk(self.base) if self.local else ():
            for name in (*folders, *files):
                path = os.path.join(folder, name)
                if name.startswith(TEMPORARY) and (also_live or _abandoned(path)):
                    _remove(path)

    # --- reading ----------------------------------------------------------------------------------

    def exists(self, relative: str) -> bool:
        """Whether that file is published."""
        return bool(self.fs.exists(self.path(relative)))

    def read(self, relative: str) -> bytes:
        """All bytes of a file, which must not be empty. Raises FileNotFoundError."""
        if self.local:
            with open(self.path(relative), "rb") as file:
                return file.read()
        # Without a start, s3fs asks for the size first.
        return bytes(self.fs.cat_file(self.path(relative), start=0))

    def parquet_footer(self, relative: str) -> pq.FileMetaData:
        """A parquet file's footer; one request on object storage if it fits FOOTER_GUESS. Raises
        FileNotFoundError."""
        path = self.path(relative)
        if self.local:
            return pq.read_metadata(path)
        tail = self.fs.cat_file(path, start=-FOOTER_GUESS)
        length = int.from_bytes(tail[-8:-4], "little") + 8  # the file ends with this length and "PAR1"
        if length > len(tail):
            tail = self.fs.cat_file(path, start=-length)
        return pq.read_metadata(pa.BufferReader(tail))

    def size(self, relative: str) -> int:
        """Bytes of a published file; 0 on object storage, because asking costs a request."""
        return os.path.getsize(self.path(relative)) if self.local else 0

    def file_names(self, folder: str = "", suffix: str = "") -> set[str]:
        """Names, relative to the folder and without the suffix, of the published files below it, to any
        depth. One listing."""
        base = self.path(folder) + "/"
        paths = _walk(base) if self.local else self._find(base)
        return {path[len(base) :].removesuffix(suffix) for path in paths if _published(path, suffix)}

    def listing(self, folder: str, suffix: str = "") -> dict[str, Mapping[str, Any]]:
        """The same names on other storage than a local disk, each with what the file system's listing says of
        the file (`size`, and what fsspec passes on: etag, time of change)."""
        base = self.path(folder) + "/"
        files = dict(self._find(base, detail=True))
        return {
            path[len(base) :].removesuffix(suffix): info
            for path, info in files.items()
            if _published(path, suffix)
        }

    def parquet_sizes(self, folder: str) -> dict[str, int]:
        """Bytes of each published parquet file below a folder, by its name without the suffix. One
        listing."""
        if self.local:
            names = self.file_names(folder, ".parquet")
            return {name: os.path.getsize(self.path(f"{folder}/{name}.parquet")) for name in names}
        return {name: int(info["size"]) for name, info in self.listing(folder, ".parquet").items()}

    def _find(self, base: str, **options: bool) -> Any:
        """fsspec's `find`, and nothing for a folder that does not exist."""
        self.fs.invalidate_cache()  # other processes publish too
        try:
            return self.fs.find(base, **options)
        except FileNotFoundError:
            return {}


# --- single files ---------------------------------------------------------------------------------


def publish_at(path: str, data: bytes) -> None:
    """Write one file, a path or URL, so that it appears whole or not at all."""
    Folder(path).publish("", data)


def publishing_at(path: str) -> AbstractContextManager[str]:
    """As `Folder.publishing`, for one file by its path or URL."""
    return Folder(path).publishing("")


@contextmanager
def working_beside(path: str) -> Iterator[str]:
    """An empty local folder to build the file `path` in. It lies beside a local file, so that publishing is a
    rename, and is removed at the end; the next run removes one that a killed process left. No other file or
    folder is touched."""
    target = Folder(path)
    if not target.local:
        with tempfile.TemporaryDirectory() as folder:
            yield folder
        return
    parent, name = os.path.split(target.base)
    os.makedirs(parent, exist_ok=True)
    for sibling in os.listdir(parent):
        left = os.path.join(parent, sibling)
        if sibling.startswith(TEMPORARY) and sibling.endswith(f".{name}") and _abandoned(left):
            _remove(left)
    folder = _temporary(parent, name)
    _remove(folder)  # of an earlier process with this id
    os.mkdir(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


# --- leftovers ------------------------------------------------------------------------------------


def _temporary(folder: str, name: str) -> str:
    """The path in a folder at which this thread builds what it will publish there as `name`."""
    return f"{folder}/{TEMPORARY}{_HOST}.{os.getpid()}.{threading.get_ident()}.{name}"


def _walk(base: str) -> Iterable[str]:
    """The full paths of all files below a local folder."""
    return (os.path.join(folder, name) for folder, _, names in os.walk(base) for name in names)


def _published(path: str, suffix: str) -> bool:
    """Whether a path is a complete file with that suffix."""
    return path.endswith(suffix) and not os.path.basename(path).startswith(TEMPORARY)


def _remove(path: str) -> None:
    """Remove a file or folder; another process may be faster."""
    with suppress(FileNotFoundError):
        shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)


def _abandoned(path: str) -> bool:
    """Whether the process that began an unpublished file will not finish it."""
    host, pid = [*os.path.basename(path).split("."), "", "", ""][2:4]
    if host == _HOST and pid.isdigit():
        return not _alive(int(pid))
    try:
        return time.time() - os.stat(path).st_mtime > WEEK
    except FileNotFoundError:
        return False


def _alive(pid: int) -> bool:
    """Whether this machine runs a process with that id."""
    try:
        os.kill(pid, 0)  # signal 0 checks and sends nothing
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it is another user's
        pass
    return True

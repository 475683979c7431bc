"""A folder on any file system that fsspec knows: what is published there is whole.

A file is written aside and published in one step (rename locally, one PUT on object storage), so what
exists is whole.
"""

import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

TAIL = 64 << 10  # bytes asked of the end of a parquet file, where the footer is
WEEK = 7 * 86_400  # seconds
_HOST = socket.gethostname().replace(".", "-")


class Folder:
    """A folder on any fsspec file system. Paths given to its methods are relative to it."""

    def __init__(self, root: str) -> None:
        self.fs, base = fsspec.core.url_to_fs(os.path.expanduser(root))
        self.base = base.rstrip("/")
        self.local = isinstance(self.fs, LocalFileSystem)

    def path(self, relative: str) -> str:
        """The full path of a file, as its file system knows it."""
        return f"{self.base}/{relative}" if relative else self.base

    def exists(self, relative: str) -> bool:
        """Whether that file is published."""
        return bool(self.fs.exists(self.path(relative)))

    def publish(self, relative: str, data: bytes | memoryview) -> None:
        """Write a file so that it appears whole or not at all."""
        if not self.local:
            self.fs.pipe_file(self.path(relative), bytes(data))
            return
        with self.publishing(relative) as aside, open(aside, "wb") as file:
            file.write(data)

    @contextmanager
    def publishing(self, relative: str) -> Iterator[str]:
        """A local path to write to; what it holds when the block ends well is published. Where a process is
        killed, the file it leaves has a name that `sweep` knows."""
        if not self.local:
            with tempfile.TemporaryDirectory() as folder:
                yield f"{folder}/aside"
                self.move(f"{folder}/aside", relative)
            return
        folder, name = os.path.split(self.path(relative))
        os.makedirs(folder, exist_ok=True)
        aside = f"{folder}/.tmp.{_HOST}.{os.getpid()}.{threading.get_ident()}.{name}"
        try:
            yield aside
            self.move(aside, relative)
        finally:  # a full disk, say: leave nothing behind
            with suppress(FileNotFoundError):
                os.unlink(aside)

    @contextmanager
    def folder_aside(self) -> Iterator[str]:
        """A local folder for files that `move` is to publish; gone when the block ends, or by `sweep`."""
        if self.local:
            os.makedirs(self.base, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=f".tmp.{_HOST}.{os.getpid()}.", dir=self.base if self.local else None
        ) as folder:
            yield folder

    def move(self, aside: str, relative: str) -> None:
        """Publish a local file: rename it, or upload it (object storage shows it when it is whole)."""
        if self.local:
            os.replace(aside, self.path(relative))
        else:
            self.fs.put_file(aside, self.path(relative))

    def read(self, relative: str) -> bytes:
        """A whole file that is not empty. Raises FileNotFoundError."""
        if self.local:
            with open(self.path(relative), "rb") as file:
                return file.read()
        return bytes(self.fs.cat_file(self.path(relative), start=0))  # a start: s3fs asks for no size first

    def footer(self, relative: str) -> pq.FileMetaData:
        """A parquet file's footer; of other storage one request, as a rule. Raises FileNotFoundError."""
        path = self.path(relative)
        if self.local:
            return pq.read_metadata(path)
        tail = self.fs.cat_file(path, start=-TAIL)
        length = int.from_bytes(tail[-8:-4], "little") + 8  # what a footer ends with: its length, PAR1
        if length > len(tail):
            tail = self.fs.cat_file(path, start=-length)
        return pq.read_metadata(pa.BufferReader(tail))

    def size(self, relative: str) -> int:
        """Bytes of a published file; 0 on object storage, where asking costs a request."""
        return os.path.getsize(self.path(relative)) if self.local else 0

    def names(self, folder: str, suffix: str) -> set[str]:
        """Relative names, without the suffix, of the published files below a folder, in one listing."""
        base = self.path(folder) + "/"
        if self.local:
            found = (os.path.join(d, f) for d, _, files in os.walk(base) for f in files)
        else:
            found = iter(self.find(base))
        return {
            path[len(base) :].removesuffix(suffix)
            for path in found
            if path.endswith(suffix) and not os.path.basename(path).startswith(".tmp.")
        }

    def sizes(self, folder: str) -> dict[str, int]:
        """Bytes of each published parquet file below a folder, by name without the suffix."""
        base = self.path(folder) + "/"
        if self.local:
            return {n: os.path.getsize(f"{base}{n}.parquet") for n in self.names(folder, ".parquet")}
        found = self.find(base, detail=True).items()
        return {
            p[len(base) : -len(".parquet")]: int(info["size"]) for p, info in found if p.endswith(".parquet")
        }

    def remove(self, relatives: Sequence[str]) -> None:
        """Remove published files, on object storage many in a request."""
        paths = [self.path(relative) for relative in relatives]
        if self.local:
            for path in paths:
                os.unlink(path)
        elif paths:
            self.fs.rm(paths)

    def find(self, base: str, **options: bool) -> Any:
        """What fsspec's `find` tells of a folder's files, to any depth, on object storage: one listing."""
        self.fs.invalidate_cache()  # other processes publish too
        try:
            return self.fs.find(base, **options)
        except FileNotFoundError:
            return {}

    def sweep(self, everyone: bool = False) -> None:
        """Remove what killed processes left half written: those of this machine, of others what nobody has
        touched for a week, and with `everyone`, for a folder that is finished, all of it."""
        for folder, folders, files in os.walk(self.base) if self.local else ():
            for name in (*folders, *files):
                if name.startswith(".tmp.") and (everyone or _left(os.path.join(folder, name))):
                    _remove(os.path.join(folder, name))


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):  # another process sweeps too
        shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)


def _left(path: str) -> bool:
    """Whether nobody will finish a file that lies aside."""
    host, pid = [*os.path.basename(path).split("."), "", "", ""][2:4]
    if host == _HOST and pid.isdigit():
        return not _alive(int(pid))
    try:
        return time.time() - os.stat(path).st_mtime > WEEK
    except FileNotFoundError:
        return False


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # signal 0 only asks
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        pass
    return True


@contextmanager
def working(files: Folder) -> Iterator[str]:
    """An empty folder: beside the file on local storage, so that a move is a rename, else in the
    system's place. What a killed process left in it goes first."""
    if not files.local:
        with tempfile.TemporaryDirectory() as folder:
            yield folder
        return
    folder = f"{files.base}.tmp"
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)

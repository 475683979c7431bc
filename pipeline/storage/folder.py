"""A folder on any fsspec file system. Files are written under a temporary name and renamed, so a file that
exists is complete.

    out = Folder("s3://bucket/out")
    out.publish_json("meta.json", {"rows": 3})       # sealed: `read_json` tells if it was damaged
    with out.publishing("rows.parquet") as path:     # a local path to write to
        frame.write_parquet(path)
    out.file_names()                                 # {"meta.json", "rows.parquet"}

Object storage has no rename: there a file is uploaded in one request, and shows when it is whole.

A power cut may empty files that were renamed shortly before. So a file that speaks for others, such as a
manifest, is published with `durable=True`: everything that was written before is on the disk when it appears.
"""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import fsspec
import orjson
import pyarrow.parquet as pq
from fsspec.core import has_magic
from fsspec.implementations.local import LocalFileSystem

from pipeline.storage import seals
from pipeline.storage.disk import (
    is_leftover,
    is_temporary,
    published,
    remove_any,
    remove_left_beside,
    sync_file,
    sync_file_system,
    temporary_path,
)

FOOTER_GUESS = 64 << 10  # bytes asked of the end of a parquet file on object storage: most footers fit


class Folder:
    """A folder on any fsspec file system. Paths given to its methods are relative to it; "" is the folder's
    own path, which may be that of a single file."""

    def __init__(self, root: str) -> None:
        self.fs, base = fsspec.core.url_to_fs(os.path.expanduser(root))
        self.base = base.rstrip("/")
        self.local = isinstance(self.fs, LocalFileSystem)

    def path(self, relative: str) -> str:
        """The full path of a file, as its file system knows it (without the protocol)."""
        return f"{self.base}/{relative}" if relative else self.base

    # --- writing ----------------------------------------------------------------------------------

    def publish(self, relative: str, data: bytes | memoryview, durable: bool = False) -> None:
        """Write a file so that it appears whole or not at all. `durable`: see the module."""
        if not self.local:
            self.fs.pipe_file(self.path(relative), bytes(data))
            return
        with self.publishing(relative, durable) as path, open(path, "wb") as file:
            file.write(data)

    def publish_json(
        self, relative: str, value: Any, durable: bool = False, options: int = orjson.OPT_INDENT_2
    ) -> None:
        """Write a mapping or dataclass as sealed JSON, with orjson's `options`."""
        self.publish(relative, seals.seal_json(orjson.dumps(value, option=options)), durable)

    @contextmanager
    def publishing(self, relative: str, durable: bool = False) -> Iterator[str]:
        """A local path to write to. The file there is published if the block ends without an error. If the
        process is killed, the file it leaves behind has a name that `remove_leftovers` recognises."""
        if not self.local:
            with tempfile.TemporaryDirectory() as folder:
                yield f"{folder}/file"
                self.publish_file(f"{folder}/file", relative)
            return
        folder, name = os.path.split(self.path(relative))
        os.makedirs(folder, exist_ok=True)
        temporary = temporary_path(folder, name)
        try:
            yield temporary
            self.publish_file(temporary, relative, durable)
        except OSError as error:
            if error.errno and error.filename in (None, temporary):  # a write does not name its file
                error.filename = self.path(relative)
            raise
        finally:  # after an error, such as a full disk, the file is still there
            with suppress(FileNotFoundError):
                os.unlink(temporary)

    def publish_file(self, path: str, relative: str, durable: bool = False) -> None:
        """Publish a file of this machine: rename it (same file system), or upload it."""
        target = self.path(relative)
        if not self.local:
            self.fs.put_file(path, target)
            return
        if durable:
            sync_file_system(path)
            sync_file(path)
        os.replace(path, target)
        if durable:
            sync_file(os.path.dirname(target))

    def sync(self) -> None:
        """Return when all that was written to the folder is on its disk. Object storage answers each PUT."""
        if self.local:
            sync_file_system(self.base)

    @contextmanager
    def temporary_folder(self) -> Iterator[str]:
        """A local folder for files that `publish_file` publishes later; removed when the block ends. If the
        process is killed, `remove_leftovers` removes it."""
        if self.local:
            os.makedirs(self.base, exist_ok=True)
        beside = self.base if self.local else None
        with tempfile.TemporaryDirectory(prefix=temporary_path("", "")[1:], dir=beside) as folder:
            yield folder

    def remove(self, relatives: Sequence[str]) -> None:
        """Remove published files, if they are there; on object storage many per request, but for names with
        one of *?[, which fsspec would take for patterns."""
        paths = [self.path(relative) for relative in relatives]
        plain = [path for path in paths if not self.local and not has_magic(path)]
        for path in paths if self.local else [path for path in paths if has_magic(path)]:
            with suppress(FileNotFoundError):
                self.fs.rm_file(path)
        if plain:
            with suppress(FileNotFoundError):
                self.fs.rm(plain)

    def move(self, relative: str, target: str) -> None:
        """Move a published file to another place in the folder, over whatever lies there. Raises
        FileNotFoundError."""
        if self.local:
            os.makedirs(os.path.dirname(self.path(target)), exist_ok=True)
            os.replace(self.path(relative), self.path(target))
        else:
            self.fs.pipe_file(self.path(target), self.read(relative))
            self.fs.rm_file(self.path(relative))

    def remove_leftovers(self, also_live: bool = False) -> None:
        """Remove the unpublished files that killed processes left on a local disk: those of this machine
        whose process has ended, and those of other machines that nobody has touched for a week. `also_live`:
        all of them, for a folder that is finished and that no process may still write to."""
        for folder, folders, files in os.walk(self.base) if self.local else ():
            for name in (*folders, *files):
                path = os.path.join(folder, name)
                if is_leftover(path) or (also_live and is_temporary(name)):
                    remove_any(path)

    # --- reading ----------------------------------------------------------------------------------

    def exists(self, relative: str) -> bool:
        """Whether that file is published."""
        return bool(self.fs.exists(self.path(relative)))

    def read(self, relative: str) -> bytes:
        """All bytes of a file. Raises FileNotFoundError."""
        if self.local:
            try:
                with open(self.path(relative), "rb") as file:
                    return file.read()
            except NotADirectoryError as error:  # a folder on the way is a file
                raise FileNotFoundError(*error.args) from None
        try:  # without a start, s3fs asks for the size first
            return bytes(self.fs.cat_file(self.path(relative), start=0))
        except OSError as error:
            if error.errno == errno.EINVAL:  # S3 has no first byte of an empty file
                return b""
            raise

    def read_json(self, relative: str) -> dict[str, Any] | None:
        """What `publish_json` wrote, or None if there is no such file. A file that is not as it was written
        counts as none, and is named in the log."""
        try:
            return seals.open_json(self.read(relative))
        except FileNotFoundError:
            return None
        except seals.BrokenError as error:
            seals.LOG.warning("%s is damaged: %s; it counts as missing", self.path(relative), error)
            return None

    def sealed_footer(self, relative: str) -> pq.FileMetaData:
        """The footer of a sealed parquet file. On a local disk the whole file is verified; object storage has
        checksums of its own. Raises FileNotFoundError, BrokenError."""
        if not self.local:
            return self.parquet_footer(relative)
        with open(self.path(relative), "rb") as file:
            return seals.verified_footer(file)

    def parquet_footer(self, relative: str) -> pq.FileMetaData:
        """A parquet file's footer; one request on object storage if it fits FOOTER_GUESS. Raises
        FileNotFoundError, and ValueError if it is not parquet."""
        path = self.path(relative)
        if self.local:
            return pq.read_metadata(path)
        tail = self.fs.cat_file(path, start=-FOOTER_GUESS)
        length = int.from_bytes(tail[-8:-4], "little") + 8  # the file ends with this length and "PAR1"
        if length > len(tail):
            tail = self.fs.cat_file(path, start=-length)
        return seals.unverified_footer(tail)

    def size(self, relative: str) -> int:
        """Bytes of a published file; 0 on object storage, because asking costs a request."""
        return os.path.getsize(self.path(relative)) if self.local else 0

    def file_names(self, folder: str = "", suffix: str = "") -> set[str]:
        """Names, relative to the folder and without the suffix, of the published files below it, to any
        depth. One listing."""
        if self.local:
            return {name for name, _ in published(self.path(folder), suffix)}
        base = self.path(folder) + "/"
        return {
            path[len(base) :].removesuffix(suffix) for path in self._find(base) if _published(path, suffix)
        }

    def folder_names(self, folder: str) -> set[str]:
        """The folders directly in a folder, as `folder/name`. One listing, whatever they hold."""
        self.fs.invalidate_cache()
        try:
            found = self.fs.ls(self.path(folder), detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return set()
        names = (
            str(info["name"]).rstrip("/").rpartition("/")[2] for info in found if info["type"] == "directory"
        )
        return {f"{folder}/{name}" for name in names}

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

    def stats(self, folder: str, suffix: str = "") -> dict[str, os.stat_result]:
        """The same names on a local disk, each with what `os.stat` says of the file. A file that is removed
        meanwhile is left out."""
        found = {}
        for name, entry in published(self.path(folder), suffix):
            with suppress(FileNotFoundError):
                found[name] = entry.stat()
        return found

    def sizes(self, folder: str = "", suffix: str = "") -> dict[str, int]:
        """Bytes of each published file below a folder, by its name without the suffix. One listing."""
        if self.local:
            return {name: stat.st_size for name, stat in self.stats(folder, suffix).items()}
        return {name: int(info["size"]) for name, info in self.listing(folder, suffix).items()}

    def _find(self, base: str, **options: bool) -> Any:
        """fsspec's `find`, and nothing for a folder that does not exist."""
        self.fs.invalidate_cache()  # other processes publish too
        try:
            return self.fs.find(base, **options)
        except FileNotFoundError:
            return {}


# --- single files ---------------------------------------------------------------------------------


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
    remove_left_beside(target.base)
    folder = temporary_path(parent, name)
    remove_any(folder)  # of an earlier process with this id
    os.mkdir(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


# --- names ----------------------------------------------------------------------------------------


def _published(path: str, suffix: str) -> bool:
    """Whether a path is a complete file with that suffix."""
    return path.endswith(suffix) and not is_temporary(os.path.basename(path))

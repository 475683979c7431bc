"""The store: everything computed about a pool, as parquet files on any fsspec path.

    samples/<shard>.parquet                 SAMPLE_SCHEMA, one row per sample; a tar's damage in the footer
    columns/<name>-<key>/<shard>.parquet    shard, row, what the operator writes, and `<name>.error`
    columns/<name>-<key>/meta.json          what the key stands for
    stats/<name>-<key>.parquet
    decisions/<recipe>-<key>/<shard>.parquet  keep and one verdict per rule, row by row as the samples; small
                                            shards that follow are in the same file, see shards.parquet
    datacomp.json, digests.json, footers/   what was read of a DataComp folder, large files and parts before

A file is written aside and published in one step (rename locally, one PUT on object storage), so what
exists is whole. Equal tables make equal bytes.
"""

import io
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import fsspec
import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from pipeline.footers import REQUESTS, Footer, footers, parse

ROW_GROUP = 65_536
TAIL = 64 << 10  # bytes asked of the end of a parquet file, where the footer is
_HOST = socket.gethostname().replace(".", "-")


def to_arrow(frame: pl.DataFrame) -> pa.Table:
    """A polars frame as an Arrow table of types that every parquet reader knows, in one chunk."""
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest()).combine_chunks()


def packed(notes: Mapping[str, Any]) -> dict[str, bytes]:
    """Notes as they stand in a parquet footer, which `Store.footer` reads."""
    return {key: orjson.dumps(value, option=orjson.OPT_SORT_KEYS) for key, value in notes.items()}


class Files:
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
        """A whole file. Raises FileNotFoundError."""
        if self.local:
            with open(self.path(relative), "rb") as file:
                return file.read()
        return bytes(self.fs.cat_file(self.path(relative)))

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

    def find(self, base: str, **options: bool) -> Any:
        """What fsspec's `find` tells of a folder's files, to any depth, on object storage: one listing."""
        self.fs.invalidate_cache()  # other processes publish too
        try:
            return self.fs.find(base, **options)
        except FileNotFoundError:
            return {}

    def sweep(self) -> None:
        """Remove what killed processes of this machine left half written."""
        for folder, folders, files in os.walk(self.base) if self.local else ():
            for name in (*folders, *files):
                if name.startswith(f".tmp.{_HOST}.") and not _alive(name.split(".")):
                    _remove(os.path.join(folder, name))


def _remove(path: str) -> None:
    shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)


def _alive(parts: Sequence[str]) -> bool:
    pid = next((int(part) for part in parts[3:] if part.isdigit()), 0)
    try:
        os.kill(pid, 0)  # signal 0 only asks
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return pid > 0


class Store:
    """The tables of one pool. Shards go by name."""

    def __init__(self, root: str) -> None:
        self.files = Files(root)
        self._forget()

    def _forget(self) -> None:
        self._places: dict[
            str, dict[str, tuple[str, int, int]]
        ] = {}  # of each decision: shard -> part, start, rows
        self._part: tuple[Any, pl.DataFrame] | None = (
            None  # the verdicts read last: shards are asked for in turn
        )

    def __getstate__(self) -> dict[str, Any]:
        return {"files": self.files}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.files = state["files"]
        self._forget()

    def write(self, relative: str, frame: pl.DataFrame, notes: Mapping[str, Any] | None = None) -> None:
        """Publish a frame as parquet; `notes` go into the footer as JSON."""
        table = to_arrow(frame)
        if notes:
            table = table.replace_schema_metadata(packed(notes))
        sink = io.BytesIO()
        pq.write_table(table, sink, compression="zstd", compression_level=1, row_group_size=ROW_GROUP)
        self.files.publish(relative, sink.getbuffer())

    def read(self, relative: str, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """A published frame, or some of its columns. Raises FileNotFoundError."""
        return self.read_many([relative], columns)

    def read_many(self, relatives: Sequence[str], columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Several published frames of equal columns, one below the other. Raises FileNotFoundError."""
        sources: list[Any] = [self.files.path(relative) for relative in relatives]
        if not self.files.local:
            with ThreadPoolExecutor(min(REQUESTS, len(relatives))) as pool:
                sources = [io.BytesIO(data) for data in pool.map(self.files.read, relatives)]
        elif missing := next((path for path in sources if not os.path.exists(path)), None):
            raise FileNotFoundError(missing)
        wanted = list(columns) if columns is not None else None
        frame = pl.read_parquet(sources, columns=wanted, glob=False)
        return frame if wanted is None else frame.select(wanted)

    def kept(self, decisions: str, shard: str) -> pl.Series:
        """(n,) Boolean: which of a shard's rows a decision keeps. Raises FileNotFoundError."""
        return self.verdicts(decisions, shard, ["keep"])["keep"]

    def verdicts(self, decisions: str, shard: str, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """(n, 1 + rules) Boolean: `keep` and the verdict of each rule on a shard's rows, null where it has no value,
        or some of these columns. Raises FileNotFoundError."""
        if decisions not in self._places:
            table = self.read(f"{decisions}/shards.parquet", ["shard", "part", "start", "samples"])
            self._places[decisions] = {row[0]: row[1:] for row in table.iter_rows()}
        if shard not in self._places[decisions]:
            raise FileNotFoundError(f"{decisions}: no {shard}")
        part, start, rows = self._places[decisions][shard]
        wanted = (f"{decisions}/{part}.parquet", columns)
        if self._part is None or self._part[0] != wanted:
            self._part = (wanted, self.read(*wanted))
        return self._part[1].slice(start, rows)

    def footer(self, relative: str) -> Footer | None:
        """(rows, notes) of a published frame, or None where there is none."""
        try:
            return parse(self.files.footer(relative))
        except FileNotFoundError:
            return None

    def footers(self, folder: str, shards: Collection[str]) -> dict[str, Footer]:
        """The footer of each of these shards' parts that is published in the folder."""
        return footers(self.files, folder, shards)

    def rows(self, folder: str, shards: Collection[str]) -> dict[str, int]:
        """Rows of each of these shards' parts that is published in the folder."""
        return {shard: footer.rows for shard, footer in self.footers(folder, shards).items()}

"""A pool's shards, and a shard's samples as Arrow tables.

`list_shards` turns what a recipe calls `pool.shards` into named shards, tars or tables; `read_samples`
reads one tar once, from front to back, and yields its samples in batches, encoded images included.
(`tables.py` reads tables.)
"""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from braceexpand import braceexpand
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from pipeline.pool.tar import Damage, Member, Walk, walk
from pipeline.pool.webdataset import SAMPLE_SCHEMA, Sample, describe, group

__all__ = ["SAMPLE_SCHEMA", "SampleReader", "Shard", "iter_fields", "list_shards", "read_samples"]

BATCH_BYTES = 64 << 20
STREAM_SCHEMA = SAMPLE_SCHEMA.append(pa.field("image", pa.large_binary()))
SUFFIX = ".tar"
TABLES = (".parquet", ".tsv", ".tsv.gz", ".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")


@dataclass(frozen=True)
class Shard:
    """One tar or table of a pool. `name`: its path below the pool's common root, without suffix, fit to
    name output files. `path`: a local path or an fsspec URL. `size`: bytes, where listing told."""

    name: str
    path: str
    size: int | None = None

    @property
    def kind(self) -> str:
        """`tar`, or of which kind of table: `parquet`, `tsv`, `csv`, `jsonl`, `ndjson`."""
        path = self.path.partition("?")[0] if self.path.startswith("http") else self.path  # less a signature
        return next((suffix for suffix in TABLES if path.endswith(suffix)), SUFFIX).split(".")[1]

    @property
    def table(self) -> bool:
        """Whether it holds captions and URLs only, no images."""
        return self.kind != "tar"


def list_shards(patterns: str | Sequence[str]) -> list[Shard]:
    """The shards that paths, brace patterns, globs and folders stand for; sorted by path, unique.

    Folders are searched to any depth for *.tar and, where there is none, for tables; so are globs: beside
    the tars of img2dataset lie their sidecars. Brace patterns are not looked up: a shard that is
    missing shows up when it is read. Names depend on the whole pool, so shorten the result, not the
    patterns. Raises ValueError for a pattern that nothing matches, for names that are unsafe, and for
    tars and tables in one pool.
    """
    sizes: dict[str, int | None] = {}
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        for path, size in _expand(pattern):
            sizes[path] = sizes.get(path) or size
    if not sizes:
        raise ValueError("pool.shards is empty: name at least one tar, pattern or folder")
    paths = sorted(sizes)
    found = [Shard(name, path, sizes[path]) for name, path in zip(_names(paths), paths, strict=True)]
    if len(kinds := {shard.table: shard.path for shard in found}) > 1:
        raise ValueError(f"pool.shards: {kinds[False]} is a tar and {kinds[True]} a table: name one kind")
    return found


def _expand(pattern: str) -> Iterator[tuple[str, int | None]]:
    for location in braceexpand(pattern, escape=False):
        found = _look_up(location) if location.strip() else {}
        if not found:
            kinds = ", ".join(TABLES)
            raise ValueError(
                f"pool.shards: no *{SUFFIX} matches {location!r} (from {pattern!r}), nor any table ({kinds})"
            )
        yield from found.items()


def _look_up(location: str) -> Mapping[str, int | None]:
    """Path and size of each tar, else of each table, that a pattern without braces stands for."""
    fs, root = url_to_fs(os.path.expanduser(location))
    local = isinstance(fs, LocalFileSystem)
    root = os.path.abspath(root) if local else root
    if glob.has_magic(root) and not location.startswith("http"):  # ? begins a query there
        found = fs.glob(root, detail=True)
    elif location.endswith((SUFFIX, *TABLES)) or location.startswith("http"):
        found = {root: {"type": "file", "size": None}}
    else:
        found = fs.find(root, detail=True)
    tars = {p: info["size"] for p, info in found.items() if _is_shard(p, info, root, (SUFFIX,))}
    files = tars or {p: info["size"] for p, info in found.items() if _is_shard(p, info, root, TABLES)}
    return files if local else {fs.unstrip_protocol(path): size for path, size in files.items()}


def _is_shard(path: str, info: Mapping[str, Any], root: str, suffixes: tuple[str, ...]) -> bool:
    """Of that kind, and no folder, and not hidden, itself or in a hidden folder below, such as macOS's
    ._00000.tar, unless it is named."""
    hidden = "/." in f"/{path.removeprefix(re.split(r'[*?[]', root)[0])}"
    return info["type"] == "file" and (path == root or path.endswith(suffixes) and not hidden)


def _names(paths: Sequence[str]) -> list[str]:
    """The paths below their common folder, without suffix."""
    parts = [path.split("/") for path in paths]
    shared = len(os.path.commonprefix([part[:-1] for part in parts]))
    names = ["/".join(p.rstrip(":") for p in part[shared:] if p) for part in parts]
    names = [_stem(name) for name in names]
    counts = Counter(names)
    for name, path in zip(names, paths, strict=True):
        if {"", ".", ".."} & set(name.split("/")) or "\0" in name:
            raise ValueError(f"pool.shards: {path!r} gives no safe name for output files")
        if counts[name] > 1:
            raise ValueError(f"pool.shards: two shards would be named {name!r}, one is {path!r}")
    return names


def _stem(name: str) -> str:
    suffix = next((suffix for suffix in (SUFFIX, *TABLES) if name.endswith(suffix)), "")
    return name.removesuffix(suffix)


class SampleReader:
    """Tables of a shard's samples. `rows` and `damage` are known once the loop has ended.

    The last sample before a break is left out unless it is known to be whole, so that what is read
    of a damaged tar equals the first samples of the undamaged one.
    """

    def __init__(self, shard: Shard, batch_rows: int, batch_bytes: int) -> None:
        self._shard, self._batch_rows, self._batch_bytes = shard, batch_rows, batch_bytes
        self.rows = 0
        self.damage: Damage | None = None

    def __iter__(self) -> Iterator[pa.Table]:
        self.rows, self.damage = 0, None
        rows: list[tuple[Any, ...]] = []
        held = 0
        for row, size in self._rows():
            if rows and (len(rows) == self._batch_rows or held + size > self._batch_bytes):
                yield _table(rows)
                rows, held = [], 0
            rows.append(row)
            held += size
        if rows:
            yield _table(rows)

    def _rows(self) -> Iterator[tuple[tuple[Any, ...], int]]:
        """Each sample's row and the bytes of it that are held in memory."""
        seen: Counter[str] = Counter()
        members = walk(self._shard.path)
        for sample in _whole(members):
            row = describe(sample, self._shard.name, self.rows, seen[sample.key])
            seen[sample.key] += 1
            self.rows += 1
            yield row, len(row[-1] or b"") + len(row[4] or "") + len(row[5] or "")
        self.damage = members.damage


def read_samples(shard: Shard, *, batch_rows: int = 256, batch_bytes: int = BATCH_BYTES) -> SampleReader:
    """Tables of SAMPLE_SCHEMA plus `image` (the encoded bytes), in the order of the tar.

    A table has at most batch_rows rows, and at most batch_bytes of images and texts unless one
    sample has more: the cuts follow from the shard's content alone. After the loop, `.rows` counts
    the samples and `.damage` tells of a break. Raises OSError where storage does.
    """
    return SampleReader(shard, batch_rows, batch_bytes)


def iter_fields(raw: bytes | memoryview, key: str) -> list[tuple[str, memoryview]]:
    """(suffix as written, contents) of the members in one sample's byte range, in order, less those of
    other keys that lie between and those over MAX_MEMBER."""
    found = []
    for member in walk(raw):
        suffix = member.name.removeprefix(f"{key}.")
        if suffix != member.name and "/" not in suffix and member.data is not None:
            found.append((suffix, member.data))
    return found


def _table(rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    *columns, images = zip(*rows, strict=True)
    arrays = [pa.array(c, f.type) for c, f in zip(columns, SAMPLE_SCHEMA, strict=True)]
    return pa.Table.from_arrays([*arrays, binary(images)], schema=STREAM_SCHEMA)


def binary(values: Sequence[bytes | memoryview | None]) -> pa.LargeBinaryArray:
    """Bytes, copied once into an array. Not by pa.array: up to pyarrow 26 it never lets go of a memoryview,
    and with it of the mapped file."""
    offsets = np.zeros(len(values) + 1, np.int64)
    np.cumsum([0 if value is None else len(value) for value in values], out=offsets[1:])
    present = pa.array([value is not None for value in values], pa.bool_()).buffers()[1]
    data = b"".join(value for value in values if value is not None)
    buffers = [present, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_binary(), len(values), buffers)


def _whole(members: Walk) -> Iterator[Sample]:
    """The samples less the last, where a break has cut it or may have.

    The member at the break takes part in the grouping, so that its name tells where it belongs.
    Where that is unknown, a sample with the same suffixes as the one before counts as whole.
    """
    before = last = None
    for sample in group(_with_cut_member(members)):
        if last is not None:
            yield last
        before, last = last, sample
    if last is None or any(member.offset < 0 for member in last.members.values()):
        return
    if members.damage is None or (before and before.members.keys() == last.members.keys()):
        yield last


def _with_cut_member(members: Walk) -> Iterator[Member]:
    yield from members
    if members.damage:
        yield Member(members.damage.member or "", -1, -1, 0, None)

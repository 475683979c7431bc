"""Shards, and the tars or tables that the paths, patterns and folders of `pool.shards` stand for."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from braceexpand import braceexpand
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

SUFFIX = ".tar"
TABLES = (".parquet", ".tsv", ".tsv.gz", ".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")


@dataclass(frozen=True)
class Shard:
    """One piece of a pool, which is read as a whole: a tar, a table, a run of the files in a folder.

    name  its path below the pool's common root, without suffix, fit to name output files
    path  a local path or an fsspec URL
    size  about its bytes; None if the listing did not say
    span  which of the files in `path` it is, in the words of its kind of pool; empty for all of `path`
    state what the listing says of it that changes when it is rewritten (storage/identity.py); empty if the
          file system does not tell, MISSING if the file does not exist
    content  digest of its content if the store holds samples of this very content, else empty
    rows  how many samples these are
    differs  how the file differs from the one whose samples the store holds; empty if it does not, or if the
          store holds none
    """

    name: str
    path: str
    size: int | None = None
    span: str = ""
    state: str = ""
    content: str = ""
    rows: int = 0
    differs: str = ""

    @property
    def format(self) -> str:
        """`tar`, or the format of a table: `parquet`, `tsv`, `csv`, `jsonl`, `ndjson`."""
        is_url = self.path.startswith("http")
        path = self.path.partition("?")[0] if is_url else self.path  # without a signature
        return next((suffix for suffix in TABLES if path.endswith(suffix)), SUFFIX).split(".")[1]

    @property
    def table(self) -> bool:
        """Whether it holds captions and URLs only, no images."""
        return self.format != "tar"


@dataclass(frozen=True)
class Listing:
    """The shards of a pool, at least one, and everything else that its paths stand for.

    root         the folder below which shards are named: an absolute local path, or a URL
    passed_over  path -> why it is not a shard: a link that leads nowhere, a FIFO, a .tar.gz, another file
    """

    shards: tuple[Shard, ...]
    root: str
    passed_over: Mapping[str, str] = field(default_factory=dict)


def list_shards(patterns: str | Sequence[str]) -> list[Shard]:
    """The tars or tables that paths, brace patterns, globs and folders stand for; sorted by path, unique.

    Folders are searched to any depth for *.tar, and only if there is none, for tables: beside the tars of
    img2dataset lie parquet files that describe them. The same goes for globs. The files of a brace pattern
    are not looked up: a missing one shows when it is read. Names depend on the whole pool, so to work on a
    part of it, shorten the result, not the patterns. Raises ValueError if nothing matches a pattern, if a
    name is unsafe, and if there are both tars and tables.
    """
    sizes: dict[str, int | None] = {}
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        for path, size in _expand(pattern):
            sizes[path] = sizes.get(path) or size
    if not sizes:
        raise ValueError("pool.shards is empty: name at least one tar, pattern or folder")
    paths = sorted(sizes)
    shards = [Shard(name, path, sizes[path]) for name, path in zip(_names(paths), paths, strict=True)]
    if len(kinds := {shard.table: shard.path for shard in shards}) > 1:
        raise ValueError(f"pool.shards: {kinds[False]} is a tar and {kinds[True]} a table: name one kind")
    return shards


def _expand(pattern: str) -> Iterator[tuple[str, int | None]]:
    """Path and size of each file that a pattern stands for. Raises ValueError if there is none."""
    for location in braceexpand(pattern, escape=False):
        files = _look_up(location) if location.strip() else {}
        if not files:
            kinds = ", ".join(TABLES)
            hint = "; a folder of pictures takes kind: files" if os.path.isdir(location) else ""
            raise ValueError(
                f"pool.shards: no *{SUFFIX} matches {location!r} (from {pattern!r}), nor any table ({kinds}){hint}"
            )
        yield from files.items()


def _look_up(location: str) -> Mapping[str, int | None]:
    """Path and size of each tar, or if there is none of each table, that a pattern without braces stands
    for."""
    fs, root = url_to_fs(os.path.expanduser(location))
    local = isinstance(fs, LocalFileSystem)
    root = os.path.abspath(root) if local else root
    if glob.has_magic(root) and not location.startswith("http"):  # in a web address, ? begins a query
        infos = fs.glob(root, detail=True)
    elif location.endswith((SUFFIX, *TABLES)) or location.startswith("http"):
        infos = {root: {"type": "file", "size": None}}
    else:
        infos = fs.find(root, detail=True)
    tars = {p: info["size"] for p, info in infos.items() if _is_shard(p, info, root, (SUFFIX,))}
    files = tars or {p: info["size"] for p, info in infos.items() if _is_shard(p, info, root, TABLES)}
    return files if local else {fs.unstrip_protocol(path): size for path, size in files.items()}


def _is_shard(path: str, info: Mapping[str, Any], root: str, suffixes: tuple[str, ...]) -> bool:
    """Whether a path is a file with one of these suffixes. Hidden files and folders, such as macOS's
    ._00000.tar, count only if the pattern names them."""
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
        check_name(name, path)
        if counts[name] > 1:
            raise ValueError(f"pool.shards: two shards would be named {name!r}, one is {path!r}")
    return names


def check_name(name: str, path: str) -> None:
    """Raises ValueError unless the name of the shard at `path` can name output files: it must be UTF-8,
    too."""
    unsafe = not {"", ".", ".."}.isdisjoint(name.split("/")) or "\0" in name
    if unsafe or name.encode(errors="replace").decode() != name:
        raise ValueError(f"pool.shards: {path!r} gives no safe name for output files")


def _stem(name: str) -> str:
    """A name without the suffix of a tar or table."""
    suffix = next((suffix for suffix in (SUFFIX, *TABLES) if name.endswith(suffix)), "")
    return name.removesuffix(suffix)

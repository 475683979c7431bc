"""Shards, and the tars or tables that the paths, patterns and folders of `pool.shards` stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.pool.archive import packing
from pipeline.pool.listing.lookup import Suffixes, look_up
from pipeline.pool.listing.names import shard_name

SUFFIX = ".tar"
PACKED_TARS = packing.SUFFIXES
STATS = "_stats.json"  # what takes its place in the name of img2dataset's file beside a tar
TABLES = (".parquet", ".tsv", ".tsv.gz", ".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")


Area = tuple[str, tuple[str, ...]]  # a folder that is searched, and the parts of the glob below it


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
    beside  the state of the file beside it that says which URLs were lost; empty if there is none, UNTOLD if
          the listing did not show whether there is
    """

    name: str
    path: str
    size: int | None = None
    span: str = ""
    state: str = ""
    content: str = ""
    rows: int = 0
    differs: str = ""
    beside: str = ""

    def known_as(self, content: str, rows: int, differs: str = "") -> Shard:
        """The same shard, of which the store holds that. Faster than `dataclasses.replace`."""
        return Shard(
            self.name, self.path, self.size, self.span, self.state, content, rows, differs, self.beside
        )

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
    searched     (folder, glob below it, in parts) of each place that was searched
    """

    shards: tuple[Shard, ...]
    root: str
    passed_over: Mapping[str, str] = field(default_factory=dict)
    searched: tuple[Area, ...] = ()


def list_shards(patterns: str | Sequence[str]) -> Listing:
    """The tars or tables that paths, brace patterns, globs and folders stand for; sorted by path, unique.

    A path that exists is never taken for a pattern. Folders are searched to any depth for *.tar, packed
    (*.tar.gz) or not, and only if there is none, for tables: beside the tars of img2dataset lie parquet files
    that describe them. The same goes for globs. Links are followed. A file that does not exist and that is
    named as it is, or by braces, is a shard with the state MISSING. Raises ValueError if nothing matches a
    pattern, if a name is unsafe, and if there are both tars and tables.
    """
    texts = [patterns] if isinstance(patterns, str) else list(patterns)
    if not texts:
        raise ValueError("pool.shards is empty: name at least one tar, pattern or folder")
    found = look_up(texts, Suffixes((SUFFIX, *PACKED_TARS), TABLES, STATS))
    paths = sorted(found.files)
    names = _named(paths, found.root)
    shards = tuple(
        Shard(name, path, file.size, state=file.state, beside=file.beside)
        for name, path in zip(names, paths, strict=True)
        for file in [found.files[path]]
    )
    if len(kinds := {shard.table: shard.path for shard in shards}) > 1:
        raise ValueError(f"pool.shards: {kinds[False]} is a tar and {kinds[True]} a table: name one kind")
    return Listing(shards, found.root, found.passed_over, found.searched)


def _named(paths: Sequence[str], root: str) -> list[str]:
    """The names of the shards at these paths. Raises ValueError if two would be equal."""
    paths_of: dict[str, str] = {}
    for path in paths:
        name = shard_name(path, root, (SUFFIX, *PACKED_TARS, *TABLES))
        if (other := paths_of.setdefault(name, path)) != path:
            raise ValueError(f"pool.shards: two shards would be named {name!r}, {other!r} and {path!r}")
    return list(paths_of)

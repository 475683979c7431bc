"""A DataComp metadata folder: `<name>.parquet` and `<name>.npz`, where row i of the one is row i of the
other.

    metadata = Metadata("commonpool/metadata")
    metadata.read(["0a1b"], ["uid", "datacomp.l14_score"])
    metadata.batches("0a1b", ["text", "datacomp.l14_image_embedding"], rows=8192)

Source: DataComp (arXiv 2304.14108), `baselines/apply_filter.py`. dataset2metadata calls the caption
`caption`. All npz files may be absent, since DataComp's downloader leaves them out by default; but not only
some of them.
"""

import binascii
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any, NamedTuple

import fsspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from pipeline.errors import RecipeError, ShardError
from pipeline.pool.fields import pixels_of
from pipeline.pool.listing.names import safe, unsafe
from pipeline.pool.listing.reasons import NO_SHARD
from pipeline.pool.listing.tree import FILE, FOLDER, File, ListedTree, LocalTree
from pipeline.pool.npz import Rows, open_npz
from pipeline.pool.shards import Shard
from pipeline.schema import SAMPLE_COLUMNS, SIDES
from pipeline.storage.identity import Digest, local_state, state_digest
from pipeline.uids import UID

SCORES = {
    "datacomp.b32_score": "clip_b32_similarity_score",
    "datacomp.l14_score": "clip_l14_similarity_score",
}
EMBEDDINGS = {
    "datacomp.b32_image_embedding": "b32_img",
    "datacomp.b32_text_embedding": "b32_txt",
    "datacomp.l14_image_embedding": "l14_img",
    "datacomp.l14_text_embedding": "l14_txt",
}
CAPTION = ("text", "caption")
PARQUET = ".parquet"
NPZ = ".npz"
READ_AHEAD = 1 << 20  # bytes of each column of a local parquet file


class Pair(NamedTuple):
    """Bytes of the parquet and of the npz of a shard, None if it has none, and the state of both together
    (storage/identity.py)."""

    size: int
    npz: int | None
    state: str


class Metadata:
    """A folder on any fsspec file system. A shard's name is its files' name without suffix. Travels to
    workers."""

    def __init__(self, folder: str) -> None:
        self.fs, base = fsspec.core.url_to_fs(folder)
        self.base = base.rstrip("/")
        self.local = isinstance(self.fs, LocalFileSystem)

    @property
    def root(self) -> str:
        """The full path of the folder, with its protocol unless it is local."""
        return self.base if self.local else str(self.fs.unstrip_protocol(self.base))

    def path(self, shard: str, suffix: str = PARQUET) -> str:
        """The full path of a file, with its protocol unless it is local."""
        path = f"{self.base}/{unsafe(shard)}{suffix}"
        return path if self.local else str(self.fs.unstrip_protocol(path))

    def files(self) -> dict[str, Pair]:
        """Shard -> its files. Raises RecipeError if a file lacks its partner, and OSError."""
        return self.listed()[0]

    def listed(self) -> tuple[dict[str, Pair], dict[str, str]]:
        """Shard -> its files; and path -> why it is neither parquet nor npz. Subfolders are not searched, as
        in DataComp's code; links are followed. Raises RecipeError if a file lacks its partner, and
        OSError."""
        found: dict[str, dict[str, File]] = {PARQUET: {}, NPZ: {}}
        passed_over: dict[str, str] = {}
        tree = LocalTree() if self.local else ListedTree(self.fs, self.base, self._infos())
        for node in tree.nodes(self.base):
            stem, suffix = os.path.splitext(node.name)
            if node.kind == FOLDER or node.name.startswith("."):
                continue
            if node.kind != FILE or suffix not in found:
                passed_over[node.path] = node.kind if node.kind != FILE else NO_SHARD
                continue
            name = safe(stem)
            if unsafe(name) != stem:
                raise RecipeError(f"pool.datacomp: the name of {node.path} is too long; rename it")
            found[suffix][name] = tree.file(node)
        return _paired(self.base, found[PARQUET], found[NPZ]), passed_over

    def _infos(self) -> list[dict[str, Any]]:
        """One listing of a folder on other storage. Raises OSError."""
        self.fs.invalidate_cache()  # the files may have changed since this process last looked
        infos: list[dict[str, Any]] = self.fs.ls(self.base, detail=True)
        return infos

    def content(self, shard: Shard) -> str:
        """A digest of a shard's files: of all bytes of the parquet, and of names, sizes and checksums of the
        arrays in the npz. Files on object storage are not read for it: they are as new as their state. Raises
        ShardError, OSError."""
        if not self.local:
            return state_digest(shard.state)
        digest = Digest()
        with open(self.path(shard.name), "rb", buffering=0) as file:
            while chunk := file.read(READ_AHEAD):
                digest.update(chunk)
        if self.fs.exists(self.path(shard.name, NPZ)):
            with open_npz(self.path(shard.name, NPZ)) as arrays:
                digest.update(arrays.checksums())
        return digest.hexdigest()

    def state_of(self, shard: str) -> str:
        """The state of a shard's files now; of a local folder. Raises OSError."""
        states = [local_state(os.stat(self.path(shard)))]
        with suppress(FileNotFoundError):
            states.append(local_state(os.stat(self.path(shard, NPZ))))
        return " ".join(states)

    def rows(self, shard: str) -> int:
        """How many samples a shard has, from the parquet's footer. Raises ShardError if its arrays have
        more or fewer, and OSError."""
        with self.fs.open(self.path(shard), "rb") as file:
            try:
                rows = int(pq.read_metadata(file).num_rows)
            except pa.ArrowException as error:
                raise ShardError(f"{self.path(shard)}: {error}") from None
        if self.fs.exists(self.path(shard, NPZ)):
            with open_npz(self.path(shard, NPZ)) as arrays:
                for name in set(arrays.names) & set(EMBEDDINGS.values()):
                    if (array_rows := arrays.array(name).rows) != rows:
                        raise ShardError(f"{arrays.path}: {name} has {array_rows} rows, the parquet {rows}")
        return rows

    def read(self, shards: Iterable[str], names: Sequence[str]) -> pl.DataFrame:
        """(n, len(names)) the rows of these shards, one below the other. Raises ShardError, OSError."""
        return pl.concat([frame for shard in shards for frame in self.batches(shard, names)])

    def batches(self, shard: str, names: Sequence[str], rows: int | None = None) -> Iterator[pl.DataFrame]:
        """A shard's rows, `rows` at a time, fewer at the end; all in one frame by default. At least one
        frame."""
        arrays = [name for name in names if name in EMBEDDINGS]
        with ExitStack() as stack:
            vectors = dict(zip(arrays, self._arrays(shard, arrays, stack), strict=True))
            first = 0
            for count, table in self._tables(shard, names, rows, stack):
                columns = {
                    name: self._column(name, table, shard, first, count)
                    for name in names
                    if name not in vectors
                }
                columns |= {name: pl.Series(array.take(count)) for name, array in vectors.items()}
                yield pl.DataFrame(columns).select(names)
                first += count

    def row(self, shard: str, row: int, names: Sequence[str]) -> pl.DataFrame:
        """The scores and sample columns of one row. Little else is read of a local file."""
        if not self.local:
            return self.read([shard], names)[row]
        path = self.path(shard)
        wanted = _wanted(names, list(pl.read_parquet_schema(path)))
        table = pl.scan_parquet(path, glob=False).select(wanted).slice(row, 1).collect()
        return pl.DataFrame({name: self._column(name, table, shard, row, 1) for name in names})

    def find(self, shard: str, uids: Sequence[str]) -> list[int]:
        """The rows that have one of these uids, given in lower case; the file may have them in upper case.
        Nothing else is read, and the form of other uids is not checked."""
        wanted = pl.col("uid").is_in([*uids, *(uid.upper() for uid in uids)])
        if self.local:  # 13 million uids in half the time
            table = pl.scan_parquet(self.path(shard), glob=False, row_index_name="row").filter(wanted)
            return table.select("row").collect()["row"].to_list()
        with ExitStack() as stack:
            parts = [table.select("uid") for _, table in self._tables(shard, ["uid"], None, stack)]
        return pl.concat(parts).select(wanted).to_series().arg_true().to_list()

    def _arrays(self, shard: str, names: Sequence[str], stack: ExitStack) -> list[Rows]:
        """The arrays behind these columns, open until the stack is closed."""
        if not names:
            return []
        archive = stack.enter_context(open_npz(self.path(shard, NPZ)))
        return [archive.array(EMBEDDINGS[name]) for name in names]

    def _tables(
        self, shard: str, names: Sequence[str], rows: int | None, stack: ExitStack
    ) -> Iterator[tuple[int, pl.DataFrame]]:
        """(number of rows, the parquet's columns behind `names`, called as in the file) of each batch."""
        source = self.path(shard) if self.local else stack.enter_context(self.fs.open(self.path(shard), "rb"))
        options = {"buffer_size": READ_AHEAD} if self.local else {"pre_buffer": True}
        try:
            file = stack.enter_context(pq.ParquetFile(source, **options))
            wanted = _wanted(names, file.schema_arrow.names)
            if rows is None and self.local and wanted:
                table = pl.read_parquet(source, columns=wanted, glob=False)
                yield len(table), table
                return
            yielded = False
            for batch in file.iter_batches(rows or max(1, file.metadata.num_rows), columns=wanted):
                yielded = True
                yield batch.num_rows, pl.DataFrame(batch)
            if not yielded:
                yield 0, pl.DataFrame(file.schema_arrow.empty_table().select(wanted))
        except (pa.ArrowException, pl.exceptions.PolarsError, ShardError) as error:
            raise ShardError(f"{self.path(shard)}: {error}") from None

    def _column(self, name: str, table: pl.DataFrame, shard: str, first: int, count: int) -> pl.Series:
        """One column, with the name and type that the rest of Winnow uses."""
        if name == "shard":
            return pl.repeat(shard, count, dtype=pl.String, eager=True)
        rows = pl.int_range(first, first + count, dtype=pl.UInt32, eager=True)
        if name == "row":
            return rows
        if name == "key":
            return rows.cast(pl.String).str.zfill(9)
        source = next((s for s in _sources(name) if s in table.columns), None)
        if source is None:
            return pl.repeat(None, count, dtype=SAMPLE_COLUMNS[name], eager=True)
        values = table[source]
        if name == "uid":
            return _checked(values, self.path(shard), first)
        if name in SIDES:
            return table.select(pixels_of(source)).to_series().alias(name)
        return values if name in SCORES else values.cast(pl.String)


def _paired(base: str, tables: Mapping[str, File], arrays: Mapping[str, File]) -> dict[str, Pair]:
    """The parquet and the npz of each shard. Raises RecipeError if a file lacks its partner."""
    if not tables:
        raise RecipeError(f"pool.datacomp: {base} holds no *.parquet")
    lone = [f"{n}{NPZ} has no {n}{PARQUET}" for n in sorted(arrays.keys() - tables.keys())]
    if arrays:
        lone += [f"{n}{PARQUET} has no {n}{NPZ}" for n in sorted(tables.keys() - arrays.keys())]
    if lone:
        more = f" (and {len(lone) - 3} more)" if len(lone) > 3 else ""
        raise RecipeError(f"pool.datacomp: {base}: {'; '.join(lone[:3])}{more}")
    return {name: _pair(tables[name], arrays.get(name)) for name in sorted(tables)}


def _pair(table: File, arrays: File | None) -> Pair:
    """The files of one shard. Their state is unknown if that of either is."""
    if arrays is None:
        return Pair(table.size or 0, None, table.state)
    known = table.state and arrays.state
    return Pair(table.size or 0, arrays.size, f"{table.state} {arrays.state}" if known else "")


def _sources(name: str) -> tuple[str, ...]:
    """The names that a column may have in the parquet."""
    return CAPTION if name == "text" else (SCORES.get(name, name),)


def _wanted(names: Sequence[str], columns: Sequence[str]) -> list[str]:
    """Which of the parquet's columns are behind `names`. Raises ShardError if it lacks the uid, caption or
    a score."""
    wanted = dict[str, None]()
    for name in names:
        source = next((s for s in _sources(name) if s in columns), None)
        if source is not None and name not in ("shard", "row", "key"):
            wanted[source] = None
        elif source is None and name in ("uid", "text", *SCORES):
            listed = ", ".join(columns[:20]) or "none"
            raise ShardError(f"no column {' or '.join(_sources(name))} (for {name}); there are: {listed}")
    return list(wanted)


def _checked(uids: pl.Series, path: str, first: int) -> pl.Series:
    """The uids in lower case. Raises ShardError if one is not 32 hex digits."""
    try:
        if uids.null_count() or not bool((uids.str.len_bytes() == 32).all()):
            raise ValueError
        array = uids.to_arrow(compat_level=pl.CompatLevel.oldest())
        binascii.unhexlify(memoryview(array.buffers()[2])[: 32 * len(array)] if len(array) else b"")
    except (ValueError, pl.exceptions.PolarsError):
        texts = uids.cast(pl.String)
        bad = (~texts.str.contains(f"^{UID.pattern}$")).fill_null(True).arg_true()[0]
        raise ShardError(f"{path}: row {first + bad}: uid {texts[bad]!r} must be 32 hex digits") from None
    return uids.str.to_lowercase()

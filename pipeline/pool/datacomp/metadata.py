"""A DataComp metadata folder: `<name>.parquet` and `<name>.npz`, where row i of the one is row i of the
other.

    metadata = Metadata("commonpool/metadata")
    metadata.read(["0a1b"], ["uid", "datacomp.l14_score"])
    metadata.batches("0a1b", ["text", "datacomp.l14_image_embedding"], rows=8192)

Source: DataComp (arXiv 2304.14108), `baselines/apply_filter.py`. dataset2metadata calls the caption
`caption`. All npz files may be absent, since DataComp's downloader leaves them out by default; but not only
some of them.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, NamedTuple
from uuid import UUID

import fsspec
import orjson
import polars as pl
from fsspec.implementations.local import LocalFileSystem

from pipeline.arrow_columns import is_text
from pipeline.bounds import USUAL, Bounds
from pipeline.errors import RecipeError, ShardError
from pipeline.parquet import Parquet, garbled
from pipeline.pool.captions import of_captions
from pipeline.pool.datacomp.npz import Rows, open_npz
from pipeline.pool.datacomp.typed_columns import (
    NUMBERED,
    SCORES,
    TEXTS,
    converted,
    numbered,
    recut,
    sources,
    sources_of,
)
from pipeline.pool.listing.names import safe, unsafe
from pipeline.pool.listing.reasons import NO_SHARD
from pipeline.pool.listing.tree import FILE, FOLDER, File, ListedTree, LocalTree
from pipeline.pool.shards import Shard
from pipeline.pool.table_columns import places_in
from pipeline.schema import CAPTIONS_COLUMN, SAMPLE_COLUMNS
from pipeline.storage.identity import Digest, local_state, state_digest

EMBEDDINGS = {
    "datacomp.b32_image_embedding": "b32_img",
    "datacomp.b32_text_embedding": "b32_txt",
    "datacomp.l14_image_embedding": "l14_img",
    "datacomp.l14_text_embedding": "l14_txt",
}
CHECKED = ("uid", *TEXTS, *SCORES)  # columns in which a value that cannot be meant spoils the shard
PARQUET = ".parquet"
NPZ = ".npz"
ROWS = 8192  # rows that are unpacked together
CHUNK = 1 << 20  # bytes read at a time for a digest


class Pair(NamedTuple):
    """Bytes of the parquet and of the npz of a shard, None if it has none, and the state of both together
    (storage/identity.py)."""

    size: int
    npz: int | None
    state: str


class Metadata:
    """A folder on any fsspec file system. A shard's name is its files' name without suffix. Travels to
    workers."""

    def __init__(self, folder: str, bounds: Bounds = USUAL, captions: Sequence[str | int] = ()) -> None:
        self.bounds = bounds
        self.captions = captions
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
        return list(self.fs.ls(self.base, detail=True))

    def content(self, shard: Shard) -> str:
        """A digest of a shard's files: of all bytes of the parquet, and of names, sizes and checksums of the
        arrays in the npz. Files on object storage are not read for it: they are as new as their state. Raises
        ShardError, OSError."""
        digest = Digest()
        digest.update(orjson.dumps({"caption": self.captions}) if self.captions else b"")
        if not self.local:
            content = state_digest(shard.state)
            digest.update(content.encode())
            return digest.hexdigest() if self.captions else content
        with open(self.path(shard.name), "rb", buffering=0) as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
        if self.fs.exists(self.path(shard.name, NPZ)):
            with open_npz(self.path(shard.name, NPZ), self.bounds) as arrays:
                digest.update(arrays.checksums())
        return digest.hexdigest()

    def state_of(self, shard: str) -> str:
        """The state of a shard's files now; of a local folder. Raises OSError."""
        states = [local_state(os.stat(self.path(shard)))]
        with suppress(FileNotFoundError):
            states.append(local_state(os.stat(self.path(shard, NPZ))))
        return " ".join(states)

    def checked_rows(self, shard: str) -> int:
        """How many samples a shard has. Raises ShardError as `rows` does, and if a uid, a caption or a score
        is not as it must be, which takes half a second for a million rows; OSError. Captions and URLs are two
        thirds of a file's bytes, so those on object storage are left to the passes that read them anyway."""
        rows = self.rows(shard)
        checked = CHECKED if self.local else [name for name in CHECKED if name not in TEXTS]
        with self._parquet(shard) as table:
            there = set(table.schema.names)
        names = [n for n in checked if set(sources(n)) & there or (n == "text" and self.captions)]
        for _ in self._frames(shard, names):
            pass
        return rows

    def column_names(self, shard: str) -> list[str]:
        """The columns of a shard's parquet. Raises ShardError, OSError."""
        with self._parquet(shard) as table:
            return list(table.schema.names)

    def rows(self, shard: str) -> int:
        """How many samples a shard has, from the parquet's footer. Raises ShardError if its arrays have
        more or fewer, and OSError."""
        with self._parquet(shard) as table:
            rows = table.rows
        if self.fs.exists(self.path(shard, NPZ)):
            with open_npz(self.path(shard, NPZ), self.bounds) as arrays:
                for name in set(arrays.names) & set(EMBEDDINGS.values()):
                    if (array_rows := arrays.array(name).rows) != rows:
                        raise ShardError(f"{arrays.path}: {name} has {array_rows} rows, the parquet {rows}")
        return rows

    def read(self, shards: Iterable[str], names: Sequence[str]) -> pl.DataFrame:
        """(n, len(names)) the rows of these shards, one below the other. Raises ShardError, OSError."""
        frames = [frame for shard in shards for frame in self.batches(shard, names)]
        try:
            return pl.concat(frames)
        except pl.exceptions.PolarsError:  # rows of embeddings in two shards have different numbers
            kinds = {name: sorted({str(frame.schema[name]) for frame in frames}) for name in names}
            name = next(name for name in names if len(kinds[name]) > 1)
            raise ShardError(f"{self.base}: {name} is {' and '.join(kinds[name][:3])}, must be one") from None

    def batches(self, shard: str, names: Sequence[str], rows: int | None = None) -> Iterator[pl.DataFrame]:
        """A shard's rows, `rows` at a time, fewer at the end; all in one frame by default. At least one
        frame."""
        arrays = [name for name in names if name in EMBEDDINGS]
        with ExitStack() as stack:
            vectors = dict(zip(arrays, self._arrays(shard, arrays, stack), strict=True))
            first = 0
            plain = [name for name in names if name not in vectors]
            for frame in recut(self._frames(shard, plain), rows):
                columns = {name: pl.Series(array.take(len(frame))) for name, array in vectors.items()}
                row = pl.int_range(first, first + len(frame), dtype=pl.UInt32, eager=True)
                columns |= {name: numbered(name, shard, row) for name in plain if name in NUMBERED}
                yield frame.with_columns(**columns).select(names)
                first += len(frame)

    def row(self, shard: str, row: int, names: Sequence[str]) -> pl.DataFrame:
        """The scores and sample columns of one row. Little else is read of a local file."""
        first = 0
        for frame in self.batches(shard, names, ROWS):
            if row < first + len(frame):
                return frame[row - first]
            first += len(frame)
        raise ShardError(f"{self.path(shard)} has no row {row}")

    def find(self, shard: str, uids: Sequence[str]) -> list[int]:
        """The rows that have one of these uids, given in lower case. Nothing else is read."""
        if self.is_plain(shard):
            dashed = [str(UUID(uid)) for uid in uids]
            wanted = pl.col("uid").is_in([spelt for uid in (*uids, *dashed) for spelt in (uid, uid.upper())])
            lazy = pl.scan_parquet(self.path(shard), glob=False, row_index_name="row").filter(wanted)
            return lazy.select("row").collect()["row"].to_list()
        frames = self.batches(shard, ["row", "uid"], ROWS)
        return [row for frame in frames for row in frame.filter(pl.col("uid").is_in(uids))["row"]]

    def is_plain(self, shard: str) -> bool:
        """Whether polars can read the uids by itself: 13 million in half the time."""
        with self._parquet(shard) as table:
            names = table.schema.names
            return self.local and "uid" in names and is_text(table.schema.field("uid").type)

    def _arrays(self, shard: str, names: Sequence[str], stack: ExitStack) -> list[Rows]:
        """The arrays behind these columns, open until the stack is closed."""
        if not names:
            return []
        archive = stack.enter_context(open_npz(self.path(shard, NPZ), self.bounds))
        return [archive.array(EMBEDDINGS[name]) for name in names]

    @contextmanager
    def _parquet(self, shard: str) -> Iterator[Parquet]:
        """A shard's table. Raises ShardError, inside the block too, if it is garbled, and OSError."""
        path = self.path(shard)
        with ExitStack() as stack:
            try:
                with garbled(local=self.local):
                    source = path if self.local else stack.enter_context(self.fs.open(path, "rb"))
                    yield stack.enter_context(Parquet(source, self.bounds))
            except (ValueError, ShardError) as error:
                raise ShardError(f"{path}: {error}") from None

    def _frames(self, shard: str, names: Sequence[str]) -> Iterator[pl.DataFrame]:
        """The parquet's columns behind `names`, as the rest of Winnow has them; those that count rows are
        left out. At least one frame."""
        with self._parquet(shard) as table:
            chosen = [name for name in ("text", *CAPTIONS_COLUMN) if self.captions and name in names]
            places = places_in(table.schema.names, self.captions) if chosen else ()
            sources = sources_of([name for name in names if name not in chosen], table.schema.names)
            wanted = list(dict.fromkeys([*sources.values(), *map(str, places)])) or table.schema.names[:1]
            table.check(wanted)
            left = [name for name in names if name not in (*NUMBERED, *chosen)]
            first = 0
            for batch in table.batches(wanted, ROWS):
                rows, most = batch.num_rows, self.bounds.text_bytes
                arrays = {n: batch.column(sources[n]) if n in sources else None for n in left}
                columns = {n: converted(n, array, rows, first, most) for n, array in arrays.items()}
                if chosen:
                    captions = of_captions(batch, self.captions, self.bounds)["captions"]
                    columns |= {"text": captions.list.first(), "captions": captions}
                yield pl.DataFrame(columns or {"": pl.repeat(0, rows, eager=True)})
                first += rows
            if not first:
                empty = {n: pl.Series(n, [], {**SAMPLE_COLUMNS, **CAPTIONS_COLUMN}[n]) for n in chosen}
                yield pl.DataFrame(empty | {n: converted(n, None, 0, 0) for n in left} or {"": []})


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

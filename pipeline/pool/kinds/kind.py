"""The protocol of a kind of pool. The rest of Winnow sees a pool through it alone.

1. `list_shards` finds the shards that the recipe's paths stand for.
2. `check` and `check_shard` say what is wrong before any work begins.
3. `read` gives the samples of one shard, with their encoded images, for the first pass over it.
4. `samples` is the table of what was read, for everything after that.
5. `members` gives the files of chosen samples back, for exports.

A class that inherits from PoolKind states its attributes and defines `list_shards` and `read`; the other
methods have defaults. Instances travel to workers.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import Any, ClassVar, Protocol

import fsspec
import orjson
import polars as pl
from polars._typing import PolarsDataType

from pipeline.pool.captions import KEY, TXT
from pipeline.pool.fetching import Fetch
from pipeline.pool.fields import USUAL, Limits, parse, string
from pipeline.pool.sample_table import READING, SampleTable, StoredSamples
from pipeline.pool.shards import PACKED_TARS, SUFFIX, TABLES, Listing, Shard
from pipeline.pool.table_reader import column_names
from pipeline.schema import CAPTIONS_COLUMN, EMPTY
from pipeline.storage.identity import Digest, Seen, noted
from pipeline.storage.ranges import local_path
from pipeline.storage.store import Store

CaptionPlaces = Sequence[str | int]  # pool.caption: where captions are, the first choice first
ColumnNames = Mapping[str, str | int]  # pool.columns: a column's name, or its position, by part of a sample
Encoded = Sequence[Any]  # encoded images (anything with the buffer protocol) or None, by row
SampleBatch = tuple[
    pl.DataFrame, Encoded | None
]  # SAMPLE_SCHEMA's columns and perhaps `captions`, and the images if the kind has any
Fields = Sequence[tuple[str, bytes | memoryview]]  # (suffix as written, contents) of the files of one sample
MembersOf = Callable[[Mapping[str, Any]], Fields]

LOOKED_AT = 100  # samples in which captions are looked for before the start
SHOWN = 20  # names in a message
PLACES_READ = 2  # version of how captions at places, and uids with them, are read
MEMBER_COLUMNS = ("row", "key", "offset", "length")  # of a sample, by which `members` finds its files


class PoolKind(Protocol):
    """One kind of pool, made for the paths of one recipe."""

    key: ClassVar[str] = "pool.shards"
    """The recipe's key that names such a pool."""
    noun: ClassVar[str]
    """The word for its shards in messages, in the plural."""
    has_images: ClassVar[bool]
    """Whether its samples have images, and so files that can be exported."""
    takes_columns: ClassVar[bool] = False
    """Whether `pool.columns` says how to read it."""
    ready: Mapping[str, PolarsDataType] = {}
    """Columns that it brings along beside the sample's own: those that `schema.READY_COLUMNS` lists, and all
    captions if the recipe says where they are."""

    paths: tuple[str, ...]
    columns: ColumnNames
    limits: Limits
    places: CaptionPlaces

    def __init__(
        self,
        paths: Sequence[str],
        columns: ColumnNames,
        limits: Limits = USUAL,
        places: CaptionPlaces = (),
    ) -> None:
        self.paths = tuple(paths)
        self.columns = dict(columns)
        self.limits = limits
        self.places = tuple(places)
        if self.places:
            self.ready = {**self.ready, **CAPTIONS_COLUMN}

    def list_shards(self) -> Listing:
        """The shards, at least one, and what was passed over. Raises RecipeError, ValueError (the message
        names the path), and what storage raises."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """What the names of the files that it reads end in."""
        return (SUFFIX, *PACKED_TARS, *TABLES)

    def files_of(self, shard: Shard) -> list[str]:
        """The paths of the files of a shard, as far as the shard tells."""
        return [shard.path]

    def check(self, shards: Sequence[Shard], columns: Collection[str]) -> None:
        """Raises RecipeError if the shards are not what the recipe says, or lack one of these columns,
        which it reads."""
        return  # by default any shard will do

    def check_shard(self, shard: Shard) -> None:
        """Read just enough of a shard to know whether `read` would succeed. Raises ShardError and OSError."""
        return  # by default nothing can be wrong with it

    def places_of(self, shard: Shard) -> set[str]:
        """Where captions may be in the first samples of a shard: by default the columns of a table, else its
        txt and the keys of its json. Raises what `read` does."""
        if self.takes_columns:
            named = (*self.columns.values(), *self.places)
            return set(map(str, column_names(shard, named, self.limits)))
        there = set[str]()
        rows = self.first_rows(shard)
        with self.members(shard) as members_of:
            found = [] if rows is None else rows.head(SHOWN).select(MEMBER_COLUMNS).iter_rows(named=True)
            for suffix, data in (field for row in found for field in members_of(row)):
                there |= {TXT} if suffix.lower() == TXT else set()
                record = parse(data, self.limits.json_bytes)[0] if suffix.lower() == "json" else {}
                there |= {f"{KEY}{string(key) or ''}" for key in record}
        return there

    def first_rows(self, shard: Shard) -> pl.DataFrame | None:
        """The first samples of a shard, at most LOOKED_AT; None if it has none. Raises what `read` does."""
        batch = next(iter(self.read(shard, LOOKED_AT, {}, images=False)), None)
        return None if batch is None else batch[0]

    def touch(self, shard: Shard) -> None:
        """Read as little of a shard as shows that storage allows it. Raises what storage raises."""
        touch_file(shard.path)

    def read(
        self, shard: Shard, rows: int, notes: dict[str, Any], images: bool = True
    ) -> Iterator[SampleBatch]:
        """The samples of a shard, from the first to the last, at most `rows` at a time. The cuts follow from
        the shard's content and the arguments alone. Without `images` none is handed out: copying them takes
        longer than all the rest. Fills `notes`, which are complete when the iterator ends and go into the
        footer of the samples:

        damage   {offset, reason, member} of the place where the shard breaks off; what comes before is read
        state    the shard's state when it was opened (storage/identity.py)
        content  the digest of its whole content, also of what comes after a break, and of the settings that
                 change how it is read

        Raises ChangedError if the shard was rewritten meanwhile, ShardError, and OSError if storage does.
        """

    def identify(self, shard: Shard) -> Seen:
        """The state and the content of a shard as they are now, without its samples: the same content that
        `read` notes, as fast as storage gives the bytes. Raises ChangedError, ShardError, OSError."""
        raise NotImplementedError

    def lost(self, shard: Shard) -> Mapping[str, int]:
        """Reason -> URLs that a download did not fetch, of a shard with a file beside it that says so
        (`Shard.beside`). Raises OSError."""
        return {}  # by default there are no such files

    def read_as(self, seen: Seen) -> Seen:
        """A shard read with other limits, other `pool.columns`, or another `pool.caption`, is another
        content."""
        if not self.columns and self.limits == USUAL and not self.places:
            return seen
        settings = [seen.content, self.columns]
        if self.limits != USUAL:
            settings.append(asdict(self.limits))
        if self.places:
            settings.append({"caption": self.places, "version": PLACES_READ})
        digest = Digest()
        digest.update(orjson.dumps(settings, option=orjson.OPT_SORT_KEYS))
        return seen._replace(content=digest.hexdigest())

    @property
    def reading(self) -> str:
        """A digest of the limits with which shards are read; empty for the usual ones. The file of a shard
        that was read with others has not changed, so its state does not tell."""
        if self.limits == USUAL:
            return ""
        digest = Digest()
        digest.update(orjson.dumps(asdict(self.limits), option=orjson.OPT_SORT_KEYS))
        return digest.hexdigest()

    def notes_of(self, seen: Seen) -> dict[str, str]:
        """What was read, and how, as notes in the footer of a shard's samples."""
        return noted(self.read_as(seen)) | ({READING: self.reading} if self.reading else {})

    @property
    def empty(self) -> pl.DataFrame:
        """No samples, with the columns that `read` gives them."""
        return EMPTY.hstack(pl.DataFrame(schema=CAPTIONS_COLUMN)) if self.places else EMPTY

    def samples(self, store: Store) -> SampleTable:
        """The table of the samples: by default what was published in the store as the shards were read."""
        return StoredSamples(store, self.reading)

    def members(self, shard: Shard, fetch: Fetch | None = None) -> AbstractContextManager[MembersOf]:
        """Within the block, a function from a sample's MEMBER_COLUMNS to its files. It raises ShardError if
        the shard has changed since it was read. The samples of a pool without images have no files.

        `fetch` says which samples will be asked for, if they are few, and counts what they cost. Without it
        as many as there are, from the first to the last, are read fastest."""
        return nullcontext(lambda row: [])


def touch_file(url: str) -> None:
    """Read a byte of a file; of a web server, which may send it whole, its length."""
    if (path := local_path(url)) is not None:
        with open(path, "rb") as file:
            file.read(1)
        return
    fs, path = fsspec.core.url_to_fs(url)
    if url.startswith("http"):
        fs.info(path)
    else:
        fs.cat_file(path, start=0, end=1)

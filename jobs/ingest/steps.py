"""The steps of `winnow ingest`: read the list, skip the shards that are complete, download the others.

Rows go to shards in the order of the list. A shard is published when it is complete, and its `_stats.json`
says which rows it was made of. So the command can be run again at any time: it counts the shards that exist
and downloads the missing ones.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import partial

import orjson
from pydantic import ValidationError

from jobs.ingest.books import Books
from jobs.ingest.download import COLUMNS, Chunk, Fetched, Settings, fetch
from jobs.processes import Each
from jobs.terminal.progress import showing_progress
from pipeline.errors import RecipeError, ShardError
from pipeline.pool.img2dataset import NOT_PUBLIC, reasons
from pipeline.pool.shards import STATS, Shard, list_shards
from pipeline.pool.table_reader import read_table
from pipeline.recipe.pool_section import Pool
from pipeline.storage.folder import Folder

LOG = logging.getLogger("winnow.ingest")
FIELDS = ("text", "url", "uid")  # what --column may say the column of
UNLIMITED = 1 << 62  # bytes of a chunk: chunks are cut by rows alone

Columns = dict[str, str | int]  # field -> the list's column, by name or position


def download(settings: Settings, urls: str, columns: Columns, each: Each) -> Books:
    """Download the shards that are missing, and count all of them.

    Raises RecipeError for a wrong list or folder, ShardError if a worker process was killed.
    """
    LOG.info("download begun: %s to %s", urls, settings.out)
    books = Books()
    with showing_progress() as progress:
        show = progress.ingest()

        def count(fetched: Fetched) -> None:
            if fetched.error is not None:
                LOG.warning("shard %s failed: %s", fetched.name, fetched.error)
            books.add_shard(fetched)
            show(fetched)

        chunks = missing(settings, read_chunks(list_files(urls), columns, settings.rows, books), count)
        try:
            for fetched in each(partial(fetch, settings), chunks):
                count(fetched)
        except BrokenProcessPool:
            raise ShardError(
                "a worker process was killed, perhaps because memory ran out: take fewer --threads or "
                "--processes, then run the command again"
            ) from None
    LOG.info("download done: shards: %d; failed shards: %d", books.shards, len(books.pending))
    return books


def columns_of(texts: Sequence[str]) -> Columns:
    """The values of --column as `pool.columns` has them: `url=LINK` by name, `url=1` by position.

    Raises RecipeError.
    """
    columns: Columns = {}
    for text in texts:
        name, _, column = text.partition("=")
        if name not in FIELDS or not column:
            raise RecipeError(
                f"--column must be FIELD=COLUMN, FIELD one of {', '.join(FIELDS)}, got {text!r}"
            )
        columns[name] = int(column) if column.isdecimal() else column
    try:
        return Pool(shards="", store="", columns=columns).columns
    except ValidationError as error:
        raise RecipeError(f"--column {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None


def list_files(urls: str) -> tuple[Shard, ...]:
    """The files of a list of URLs. Raises RecipeError if there are none, or if they are not tables."""
    try:
        files = list_shards(urls).shards
    except (ValueError, OSError, ImportError) as error:
        raise RecipeError(str(error).replace("pool.shards", "URLS")) from None
    if not files[0].table:
        raise RecipeError(f"URLS must be tables of captions and URLs, got {files[0].path}")
    return files


def read_chunks(files: Iterable[Shard], columns: Columns, rows: int, books: Books) -> Iterator[Chunk]:
    """The rows of a list, one chunk of at most `rows` per shard; a chunk never has rows of two files.

    Files that are cut off are noted in the books. Raises RecipeError for a file or column that does not
    exist.
    """
    number = 0
    for file in files:
        table = read_table(file, columns, rows, size=UNLIMITED, needed=("text", "url"))
        try:
            for frame in table:
                yield Chunk(number, frame.rename({"text": "caption"}).select(COLUMNS))
                number += 1
        except FileNotFoundError:
            raise RecipeError(f"URLS: no such file: {file.path}") from None
        except ShardError as error:
            raise RecipeError(f"URLS: {str(error).replace('pool.columns.', '--column ')}") from None
        if table.damage:
            books.damaged[file.path] = f"{table.damage.reason} (byte {table.damage.offset})"


def missing(settings: Settings, chunks: Iterable[Chunk], count: Callable[[Fetched], None]) -> Iterator[Chunk]:
    """The chunks whose shards are not complete; `count` is called with the shards that are.

    Raises RecipeError if a complete shard was made of other rows, or with other settings.
    """
    out = Folder(settings.out)
    out.remove_leftovers()
    names = out.file_names()
    for chunk in chunks:
        if not names.issuperset({f"{chunk.name}{ending}" for ending in (".tar", ".parquet", STATS)}):
            yield chunk
            continue
        stats = orjson.loads(out.read(chunk.name + STATS))
        origin = stats.get("winnow") or {}
        if {**origin, "allowed": None} != {**chunk.origin(settings), "allowed": None}:
            raise RecipeError(
                f"OUT: {chunk.name} in {settings.out} was made of other rows, or with another --size or "
                "--rows; name another folder"
            )
        newly_allowed = set(settings.guard.names()).difference(origin.get("allowed", []))
        if newly_allowed and NOT_PUBLIC in reasons(stats):
            yield chunk  # what was refused is tried again
            continue
        count(Fetched(chunk.name, stats))

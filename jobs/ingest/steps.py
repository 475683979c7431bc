"""The steps of `winnow ingest`: read the list, skip the shards that are complete, download the others.

Rows go to shards in the order of the list. A shard is published when it is whole, and its `_stats.json` says which
rows it was made of, so the command can be run again at any time and adds up the books from what is there.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any

import orjson
from pydantic import ValidationError

from jobs.ingest.books import Books
from jobs.ingest.download import COLUMNS, Chunk, Fetched, Settings, fetch
from jobs.processes import Each
from jobs.terminal.progress import Progress
from pipeline.errors import RecipeError, ShardError
from pipeline.pool.img2dataset import STATS
from pipeline.pool.shards import Shard, list_shards
from pipeline.pool.table_reader import read_table
from pipeline.recipe.sections import Pool
from pipeline.storage.folder import Folder

PARTS = ("text", "url", "uid")


Columns = dict[str, str | int]


def download(settings: Settings, urls: str, columns: Columns, each: Each, quiet: bool = False) -> Books:
    """Download what is missing. Raises RecipeError for a wrong list or folder, ShardError where a process
    was killed."""

    books = Books()
    with Progress(quiet) as progress:
        tell = progress.ingest()

        def count(fetched: Fetched) -> None:
            books.add(fetched)
            tell(fetched)

        todo = missing(settings, chunks(list_of(urls), columns, settings.rows, books), count)
        try:
            for fetched in each(partial(fetch, settings), todo):
                count(fetched)
        except BrokenProcessPool:
            raise ShardError(
                "a process was killed, by want of memory perhaps: fewer --threads or --processes; run again to go on"
            ) from None
    return books


def columns_of(texts: Sequence[str]) -> Columns:
    """--column options as pool.columns has them. Raises RecipeError."""

    pairs = [text.partition("=") for text in texts]
    found = {part: int(name) if name.isdecimal() else name for part, _, name in pairs}
    if wrong := [
        text for text, (part, _, name) in zip(texts, pairs, strict=True) if part not in PARTS or not name
    ]:
        raise RecipeError(f"--column takes PART=NAME, PART of {', '.join(PARTS)}, got {wrong[0]!r}")
    try:
        return Pool(shards="", store="", columns=found).columns
    except ValidationError as error:
        raise RecipeError(f"--column {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None


def list_of(urls: str) -> list[Shard]:
    """The files of a list. Raises RecipeError."""

    try:
        files = list_shards(urls)
    except (ValueError, OSError, ImportError) as error:
        raise RecipeError(str(error).replace("pool.shards", "URLS")) from None
    if not files[0].table:
        raise RecipeError(f"URLS must be tables of captions and URLs, got {files[0].path}")
    return files


def chunks(files: Iterable[Shard], columns: Columns, rows: int, books: Books) -> Iterator[Chunk]:
    """The rows of a list, shard by shard; no shard has rows of two files. Raises RecipeError."""

    number = 0
    for file in files:
        table = read_table(file, columns, rows, size=1 << 62)  # the cuts are the rows alone
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


def missing(settings: Settings, found: Iterable[Chunk], count: Any) -> Iterator[Chunk]:
    """The chunks that are not in the folder; `count` gets the others. Raises RecipeError where a shard there
    was made of something else."""

    out = Folder(settings.out)
    out.remove_leftovers()
    there = out.file_names()
    for chunk in found:
        if not there.issuperset({f"{chunk.name}{ending}" for ending in (".tar", ".parquet", STATS)}):
            yield chunk
            continue
        stats = orjson.loads(out.read(chunk.name + STATS))
        if stats.get("winnow") != chunk.origin(settings):
            raise RecipeError(
                f"OUT: {chunk.name} in {settings.out} was made of other rows, or with another --size or "
                "--rows; name another folder"
            )
        count(Fetched(chunk.name, stats))

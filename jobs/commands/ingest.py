"""`winnow ingest`: a list of URLs and captions, downloaded with img2dataset into shards that a recipe can name.

    winnow ingest 'urls/*.parquet' shards
    winnow ingest pool.tsv s3://bucket/shards --column text=0 --column url=1

The list is read as any pool of tables is (`pipeline/pool/table_reader.py`), so every row has the uid that it has
there. Rows go to shards in order; a shard is published when it is whole, and says in its `_stats.json`
which rows it was made of. Run again, the command does what is missing and adds up the books from all that
is there. What is lost is never tried again by itself: the sidecars, which list it, are lists themselves.
"""

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from pipeline.errors import RecipeError, ShardError

if TYPE_CHECKING:
    from jobs.ingest.download import Chunk, Fetched, Settings
    from jobs.processes import Each
    from pipeline.pool.shards import Shard

PARTS = ("text", "url", "uid")
PATIENCE = 6  # a response may take so many time-outs, as long as something comes

Columns = dict[str, str | int]


def ingest(
    urls: Annotated[str, typer.Argument(help="parquet, TSV, CSV or JSON lines: path, braces, glob, folder")],
    out: Annotated[str, typer.Argument(metavar="OUT", help="folder of the shards, local or any fsspec URL")],
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="PART=NAME", help="where text, url, uid are, such as url=LINK, or url=1"),
    ] = None,
    size: Annotated[int, typer.Option(min=16, help="longer side to which larger pictures are scaled")] = 512,
    rows: Annotated[int, typer.Option(min=1, max=100_000, help="URLs a shard")] = 10_000,
    threads: Annotated[int, typer.Option(min=1, help="downloads at a time in a process")] = 64,
    processes: Annotated[int | None, typer.Option(min=1, help="with --local; as many as cores")] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, help=f"seconds without an answer; {PATIENCE} times that in all")
    ] = 10.0,
    retries: Annotated[int, typer.Option(min=0, help="further attempts for each URL")] = 1,
    allow: Annotated[
        list[str] | None,
        typer.Option(metavar="NETWORK", help="private addresses to let through, such as 10.0.0.0/8"),
    ] = None,
    local: Annotated[bool, typer.Option("--local", help="processes on this machine, no Ray")] = False,
    json: Annotated[bool, typer.Option("--json", help="numbers as JSON on stdout, no tables")] = False,
) -> None:
    """Download a list of URLs and captions into shards, with img2dataset; resumes by itself."""
    from jobs.ingest.download import Settings
    from jobs.ingest.guard import Guard, networks
    from jobs.terminal import tables
    from pipeline.storage.folder import Folder

    try:
        guard = Guard(networks(allow or ()), seconds=PATIENCE * timeout)
    except ValueError as error:
        raise RecipeError(f"--allow must be a network such as 10.0.0.0/8: {error}") from None
    base = Folder(out)
    settings = Settings(_shared(out), size, rows, threads, timeout, retries, guard)
    books = download(settings, urls, columns_of(column or ()), _workers(local, processes), quiet=json)
    if json:
        print(orjson.dumps(books.summary(), option=orjson.OPT_INDENT_2).decode())
    else:
        tables.ingested(books.summary())
        print(base.base)
    if books.pending:
        tables.pending(books.pending, " ".join(["winnow", *sys.argv[1:]]))
        raise typer.Exit(1)


@dataclass
class Books:
    """listed = downloaded + lost, over the shards that are done; `pending` names the others, with why."""

    listed: int = 0
    downloaded: int = 0
    shards: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    pending: dict[str, str] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)

    def add(self, fetched: "Fetched") -> None:
        """Count a shard."""
        from pipeline.pool.img2dataset import reasons

        if fetched.error is not None:
            self.pending[fetched.name] = fetched.error
            return
        self.shards += 1
        self.listed += fetched.stats["count"]
        self.downloaded += fetched.stats["successes"]
        self.lost.update(reasons(fetched.stats))

    def summary(self) -> dict[str, Any]:
        """As plain data, or an AssertionError."""
        if self.listed != self.downloaded + self.lost.total():
            raise AssertionError(f"the books do not balance: {self}")
        lost = sorted(self.lost.items(), key=lambda item: (-item[1], item[0]))
        return {**vars(self), "lost": dict(lost)}


def download(settings: "Settings", urls: str, columns: Columns, each: "Each", quiet: bool = False) -> Books:
    """Download what is missing. Raises RecipeError for a wrong list or folder, ShardError where a process
    was killed."""
    from jobs.ingest.download import fetch
    from jobs.terminal.progress import Progress

    books = Books()
    with Progress(quiet) as progress:
        tell = progress.ingest()

        def count(fetched: "Fetched") -> None:
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
    from pydantic import ValidationError

    from pipeline.recipe.sections import Pool

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


def list_of(urls: str) -> "list[Shard]":
    """The files of a list. Raises RecipeError."""
    from pipeline.pool.shards import list_shards

    try:
        files = list_shards(urls)
    except (ValueError, OSError, ImportError) as error:
        raise RecipeError(str(error).replace("pool.shards", "URLS")) from None
    if not files[0].table:
        raise RecipeError(f"URLS must be tables of captions and URLs, got {files[0].path}")
    return files


def chunks(files: "Iterable[Shard]", columns: Columns, rows: int, books: Books) -> "Iterator[Chunk]":
    """The rows of a list, shard by shard; no shard has rows of two files. Raises RecipeError."""
    from jobs.ingest.download import COLUMNS, Chunk
    from pipeline.pool.table_reader import read_table

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


def missing(settings: "Settings", found: "Iterable[Chunk]", count: Any) -> "Iterator[Chunk]":
    """The chunks that are not in the folder; `count` gets the others. Raises RecipeError where a shard there
    was made of something else."""
    from jobs.ingest.download import Fetched
    from pipeline.pool.img2dataset import STATS
    from pipeline.storage.folder import Folder

    files = Folder(settings.out)
    files.sweep()
    there = files.names("", "")
    for chunk in found:
        if not there.issuperset({f"{chunk.name}{ending}" for ending in (".tar", ".parquet", STATS)}):
            yield chunk
            continue
        stats = orjson.loads(files.read(chunk.name + STATS))
        if stats.get("winnow") != chunk.origin(settings):
            raise RecipeError(
                f"OUT: {chunk.name} in {settings.out} was made of other rows, or with another --size or "
                "--rows; name another folder"
            )
        count(Fetched(chunk.name, stats))


def _workers(local: bool, processes: int | None) -> "Each":
    """Processes of this machine, or Ray's (imported only then)."""
    if local:
        from jobs.processes import in_order

        return in_order(processes or os.cpu_count() or 1)
    from pipeline.run.on_ray import RayExecutor

    return RayExecutor().each


def _shared(out: str) -> str:
    """OUT as every process finds it. Raises RecipeError for a relative path in a job on a cluster."""
    if "://" in out or out.startswith(("/", "~")):
        return out
    if os.environ.get("RAY_ADDRESS"):
        raise RecipeError(
            f"OUT must be an absolute path on shared storage, or a URL, on a cluster; got {out!r}"
        )
    return os.path.abspath(out)

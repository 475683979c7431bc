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
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from pipeline.errors import RecipeError

if TYPE_CHECKING:
    from jobs.processes import Each

PATIENCE = 6  # a response may take so many time-outs, as long as something comes


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
    from jobs.ingest.steps import columns_of, download
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

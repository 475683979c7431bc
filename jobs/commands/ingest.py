"""`winnow ingest`: download a list of URLs and captions into shards that a recipe can name.

The list is read like any pool of tables (`pipeline/pool/table_reader.py`), so a row has the same uid in both.
Rows go to shards in the order of the list. A shard is published when it is complete, and its `_stats.json`
says which rows it was made of. Run again, the command downloads the missing shards only, and counts all of
them. URLs that failed are not tried again. The sidecar parquet files list them, and `winnow ingest` takes
these files as lists.
"""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.commands.options import Json, Verbose
from jobs.commands.output import exit_if_incomplete, print_json
from jobs.terminal.console import put, remarks
from pipeline.errors import RecipeError

if TYPE_CHECKING:
    from jobs.processes import Each

PATIENCE = 6  # a whole response may take this many times --timeout, as long as bytes keep coming


UrlList = Annotated[
    str,
    typer.Argument(
        metavar="URLS",
        help="The list: parquet, TSV, CSV or JSON lines; a file, folder, glob or brace pattern.",
    ),
]
Out = Annotated[
    str, typer.Argument(metavar="OUT", help="Folder for the shards: a path or a URL such as s3://.")
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FIELD=COLUMN",
        help="The list's column that holds text, url or uid, by name (url=LINK) or number (url=1). "
        "Repeatable.",
    ),
]
Size = Annotated[
    int,
    typer.Option(metavar="PIXELS", min=16, help="Scale larger pictures down to this longer side."),
]
Threads = Annotated[int, typer.Option(metavar="N", min=1, help="Downloads at the same time, per process.")]
Processes = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Processes, with --local. Default: one per CPU core."),
]
Timeout = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        min=0.1,
        help=f"Give up on a server that is silent for so long, or not done after {PATIENCE} times that.",
    ),
]
Networks = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NETWORK",
        help="Let downloads connect to this private network, such as 10.0.0.0/8. Repeatable.",
    ),
]


def ingest(
    urls: UrlList,
    out: Out,
    column: Columns = None,
    size: Size = 512,
    rows: Annotated[int, typer.Option(metavar="N", min=1, max=100_000, help="URLs per shard.")] = 10_000,
    threads: Threads = 64,
    processes: Processes = None,
    timeout: Timeout = 10.0,
    retries: Annotated[int, typer.Option(metavar="N", min=0, help="Further attempts per URL.")] = 1,
    allow: Networks = None,
    allow_private: Annotated[
        bool,
        typer.Option(
            "--allow-private",
            help="Let downloads connect to loopback and to every private network: 10.0.0.0/8, 172.16.0.0/12, "
            "192.168.0.0/16, fc00::/7. For lists of your own.",
        ),
    ] = False,
    local: Annotated[
        bool, typer.Option("--local", help="Use processes of this machine instead of Ray.")
    ] = False,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Download a list of URLs and captions into shards.

    Downloads with img2dataset, and counts every URL: listed = downloaded + lost
    by reason. Private addresses are refused unless --allow names them; URLs that
    were refused are tried again when it does. To resume a stopped run, run it
    again. The exit status is 1 if nothing was downloaded.

    Examples:

      winnow ingest 'urls/*.parquet' shards
      winnow ingest pool.tsv s3://mine/shards --column text=0 --column url=1
    """
    from jobs.ingest.download import Settings
    from jobs.ingest.guard import PRIVATE, Guard, networks
    from jobs.ingest.steps import columns_of, download
    from jobs.terminal import tables
    from pipeline.storage.folder import Folder

    try:
        allowed = [*(allow or ()), *(PRIVATE if allow_private else ())]
        guard = Guard(networks(allowed), seconds=PATIENCE * timeout)
    except ValueError as error:
        raise RecipeError(f"--allow must be a network such as 10.0.0.0/8: {error}") from None
    folder = Folder(out)
    settings = Settings(_shared(out), size, rows, threads, timeout, retries, guard)
    books = download(settings, urls, columns_of(column or ()), _workers(local, processes))
    if json:
        print_json(books.summary())
    else:
        tables.ingested(books.summary(), remarks)
        put(folder.base)
    exit_if_incomplete(books.pending)
    if books.listed and not books.downloaded:
        raise typer.Exit(1)


def _workers(local: bool, processes: int | None) -> "Each":
    """Processes of this machine, or Ray's workers. Ray is imported only if it is used."""
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

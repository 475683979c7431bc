"""`winnow subset`: look at DataComp subset files, combine them, and make shards of one.

    winnow subset info a.npy b.npy c.npy          rows, distinct uids, and the overlap of each two
    winnow subset and a.npy b.npy --out both.npy
    winnow subset diff a.npy b.npy
    winnow subset shards both.npy downloaded/ out/

A subset is a multiset: its file holds a uid once per time it is trained on. `and` takes the smallest of a uid's
counts, `or` the largest, `minus` takes the others' counts away from the first's, `xor` is the difference of two.
"""

import sys
import tempfile
from typing import Annotated, Any

import orjson
import typer

app = typer.Typer(no_args_is_help=True)
Paths = Annotated[
    list[str], typer.Argument(metavar="FILE...", help="subset files (.npy), local or any fsspec URL")
]
First = Annotated[str, typer.Argument(metavar="A", help="a subset file (.npy)")]
Second = Annotated[str, typer.Argument(metavar="B", help="another one")]
Out = Annotated[
    str | None, typer.Option(metavar="FILE", help="subset file to write; the counts alone without it")
]
Json = Annotated[bool, typer.Option("--json", help="numbers as JSON on stdout, no tables")]


@app.callback()
def subset() -> None:
    """DataComp subset files: look at them, combine them, make shards of one."""


@app.command()
def info(files: Paths, json: Json = False) -> None:
    """Rows, distinct uids, and how much each two have in common."""
    from jobs.terminal import subset_tables
    from pipeline.export.subset_algebra import describe

    found = describe(files)
    _out(found) if json else subset_tables.subsets(found)


@app.command("and")
def and_(files: Paths, out: Out = None, json: Json = False) -> None:
    """What all files have: of each uid the smallest count."""
    _combined(files, "and", out, json)


@app.command("or")
def or_(files: Paths, out: Out = None, json: Json = False) -> None:
    """What any file has: of each uid the largest count."""
    _combined(files, "or", out, json)


@app.command()
def minus(files: Paths, out: Out = None, json: Json = False) -> None:
    """What the first file has more often than all others together."""
    _combined(files, "minus", out, json)


@app.command()
def xor(first: First, second: Second, out: Out = None, json: Json = False) -> None:
    """What one of two files has more often than the other."""
    _combined([first, second], "xor", out, json)


@app.command()
def diff(first: First, second: Second, json: Json = False) -> None:
    """How two files differ: what both have, what only one has, and what one has more often."""
    from jobs.terminal import subset_tables
    from pipeline.export.subset_algebra import difference

    found = difference([first, second])
    _out(found) if json else subset_tables.subset_difference(found)


@app.command()
def shards(
    subset: Annotated[str, typer.Argument(metavar="SUBSET", help="a subset file (.npy)")],
    pool: Annotated[
        str, typer.Argument(metavar="POOL", help="downloaded tars: folder, glob or brace pattern")
    ],
    out: Annotated[str, typer.Argument(metavar="OUT", help="folder to write")],
    store: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", help="keeps the pool's index, so that another subset reads no tar for it"
        ),
    ] = None,
    samples_per_shard: Annotated[
        int, typer.Option(min=1, max=10_000, help="in all tars but the last")
    ] = 10_000,
    local: Annotated[bool, typer.Option("--local", help="a plain loop in this process, no Ray")] = False,
    json: Json = False,
) -> None:
    """The samples that a subset asks for, as DataComp's resharder writes them; and what the pool has lost."""
    from jobs.datacomp.reshard import recipe_of, reshard
    from jobs.steps import executor_of
    from jobs.terminal import subset_tables, tables
    from pipeline.plan.session import Session

    with tempfile.TemporaryDirectory() as folder:
        session = Session.open(recipe_of(subset, [pool], out, store or folder, samples_per_shard))
        found = reshard(session, executor_of(session, local), quiet=json)
    if json:
        _out(found)
    else:
        subset_tables.resharded(found)
        print(out)
    if found.pending:
        tables.pending(found.pending, " ".join(["winnow", *sys.argv[1:]]))
        raise typer.Exit(1)


def _combined(files: list[str], operation: str, out: str | None, json: bool) -> None:
    from jobs.terminal import tables
    from pipeline.export.subset_algebra import combine

    found = combine(files, operation, out)
    if json:
        _out(found)
        return
    tables.console.print(f"{found.rows:,} rows, {found.distinct:,} distinct uids")
    if out:
        print(out)


def _out(found: Any) -> None:
    print(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())

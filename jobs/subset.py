"""`winnow subset`: look at DataComp subset files, combine them, and make shards of one.

    winnow subset info a.npy b.npy c.npy          rows, distinct uids, and the overlap of each two
    winnow subset and a.npy b.npy --out both.npy
    winnow subset diff a.npy b.npy

A subset is a multiset: its file holds a uid once per time it is trained on. `and` takes the smallest of a uid's
counts, `or` the largest, `minus` takes the others' counts away from the first's, `xor` is the difference of two.
"""

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
    from jobs import show
    from pipeline.multiset import describe

    found = describe(files)
    _out(found) if json else show.subsets(found)


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
    from jobs import show
    from pipeline.multiset import difference

    found = difference([first, second])
    _out(found) if json else show.subset_difference(found)


def _combined(files: list[str], operation: str, out: str | None, json: bool) -> None:
    from jobs import show
    from pipeline.multiset import combine

    found = combine(files, operation, out)
    if json:
        _out(found)
        return
    show.console.print(f"{found['rows']:,} rows, {found['distinct']:,} distinct uids")
    if out:
        print(out)


def _out(found: Any) -> None:
    print(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())

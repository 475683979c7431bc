"""`winnow subset`: look at DataComp subset files, combine them, and make shards of one.

A subset is a multiset: its file holds a uid once for each time that training sees the sample.
"""

import tempfile
from typing import Annotated

import typer

from jobs.commands.options import AllowDamaged, Json, Local, Verbose
from jobs.commands.output import exit_if_incomplete, print_json
from jobs.terminal.console import console, put, remarks

app = typer.Typer(no_args_is_help=True)
Paths = Annotated[
    list[str], typer.Argument(metavar="FILE", help="Subset files (.npy), as paths or URLs such as s3://.")
]
First = Annotated[str, typer.Argument(metavar="FIRST", help="A subset file (.npy).")]
Second = Annotated[str, typer.Argument(metavar="SECOND", help="Another subset file (.npy).")]
Out = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Write the result to FILE (.npy). Without it, only count."),
]


@app.callback()
def subset() -> None:
    """Look at DataComp subset files, combine them, make shards.

    A subset file is a sorted NumPy array of uids. It may hold a uid more than
    once: training then sees the sample as often.
    """


@app.command()
def info(files: Paths, json: Json = False) -> None:
    """Count rows and distinct uids, and how many rows files share.

    The rows that two files share are those that `winnow subset and` would write.

    Example:

      winnow subset info a.npy b.npy c.npy
    """
    from jobs.terminal import subset_tables
    from pipeline.export.subset_algebra import describe

    counts = describe(files)
    print_json(counts) if json else subset_tables.subsets(counts)


@app.command("and")
def and_(files: Paths, out: Out = None, json: Json = False) -> None:
    """Intersect: each uid as often as in the file that has it least.

    A uid that is missing from one file is left out.

    Example:

      winnow subset and a.npy b.npy --out both.npy
    """
    _combined(files, "and", out, json)


@app.command("or")
def or_(files: Paths, out: Out = None, json: Json = False) -> None:
    """Unite: each uid as often as in the file that has it most.

    Equal uids are not added up: a uid that each file has once is written once.

    Example:

      winnow subset or a.npy b.npy --out any.npy
    """
    _combined(files, "or", out, json)


@app.command()
def minus(files: Paths, out: Out = None, json: Json = False) -> None:
    """Subtract: the first file's uids less those of the others.

    A uid that the first file holds three times and the others hold once in all
    is left twice.

    Example:

      winnow subset minus a.npy b.npy --out rest.npy
    """
    _combined(files, "minus", out, json)


@app.command()
def xor(first: First, second: Second, out: Out = None, json: Json = False) -> None:
    """Keep the uids that one of two files holds more often.

    Each uid is written as often as the two files' counts differ.

    Example:

      winnow subset xor a.npy b.npy --out different.npy
    """
    _combined([first, second], "xor", out, json)


@app.command()
def diff(first: First, second: Second, json: Json = False) -> None:
    """Count how two files differ.

    Counts the rows in both, only in the first, only in the second, and the uids
    that one file holds more often than the other.

    Example:

      winnow subset diff a.npy b.npy
    """
    from jobs.terminal import subset_tables
    from pipeline.export.subset_algebra import difference

    counts = difference([first, second])
    print_json(counts) if json else subset_tables.subset_difference(counts)


@app.command()
def shards(
    subset: Annotated[str, typer.Argument(metavar="SUBSET", help="A subset file (.npy).")],
    pool: Annotated[
        str, typer.Argument(metavar="POOL", help="The downloaded tars: a folder, glob or brace pattern.")
    ],
    out: Annotated[str, typer.Argument(metavar="OUT", help="Folder to write the shards to.")],
    store: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="Keep the index of the pool in FOLDER. The next subset then need not read the tars for it.",
        ),
    ] = None,
    samples_per_shard: Annotated[
        int,
        typer.Option(metavar="N", min=1, max=10_000, help="Samples per tar; the last one may hold fewer."),
    ] = 10_000,
    local: Local = False,
    allow_damaged: AllowDamaged = False,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Write the samples of a subset as shards for training.

    As DataComp's resharder does. Also writes lost.npy, the uids that no tar of
    the pool holds any more, and available.npy, the uids that were written.

    Examples:

      winnow subset shards subset.npy 'shards/*.tar' training/
      winnow subset shards subset.npy s3://mine/shards out/ --store index/
    """
    from jobs.datacomp.reshard import recipe_of, reshard
    from jobs.steps import executor_of
    from jobs.terminal import subset_tables, tables
    from pipeline.decide.books import losses
    from pipeline.plan.session import Session

    with tempfile.TemporaryDirectory() as folder:
        session = Session.open(recipe_of(subset, [pool], out, store or folder, samples_per_shard))
        result = reshard(session, executor_of(session, local))
        found = losses(session)
    if json:
        print_json(result)
    else:
        subset_tables.resharded(result)
        tables.faults(found, remarks)
        put(out)
    exit_if_incomplete(result.pending, found, allow_damaged=allow_damaged)


def _combined(files: list[str], operation: str, out: str | None, json: bool) -> None:
    """Combine subset files and count the result; if it is written, its path is what was asked for."""
    from pipeline.export.subset_algebra import combine
    from pipeline.plan.output_paths import check_output_path

    if out:
        check_output_path(out, "--out")
    counts = combine(files, operation, out)
    if json:
        print_json(counts)
        return
    (remarks if out else console).print(f"{counts.rows:,} rows, {counts.distinct:,} distinct uids")
    if out:
        put(out)

"""`winnow search`: which samples of an index are nearest to texts, pictures or other samples."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.commands.options import Json, Overrides, Verbose
from jobs.commands.output import print_json
from jobs.terminal.console import console, put, remarks, say

if TYPE_CHECKING:
    from pipeline.export.tars import TarsResult
    from pipeline.plan.session import Session
    from pipeline.search.hits import Found

Several = list[str] | None


def search(
    index: Annotated[
        str,
        typer.Argument(metavar="INDEX|RECIPE", help="The folder of an index, or the recipe that made one."),
    ],
    text: Annotated[
        Several, typer.Option("--text", metavar="TEXT", help="Search by words. Repeatable.")
    ] = None,
    image: Annotated[
        Several, typer.Option("--image", metavar="FILE", help="Search by a picture, new or not. Repeatable.")
    ] = None,
    like: Annotated[
        Several,
        typer.Option(
            "--like",
            metavar="UID",
            help="Search by a sample of the index; the first digits of its uid do. Repeatable.",
        ),
    ] = None,
    unlike: Annotated[
        Several,
        typer.Option(
            "--not",
            metavar="TEXT",
            help="Away from these words: half their direction is taken away. Repeatable.",
        ),
    ] = None,
    each: Annotated[
        bool,
        typer.Option(
            "--each", help="Every text, picture and sample is a query by itself; else they are one."
        ),
    ] = False,
    k: Annotated[
        int, typer.Option("--k", metavar="N", min=1, max=1_000_000, help="Most hits per query.")
    ] = 10,
    least: Annotated[
        float | None,
        typer.Option("--min", metavar="COSINE", min=-1, max=1, help="Hits of that cosine or more."),
    ] = None,
    probes: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Lists that a query visits; more find more, and take longer."),
    ] = None,
    grid: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Show the hits' pictures: a sheet (.png, .jpg) or a page (.html)."),
    ] = None,
    export: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Write the hits' samples as tars, as export.shards does."),
    ] = None,
    subset: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write the hits' uids (.npy), as export.subset does.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--index", metavar="NAME", help="Which index, if the recipe has several.")
    ] = None,
    set_: Overrides = None,
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="The CLIP of embeddings that came with the pool, as ClipScore names it; or where the index's own "
            "lies now, if its path has changed.",
        ),
    ] = "",
    pretrained: Annotated[
        str, typer.Option(metavar="TAG|FILE", help="Its weights: a tag, such as openai, or a checkpoint.")
    ] = "",
    trust: Annotated[
        bool,
        typer.Option(
            "--trust",
            help="Read an index although its files, or its model's, are not those that its manifest names.",
        ),
    ] = False,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Search an index by words, pictures or samples.

    All that is asked for is one query, in the direction of its mean: a thing in
    several languages, several pictures of it. With --each, every one is a query
    by itself. Words are understood by the model that made the embeddings. The
    same as a column, to keep, drop or balance by: search.Query.

    Examples:

      winnow search out/index --text "a red car" --text "ein rotes Auto"
      winnow search recipe.yaml --image new.jpg --min 0.8 --grid like_it.png
      winnow search out/index --text "a car" --not "a toy" --k 5000 --export cars
    """
    from jobs.search import hit_tables
    from jobs.search.ask import Question, queries_of
    from jobs.search.target import Choice, open_target
    from jobs.terminal.progress import showing_progress
    from pipeline.plan.outputs import check_not_in_store
    from pipeline.search.hits import Found

    question = Question(text or (), image or (), like or (), unlike or (), each)
    question.check()
    with showing_progress():
        target = open_target(index, Choice(name, set_ or (), trust, model, pretrained))
        session = target.session() if grid or export else target.session_if_there() if subset else None
        _check(session, grid, export, subset, k * len(question.names))
        if subset and session is None and (store := target.store) is not None:
            check_not_in_store("--subset", subset, store)
        doubts = target.doubts(session if grid or export else None)
        queries = queries_of(target, question)
        hits = target.index.search(queries.vectors, k, probes)
    for doubt in doubts:
        say(f"warning: {doubt}")
    found = Found(queries.names, hits if least is None else hits.at_least(least))
    if not json:
        hit_tables.hits(found, remarks if grid or export or subset else console)
    written = _write(session, found, grid, export, subset, json)
    about = target.index.about
    if json:
        print_json({"index": target.index.path, "samples": about.rows, "queries": _plain(found), **written})
    else:
        hit_tables.searched(target.index.path, about.rows, about.measured, probes)


def _check(
    session: "Session | None", grid: str | None, export: str | None, subset: str | None, count: int
) -> None:
    """Raises RecipeError if a path cannot be written to. For before the search."""
    from pipeline.plan.outputs import check_flags
    from pipeline.search.exported import check_subset, check_tars
    from pipeline.search.grid import check_grid

    flags = {"--grid": grid, "--export": export, "--subset": subset}
    check_flags({flag: path for flag, path in flags.items() if path})
    if session is not None and grid:
        check_grid(session, grid, count)
    if session is not None and export:
        check_tars(session, export)
    if subset:
        check_subset(subset, session)


def _write(
    session: "Session | None",
    found: "Found",
    grid: str | None,
    export: str | None,
    subset: str | None,
    quiet: bool,
) -> dict[str, Any]:
    """Write what was asked for, and print the paths unless `quiet`; returns the results, by flag."""
    from jobs.steps import tell_without_caption
    from jobs.terminal.progress import showing_progress
    from pipeline.search.exported import write_subset_of
    from pipeline.search.grid import write_grid
    from pipeline.view.pictures import Cost

    results: dict[str, Any] = {}
    with showing_progress():
        if session is not None and grid:
            cost = Cost()
            write_grid(session, found, grid, cost)
            results["grid"] = {"path": grid, "pictures": cost}
            say(cost.told)
        if session is not None and export:
            results["export"] = _export(session, found, export)
        if subset:
            results["subset"] = write_subset_of(found, subset)
    for path in (path for path in (grid, export, subset) if path and not quiet):
        put(path)
    if "export" in results and not quiet:
        tell_without_caption(results["export"])
    return results


def _export(session: "Session", found: "Found", out: str) -> "TarsResult":
    """Write tars, with a display of how many are done."""
    from jobs.terminal.progress import showing_progress
    from pipeline.run.executor import LocalExecutor
    from pipeline.search.exported import write_hits

    with showing_progress() as progress, progress.export("export", 1, "shards") as report:
        return write_hits(session, found, out, LocalExecutor(), report)


def _plain(found: "Found") -> list[dict[str, Any]]:
    """The hits of each query, for --json."""
    columns = ("rank", "score", "uid", "shard", "row", "key", "caption", "url")
    rows = found.hits.rows
    return [
        {"query": name, "hits": rows.filter(query=number).select(columns).to_dicts()}
        for number, name in enumerate(found.names)
    ]

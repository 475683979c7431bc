"""`winnow report`: a page that shows what a decision did."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.commands.options import MOST_SEED, AllowDamaged, Json, Limit, Overrides, RecipePath, Verbose
from jobs.commands.output import exit_if_incomplete, print_json, utf8
from jobs.terminal.console import put, say
from jobs.terminal.progress import showing_progress
from pipeline.errors import RecipeError

if TYPE_CHECKING:
    from pipeline.plan.session import Session
    from pipeline.view.cards import Cost
    from pipeline.view.report import Options, Report

NUMBERS = ("title", "recipe", "books", "rules", "overlap", "corpus", "record")  # of a report, for --json


def report(
    recipe: RecipePath,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="The page to write; its name ends in .html. Default: report.html, or none with --table.",
        ),
    ] = None,
    set_: Overrides = None,
    shards: Limit = None,
    pictures: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, max=2000, help="Show about N samples, but at least one of each group."
        ),
    ] = 500,
    seed: Annotated[
        int,
        typer.Option(metavar="N", min=0, max=MOST_SEED, help="Another seed chooses other samples to show."),
    ] = 0,
    table: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Write a sample as a table (.parquet) with pictures, scores, verdicts and a 2-D projection, for "
            "tools such as Embedding Atlas.",
        ),
    ] = None,
    rows: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Of --table: at most N samples. Default: 10000.")
    ] = None,
    allow_damaged: AllowDamaged = False,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Write a page that shows what the decision did.

    One file that is read offline: the funnel, every rule's distribution with a
    slider that shows what another bound would keep, the samples at every cut with
    their pictures, which rules fail together, the corpus before and after, and
    what stands for something else. The columns must be computed. Pictures are
    fetched by their byte ranges; stderr says how much that was. The same recipe
    and seed give the same page.

    Examples:

      winnow report recipe.yaml
      winnow report recipe.yaml --out cut.html --set keep.clip.score.top=0.2
      winnow report recipe.yaml --table look.parquet
    """
    from jobs import steps
    from pipeline.decide.books import losses
    from pipeline.view.cards import Cost
    from pipeline.view.embedding_table import ROWS, write_table
    from pipeline.view.report import Options

    if rows is not None and table is None:
        raise RecipeError("--rows is of --table: name the table to write, too")
    page = out or ("report.html" if table is None else None)
    session = steps.open_session(recipe, set_, shards)
    _check(session, page, table)
    cost = Cost()
    results: dict[str, Any] = {}
    with showing_progress():
        decided = steps.decide_complete(session)
        if page is not None:
            report = _write_page(decided.session, decided.pending, Options(seed, pictures), page, cost)
            results |= {"report": page, **{name: getattr(report, name) for name in NUMBERS}}
        if table is not None:
            results["table"] = write_table(decided.session, table, rows or ROWS, seed, cost=cost)
    say(cost.told)
    if json:
        print_json({**results, "pictures": cost})
    else:
        for path in (path for path in (page, table) if path is not None):
            put(path)
    exit_if_incomplete(decided.pending, losses(decided.session), allow_damaged=allow_damaged)


def _check(session: "Session", page: str | None, table: str | None) -> None:
    """Raises RecipeError if a path cannot be written to. For before any work."""
    from pipeline.export.places.file import check_new_file
    from pipeline.view.embedding_table import check

    if table is not None:
        check(session, table)
    if page is not None:
        if not page.lower().endswith((".html", ".htm")):
            raise RecipeError(f"--out: {page} must end in .html")
        check_new_file(session, page, "--out")


def _write_page(
    session: "Session", pending: Mapping[str, str], options: "Options", out: str, cost: "Cost"
) -> "Report":
    """Write the page; returns what it shows. Adds to `cost`. Raises RecipeError if a file that Winnow did not
    write lies there."""
    from pipeline.export.places.file import writing_file
    from pipeline.view.page.render import render
    from pipeline.view.report import build

    report = build(session, options, pending, cost)
    try:
        page = render(report)
    except TypeError:  # of orjson: a path that is not UTF-8
        page = render(utf8(report))
    with writing_file(out, "--out", {"export": "report"}) as path, open(path, "wb") as file:
        file.write(page)
    return report

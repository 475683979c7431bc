"""`winnow report`: a page that shows what a decision did."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.commands.options import AllowDamaged, Json, Limit, Overrides, RecipePath, Verbose
from jobs.commands.output import exit_if_incomplete, print_json, utf8
from jobs.terminal.console import put, say
from jobs.terminal.progress import showing_progress
from pipeline.errors import RecipeError

if TYPE_CHECKING:
    from pipeline.view.cards import Cost
    from pipeline.view.report import Report

NUMBERS = ("title", "recipe", "books", "rules", "overlap", "corpus", "record")  # of a report, for --json


def report(
    recipe: RecipePath,
    out: Annotated[
        str, typer.Option(metavar="FILE", help="The page to write; its name ends in .html.")
    ] = "report.html",
    set_: Overrides = None,
    shards: Limit = None,
    pictures: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, max=2000, help="Show about N samples, but at least one of each group."
        ),
    ] = 500,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, help="Another seed chooses other samples to show.")
    ] = 0,
    allow_damaged: AllowDamaged = False,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Write a page that shows what the decision did, for a browser.

    One file that is read offline: the funnel, every rule's distribution with a
    slider that shows what another bound would keep, the samples at every cut with
    their pictures, which rules fail together, the corpus before and after, and
    what stands for something else. The columns must be computed. Pictures are
    fetched by their byte ranges; stderr says how much that was. The same recipe
    and seed give the same page.

    Examples:

      winnow report recipe.yaml
      winnow report recipe.yaml --out cut.html --set keep.clip.score.top=0.2
    """
    from jobs import steps
    from pipeline.decide.books import losses
    from pipeline.export.places.file import check_file
    from pipeline.plan.outputs import check_output_file
    from pipeline.view.cards import Cost
    from pipeline.view.report import Options, build

    if not out.lower().endswith((".html", ".htm")):
        raise RecipeError(f"--out: {out} must end in .html")
    session = steps.open_session(recipe, set_, shards)
    check_output_file("--out", out, session.recipe, session.kind, session.shards)
    check_file(out, "--out")
    cost = Cost()
    with showing_progress(json):
        decided = steps.decide_complete(session)
        made = build(decided.session, Options(seed, pictures), decided.pending, cost)
        _write(made, out)
    _say(made, out, cost, json)
    exit_if_incomplete(decided.pending, losses(decided.session), allow_damaged=allow_damaged)


def _write(made: "Report", out: str) -> None:
    """Write the page. Raises RecipeError if a file that Winnow did not write lies there."""
    from pipeline.export.places.file import writing_file
    from pipeline.view.page.render import render

    try:
        page = render(made)
    except TypeError:  # of orjson: a path that is not UTF-8
        page = render(utf8(made))
    with writing_file(out, "--out", {"export": "report"}) as path, open(path, "wb") as file:
        file.write(page)


def _say(made: "Report", out: str, cost: "Cost", json: bool) -> None:
    """Say what was written, and what the pictures cost."""
    told = f"{cost.pictures:,}, {cost.requests:,} requests, {cost.bytes / 1e6:,.1f} MB"
    say(f"pictures: {told}")
    if not json:
        put(out)
        return
    numbers: dict[str, Any] = {name: getattr(made, name) for name in NUMBERS}
    print_json({"report": out, "pictures": cost, **numbers})

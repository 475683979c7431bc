"""`winnow compare`: what one cut keeps and another does not, by rule."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.commands.options import MOST_SEED, Json, Limit, RecipePath, Verbose
from jobs.commands.output import exit_if_incomplete, print_json
from jobs.terminal.console import console, put, remarks, say
from jobs.terminal.progress import showing_progress

if TYPE_CHECKING:
    from pipeline.plan.session import Session
    from pipeline.view.comparison.results import Comparison, Handful

OUT = "--out"


def compare(
    recipe_a: RecipePath,
    recipe_b: Annotated[
        str | None,
        typer.Argument(metavar="RECIPE_B", help="The other recipe. Default: the first one, with --set."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change one key of the second recipe, such as keep.clip.score.top=0.2; null takes a rule out. "
            "Repeatable.",
        ),
    ] = None,
    shards: Limit = None,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Write a page with pictures to FILE (.html); the tables go to stderr."
        ),
    ] = None,
    pictures: Annotated[
        int, typer.Option(metavar="N", min=0, max=100, help="Most pictures per rule and side on the page.")
    ] = 6,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, max=MOST_SEED, help="Of the choice of pictures.")
    ] = 0,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Compare two cuts: what one keeps and the other does not, by rule.

    Takes two recipes, or one and --set. Both pools must hold the same samples;
    they are matched by shard and row, or by uid if their shards differ. No model
    runs. The page shows a few samples of each difference.

    Examples:

      winnow compare recipe.yaml --set keep.clip.score.top=0.2
      winnow compare strict.yaml loose.yaml --out difference.html
      winnow compare strict.yaml loose.yaml --json
    """
    from jobs import steps
    from jobs.terminal import comparison_tables
    from pipeline.errors import RecipeError, shortened
    from pipeline.view.comparison.compare import compare as compare_cuts

    if recipe_b is None and not set_:
        raise RecipeError("compare takes two recipes, or one and --set: there is nothing to compare with")
    second = recipe_a if recipe_b is None else recipe_b
    opened = (steps.open_session(recipe_a, None, shards), steps.open_session(second, set_, shards))
    if out:
        _check(out, opened)
    label = " ".join([second, *(f"--set {shortened(change)}" for change in set_ or ())])
    with showing_progress():
        decided = [steps.decide_complete(session) for session in opened]
        a, b = (one.session for one in decided)
        comparison, handfuls = compare_cuts(a, b, (recipe_a, label), pictures if out else 0, seed)
    if out:
        _write(out, a, b, comparison, handfuls)
    if json:
        print_json(comparison)
    else:
        comparison_tables.comparison(comparison, remarks if out else console)
        if out:
            put(out)
    exit_if_incomplete({**decided[0].pending, **decided[1].pending})


def _check(out: str, sessions: Iterable["Session"]) -> None:
    """Raises RecipeError if a page must not be written to a path."""
    from pipeline.errors import RecipeError, brief
    from pipeline.export.places.file import check_new_file

    if not out.lower().endswith((".html", ".htm")):
        raise RecipeError(f"{OUT} must end in .html, got {brief(out)}")
    for session in sessions:
        check_new_file(session, out, OUT)


def _write(
    out: str, a: "Session", b: "Session", comparison: "Comparison", handfuls: Sequence["Handful"]
) -> None:
    """Write the page, and say what its pictures cost."""
    from pipeline.export.places.file import writing_file
    from pipeline.view.cards import Cost
    from pipeline.view.comparison.page import page

    cost = Cost()
    content = page(a, b, comparison, handfuls, cost)
    with writing_file(out, OUT, {"export": "comparison"}) as path, open(path, "wb") as file:
        file.write(content)
    say(cost.told)

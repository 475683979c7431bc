"""`winnow gallery`: pictures of chosen samples, to page through."""

from typing import Annotated

import typer

from jobs.commands.options import MOST_SEED, Limit, Overrides, RecipePath, Verbose
from jobs.commands.output import exit_if_incomplete
from jobs.terminal.console import put, say, shown


def gallery(
    recipe: RecipePath,
    out: Annotated[
        str,
        typer.Option(
            "--out",
            metavar="OUT",
            help="What to write: a page (.html), a contact sheet (.jpg, .png), or a folder of sheets.",
        ),
    ],
    where: Annotated[
        str, typer.Option(metavar="CONDITION", help="Which samples, in the words above. Default: all.")
    ] = "",
    sort: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Lowest values first. Default: a seeded draw."),
    ] = None,
    descending: Annotated[bool, typer.Option("--descending", help="Highest values first.")] = False,
    count: Annotated[int, typer.Option(metavar="N", min=1, max=10_000, help="Most samples.")] = 60,
    masked: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Show each picture also as this operator of the recipe sees it, such as a "
            "text.MaskedClipScore, so that masks can be checked by eye.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, max=MOST_SEED, help="Of the draw.")] = 0,
    set_: Overrides = None,
    shards: Limit = None,
    verbose: Verbose = False,
) -> None:
    """Write pictures of samples, each with its fate and the reason.

    A condition is made of: kept, dropped, failed; passes RULE, dropped by RULE,
    dropped only by RULE, dropped first by RULE, failed at RULE, no value for
    RULE; COLUMN < 4, and <=, >, >=, ==, != with numbers, true, false or quoted
    texts; COLUMN contains "x"; COLUMN is missing; and, or, not, brackets.

    Examples:

      winnow gallery r.yaml --where "dropped only by clip.score" --out a.html
      winnow gallery r.yaml --where "caption.words < 4" --sort clip.score --out a/
      winnow gallery r.yaml --where "text.coverage > 0" --masked masked --out a/
    """
    from jobs import steps
    from jobs.terminal.progress import showing_progress
    from pipeline.view.cards import Cost
    from pipeline.view.gallery.write import Choice, check_gallery, check_masked, write_gallery
    from pipeline.view.where import EVERY, count_and_choose, parse

    session = steps.open_session(recipe, set_, shards)
    condition = parse(where, session, "--where") if where.strip() else EVERY
    check_masked(session, masked)
    check_gallery(session, out, count, masked is not None)
    with showing_progress():
        decided = steps.decide_complete(session)
        total, places = count_and_choose(decided.session, condition, count, sort, descending, seed)
    order = f", by {sort}{', descending' if descending else ''}" if sort else ""
    title = f"{session.recipe.name}: {shown(where.strip()) or 'all samples'} ({len(places):,} of {total:,}{order})"
    cost = Cost()
    with showing_progress():
        path = write_gallery(decided.session, Choice(places, title, sort, masked), out, cost)
    say(cost.told)
    put(path)
    exit_if_incomplete(decided.pending)

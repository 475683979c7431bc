"""`winnow columns`: what is in the columns of a pool, to choose thresholds by."""

from typing import Annotated

import typer

from jobs.commands.options import Json, Limit, Overrides, RecipePath, Verbose
from jobs.commands.output import print_json


def columns(
    recipe: RecipePath,
    column: Annotated[
        str | None, typer.Argument(metavar="COLUMN", help="One column, such as clip.score. Default: all.")
    ] = None,
    set_: Overrides = None,
    shards: Limit = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Show what columns hold, to choose thresholds by.

    Types, missing values with the reasons, the spread of numbers, frequent
    texts. With COLUMN exact quantiles, a histogram with the cuts of the rules
    that read it, and --set lines to try.

    Examples:

      winnow columns recipe.yaml
      winnow columns recipe.yaml clip.score
    """
    from jobs import steps
    from jobs.terminal import column_tables
    from jobs.terminal.progress import showing_progress
    from pipeline.view.one_column import one_column
    from pipeline.view.profile import profile

    with showing_progress():
        session = steps.open_session(recipe, set_, shards)
        if column is None:
            whole = profile(session)
        else:
            detail = one_column(session, column)
    if json:
        print_json(whole if column is None else detail)
    elif column is None:
        column_tables.columns(whole)
    else:
        column_tables.one_column(detail, recipe)

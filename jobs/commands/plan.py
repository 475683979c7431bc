"""`winnow plan`: which passes are missing, how long they take, and what would go wrong."""

from typing import Annotated

import typer

from jobs.commands.options import Json, Limit, Overrides, RecipePath, Verbose
from jobs.commands.output import print_json


def plan(
    recipe: RecipePath,
    set_: Overrides = None,
    shards: Limit = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="SHAPE",
            help="Check the job against these machines. 16x8,2x12:1@64 means 16 machines with 8 CPUs each, "
            "and 2 with 12 CPUs, 1 GPU and 64 GiB each.",
        ),
    ] = None,
    measure: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Run the missing passes on N shards first, into a temporary store, to learn their speed.",
        ),
    ] = None,
    hours: Annotated[
        float | None,
        typer.Option(metavar="H", min=0.001, help="Say how many workers finish the job in H hours."),
    ] = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Show what would run, how long it takes, and what would go wrong.

    Writes nothing to the store. Estimates come from earlier runs on this store;
    before the first run, add --measure, which tries the operators on a few
    shards.

    Examples:

      winnow plan recipe.yaml
      winnow plan recipe.yaml --measure 4 --hours 24
      winnow plan recipe.yaml --cluster 16x8,2x12:1
    """
    from jobs import steps
    from jobs.terminal import plan_tables
    from jobs.terminal.progress import showing_progress
    from pipeline.plan.session import Session
    from pipeline.preflight.checks import parse_cluster
    from pipeline.preflight.preview import preview
    from pipeline.recipe.load import load

    machines = parse_cluster(cluster) if cluster else ()
    with showing_progress() as progress:
        session = Session.listed(load(recipe, set_ or ()), shards)
        steps.check_exports(session)
        result = preview(session, machines, measure, hours, progress.begin_pass)
    print_json(result) if json else plan_tables.plan(result)

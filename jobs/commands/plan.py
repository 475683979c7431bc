"""winnow plan: what is stored, what would run and how long, and what would go wrong.

winnow plan recipe.yaml --cluster 16x8,2x12:1 --measure 4 --hours 24
"""

from typing import Annotated

import orjson
import typer

from jobs.commands.options import Json, Limit, Overrides, RecipePath


def plan(
    recipe: RecipePath,
    set_: Overrides = None,
    shards: Limit = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="SHAPE",
            help="check a job on such machines: 16x8,2x12:1@64 is 16 of 8 CPUs, 2 of 12, a GPU and 64 GiB",
        ),
    ] = None,
    measure: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="run what is missing on N shards, into a temporary store"),
    ] = None,
    hours: Annotated[
        float | None, typer.Option(min=0.001, help="how many workers it takes to be done in so many hours")
    ] = None,
    json: Json = False,
) -> None:
    """What is stored, what would run, on how many rows, roughly how long; and what would go wrong."""
    from jobs import steps
    from jobs.terminal import tables
    from pipeline.preflight.checks import parse_cluster
    from pipeline.preflight.preview import preview

    machines = parse_cluster(cluster) if cluster else ()
    found = preview(steps.open_session(recipe, set_, shards), machines, measure, hours)
    print(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode()) if json else tables.plan(found)

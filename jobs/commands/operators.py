"""`winnow operators`: which operators there are, and everything about one."""

from typing import Annotated

import typer

from jobs.commands.options import Json
from jobs.commands.output import print_json


def operators(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="An operator, such as clip.ClipScore, or a module, such as clip. Default: all.",
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(metavar="RECIPE", help="Also the operators that this recipe takes from its plugins."),
    ] = None,
    json: Json = False,
) -> None:
    """List the operators, or explain one: what it measures, and how.

    Without NAME, one line per operator. With NAME its idea, parameters, columns,
    costs, sources, and the lines to copy into a recipe.

    Examples:

      winnow operators
      winnow operators clip.ClipScore
      winnow operators clip
    """
    from jobs.manual import manual
    from jobs.terminal import operator_tables

    manuals = manual.shipped()
    if recipe is not None:
        from pipeline.recipe.load import load

        manuals += manual.plugged(load(recipe))
    chosen = manual.of(name, manuals) if name is not None else manuals
    if json:
        print_json(chosen)
    elif name is None:
        operator_tables.listing(chosen)
    else:
        operator_tables.manuals(chosen)

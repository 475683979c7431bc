"""`winnow store`: look at a store, verify it, and remove results from it."""

from typing import Annotated

import typer

from jobs.commands.options import Json, Overrides, RecipePath, Verbose
from jobs.commands.output import print_json
from jobs.terminal.console import put

app = typer.Typer(
    no_args_is_help=True,
    help="Look at a store, verify it, and remove results from it.\n\n"
    "A store holds everything that was computed about a pool. These commands\n"
    "touch only files that Winnow wrote there, and never an export.",
)


@app.command()
def info(recipe: RecipePath, set_: Overrides = None, json: Json = False, verbose: Verbose = False) -> None:
    """Show what a store holds, in bytes, rows and shards.

    Results that the recipe does not need are marked: `winnow store clean`
    removes them.

    Example:

      winnow store info recipe.yaml
    """
    from jobs import upkeep
    from jobs.terminal import store_tables

    result = upkeep.info(recipe, set_)
    print_json(result) if json else store_tables.info(result)


@app.command()
def verify(
    recipe: RecipePath,
    set_: Overrides = None,
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Also read every shard of the pool, and compare it with what was read."),
    ] = False,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Read every file of a store and compare it with its checksum.

    A file that was cut or has a wrong bit is named and moved to damaged/ in the
    store; the next `winnow run` computes it again. Ends with status 1 if there
    is one. Runs do the same for files that are new or were touched; this reads
    all of them, and so also finds bits that flipped on the disk.

    Examples:

      winnow store verify recipe.yaml
      winnow store verify recipe.yaml --deep
    """
    from jobs import upkeep

    result = upkeep.verify(recipe, set_, deep)
    if json:
        print_json(result)
    else:
        for path, reason in {**result.files, **result.shards}.items():
            put(f"{path}: {reason}")
        upkeep.say_what_to_do(result, recipe)
    if result.files or result.shards:
        raise typer.Exit(1)


@app.command()
def forget(
    recipe: RecipePath,
    names: Annotated[
        list[str], typer.Argument(metavar="SHARD|OPERATOR...", help="Shards or operators of the recipe.")
    ],
    set_: Overrides = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Remove the results of shards or operators, to compute them again.

    Everything that was computed from them goes too: columns, Stats, decisions
    and effects. Exports stay as they are. `winnow run` computes again what is
    missing.

    Examples:

      winnow store forget recipe.yaml 00017
      winnow store forget recipe.yaml clip
    """
    from jobs import upkeep
    from jobs.terminal import store_tables

    removal = upkeep.forget(recipe, set_, names)
    print_json(upkeep.to_json(removal)) if json else store_tables.removal("Removed", removal)


@app.command()
def clean(
    recipes: Annotated[list[str], typer.Argument(metavar="RECIPE...", help="All recipes of this store.")],
    set_: Overrides = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it. Without this it is only listed.")] = False,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Remove what none of these recipes needs.

    That is results under other settings, decisions of earlier rules, parts of
    shards that are not in the pool, and damaged files that were set aside. Name
    every recipe that works on the store. Without --yes nothing is removed.

    Examples:

      winnow store clean recipe.yaml other.yaml
      winnow store clean recipe.yaml other.yaml --yes
    """
    from jobs import upkeep
    from jobs.terminal import store_tables

    removal = upkeep.clean(recipes, set_, carry_out=yes)
    print_json(upkeep.to_json(removal)) if json else store_tables.removal(
        "Removed" if yes else "To remove", removal
    )
    if not (yes or json):
        store_tables.dry_run(removal)

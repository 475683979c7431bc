"""The command line: which commands there are, in which order, and which exit status an error has."""

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from jobs.commands.columns import columns
from jobs.commands.compact import compact
from jobs.commands.compare import compare
from jobs.commands.demo import demo
from jobs.commands.gallery import gallery
from jobs.commands.groups.datacomp import app as datacomp
from jobs.commands.groups.metadata import app as metadata
from jobs.commands.groups.store import app as store
from jobs.commands.groups.subset import app as subset
from jobs.commands.ingest import ingest
from jobs.commands.operators import operators
from jobs.commands.options import Command
from jobs.commands.output import warnings_on_stderr
from jobs.commands.plan import plan
from jobs.commands.recipe import compute, effects, explain, export, keep, run
from jobs.commands.report import report
from jobs.commands.search import search
from jobs.terminal.console import any_characters, put, say
from pipeline.errors import OperatorError, WinnowError, place, refusal, worded
from pipeline.storage.retry import from_storage

MOST_LINES = 50  # of an error: a recipe or pool may have as many mistakes as lines
PANELS: dict[str, tuple[Callable[..., None], ...]] = {  # the commands of the help, by panel
    "Everyday": (run, plan, compute, keep, explain, export),
    "Look closer": (report, gallery, search, compare, columns, effects, operators),
    "Prepare": (demo, ingest, compact),
}
GROUPS = (
    ("store", store, "Prepare"),
    ("metadata", metadata, "Prepare"),
    ("subset", subset, "DataComp"),
    ("datacomp", datacomp, "DataComp"),
)
EXIT_STATUS = """
Exit status:

  0    done
  1    some shards are missing or damaged, or storage failed: run it again
  2    the recipe, a flag or a setting is wrong
  3    an operator failed, or returned a wrong table; or a plugin failed
  130  stopped by Ctrl-C
"""

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)


def _print_version(wanted: bool) -> None:
    """`--version`: the version of the installed package."""
    if wanted:
        from importlib.metadata import version  # which imports email

        put(f"winnow {version('winnow-curation')}")
        raise typer.Exit


@app.callback(epilog=EXIT_STATUS)
def winnow(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Turn raw web image-text pools into training sets for CLIP-like models.

    A recipe (a YAML file) names the pool, the columns to compute, the rules that
    decide, and the exports. Start with one of these:

      winnow demo                everything, on a sample pool made on the spot
      winnow plan recipe.yaml    what a recipe would run on your pool
      winnow run recipe.yaml     compute, decide, export

    Everything computed is stored, so a command that was stopped or that failed
    continues if you run it again. The tables that you asked for go to stdout;
    a command that writes files prints their paths there instead. Progress and
    remarks go to stderr. With --json stdout holds one JSON document.
    `winnow COMMAND --help` explains a command.
    """


for _panel, _commands in PANELS.items():
    for _command in _commands:
        app.command(rich_help_panel=_panel, cls=Command)(_command)
for _name, _group, _panel in GROUPS:
    app.add_typer(_group, name=_name, rich_help_panel=_panel)


def start() -> None:
    """Run a command. Print an error without a traceback and exit with its status."""
    try:
        with warnings_on_stderr():
            any_characters()
            app()
    except WinnowError as error:
        lines = str(error).split("\n")
        for line in lines[:MOST_LINES]:
            say(f"error: {line}")
        if len(lines) > MOST_LINES:
            say(f"error: ... and {len(lines) - MOST_LINES:,} more")
        sys.exit(error.exit_code)
    except Exception as error:
        if (at := place(error)) is not None:
            say(f"error: a plugin fails: {at[0]}, line {at[1]}: {worded(error)}")
            sys.exit(OperatorError.exit_code)
        if not from_storage(error):
            raise
        say(f"error: storage: {worded(error)}")
        if refusal(error) is None:
            say("run the same command again to go on")
        sys.exit(1)

"""The arguments and flags that several commands share."""

import re
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from jobs.terminal.console import only_our_stdout

IN_TERMINAL = "-"  # the value of `--show` alone
MOST_SEED = 2**31 - 1  # FAISS takes no larger one
FILE = re.compile(r"[^-].*\.\w{2,5}", re.DOTALL)  # what follows `--show` if it has a value


class Command(TyperCommand):
    """A command whose `--show` may stand without a value, which typer does not know. Its stdout has only what
    the command itself prints."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See click."""
        following = [*args[1:], ""] if args else []
        named = [
            f"--show={IN_TERMINAL}" if word == "--show" and not FILE.fullmatch(behind) else word
            for word, behind in zip(args, following, strict=True)
        ]
        return super().parse_args(ctx, named)

    def invoke(self, ctx: Any) -> Any:
        """See click."""
        with only_our_stdout():
            return super().invoke(ctx)


RecipePath = Annotated[
    str, typer.Argument(metavar="RECIPE", help="The recipe: a YAML file, as a path or a URL such as s3://.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change one key of the recipe for this call, such as keep.clip.score.top=0.2, which replaces "
        "the bound of that rule; null takes a rule or operator out: keep.clip.score=null. Repeatable.",
    ),
]
Limit = Annotated[
    int | None, typer.Option("--shards", metavar="N", min=1, help="Use the first N shards of the pool only.")
]
Local = Annotated[
    bool, typer.Option("--local", help="Run in this process, without Ray. The results are the same.")
]


AllowDamaged = Annotated[
    bool,
    typer.Option(
        "--allow-damaged",
        help="Exit with 0 although shards are damaged, were passed over, or changed while they were read. "
        "Shards that are not done still give 1.",
    ),
]


def _show_log(context: typer.Context, verbose: bool) -> bool:
    """Callback of --verbose: print the log until the command has ended."""
    if verbose:
        from jobs.terminal.log import log_to_terminal

        context.with_resource(log_to_terminal())
    return verbose


Verbose = Annotated[  # the callback does all: commands declare the flag and need not look at it
    bool,
    typer.Option(
        "--verbose",
        callback=_show_log,
        help="Also print the log on stderr: every pass, failed shard and retry, with the time.",
    ),
]
Json = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print the numbers as JSON on stdout, instead of tables and paths. Progress and errors stay on "
        "stderr.",
    ),
]

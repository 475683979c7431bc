"""winnow: turn raw web image-text pools into training sets for CLIP-like models.

    winnow run jobs/recipes/demo.yaml        (the same as: python -m jobs run ...)

Tables go to the terminal (stderr), paths of what was written to stdout, `--json` puts the numbers there
instead. Exit status: 0 done; 1 done, but some shards could not be read; 2 wrong recipe or flag; 3 an
operator failed.
"""

import sys

import typer

from jobs.commands.compact import compact
from jobs.commands.datacomp import app as datacomp
from jobs.commands.demo import demo
from jobs.commands.ingest import ingest
from jobs.commands.metadata import app as metadata
from jobs.commands.plan import plan
from jobs.commands.recipe import compute, effects, explain, export, keep, run
from jobs.commands.sheet import sheet
from jobs.commands.subset import app as subset
from pipeline.errors import WinnowError, worded
from pipeline.storage.retry import from_storage

app = typer.Typer(
    help=__doc__.split("\n")[0],
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

app.add_typer(metadata, name="metadata")
app.add_typer(subset, name="subset")
app.command()(ingest)
app.command()(plan)
app.command()(compact)
app.add_typer(datacomp, name="datacomp")
for command in (compute, keep, explain, effects, sheet, export, run, demo):
    app.command()(command)


def main() -> None:
    """The console script."""
    try:
        app()
    except WinnowError as error:
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Exception as error:
        if not from_storage(error):
            raise
        print(f"error: storage: {worded(error)}", file=sys.stderr)
        print("run the same command again to go on", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()

"""`winnow demo`: all of Winnow on a small pool that is made on the spot."""

from pathlib import Path
from typing import Annotated

import typer

from jobs.commands.options import MOST_SEED, Local, Verbose


def demo(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder for the pool, the store and the exports.")
    ] = Path("demo"),
    samples: Annotated[int, typer.Option(metavar="N", min=20, help="Samples in the pool.")] = 2000,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, max=MOST_SEED, help="Another seed draws another pool.")
    ] = 0,
    local: Local = False,
    verbose: Verbose = False,
) -> None:
    """See everything work on a sample pool; no download, no GPU.

    Draws 2,000 image-text pairs, a third of them with planted defects, runs
    jobs/recipes/demo.yaml on them, and compares the outcome with the truth:
    how many of each defect are removed, how well each score separates them,
    three samples explained, and a search in the FAISS index. Takes minutes.
    FOLDER/demo.yaml is that recipe with the paths of FOLDER, for other
    commands; the last lines name some to try next.

    Examples:

      winnow demo
      winnow demo /tmp/demo --samples 400 --local
    """
    from jobs.toy.demo import demo as run_demo

    run_demo(folder, samples, seed, local)

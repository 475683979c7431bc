"""winnow demo: the whole of Winnow on a pool made on the spot."""

from pathlib import Path
from typing import Annotated

import typer

from jobs.commands.options import Local


def demo(
    folder: Annotated[Path, typer.Argument(help="where pool, store and outputs go")] = Path("demo"),
    samples: Annotated[int, typer.Option(min=20, help="samples in the pool")] = 2000,
    seed: int = 0,
    local: Local = False,
) -> None:
    """The whole of it on a sample pool made on the spot."""
    from jobs.toy.demo import demo as run_demo

    run_demo(folder, samples, seed, local)

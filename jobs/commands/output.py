"""How commands print and end: JSON and paths on stdout, everything for people on stderr."""

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import orjson
import typer

from pipeline.errors import printable


def print_json(data: Any) -> None:
    """Print plain data, numpy numbers included, as indented JSON on stdout."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    print(orjson.dumps(data, option=options).decode())


class _DamageHandler(logging.Handler):
    """Prints each record as a line on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        print(f"warning: {printable(record.getMessage())}", file=sys.stderr)


@contextmanager
def damage_on_stderr() -> Iterator[None]:
    """Within the block, every file of the store that is found damaged is named on stderr, also without
    --verbose."""
    logger, handler = logging.getLogger("winnow.storage.damage"), _DamageHandler()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def exit_if_pending(pending: Mapping[str, str]) -> None:
    """End with status 1 if shards are not done, after a list of them and the command that retries them."""
    if pending:
        from jobs.terminal import tables

        tables.pending(pending, " ".join(["winnow", *sys.argv[1:]]))
        raise typer.Exit(1)

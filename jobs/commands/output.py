"""How commands print and end: JSON on stdout, warnings and what is not done on stderr."""

import logging
import re
import shlex
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

import orjson
import typer

from jobs.terminal.console import put, remarks, say

if TYPE_CHECKING:
    from pipeline.decide.books import Books, Losses


def print_json(data: Any) -> None:
    """Print plain data, numpy numbers included, as indented JSON on stdout."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    try:
        text = orjson.dumps(data, option=options)
    except orjson.JSONEncodeError:  # a path that is not UTF-8
        text = orjson.dumps(utf8(data), option=options)
    put(_UNSEEN.sub(_escaped, text.decode()))


# What JSON allows in a text and a terminal may obey: control characters above ASCII's, direction of text
_UNSEEN = re.compile("[\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff\ufff9-\ufffb]")


def _escaped(match: re.Match[str]) -> str:
    """A character as JSON may write it too: the value stays the same."""
    return f"\\u{ord(match[0]):04x}"


def utf8(data: Any) -> Any:
    """The same data, in whose texts each byte that is not UTF-8 is written as \\xXX, and each half of a
    character as \\uXXXX."""
    if isinstance(data, str):
        halves = re.sub("[\ud800-\udc7f\udd00-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", data)
        return halves.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if is_dataclass(data) and not isinstance(data, type):
        return {field.name: utf8(getattr(data, field.name)) for field in fields(data)}
    if isinstance(data, Mapping):
        return {utf8(key): utf8(value) for key, value in data.items()}
    return [utf8(value) for value in data] if isinstance(data, list | tuple) else data


class _WarningHandler(logging.Handler):
    """Prints each record as a line on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record; one that is not a warning as it is."""
        warning = "warning: " if record.levelno >= logging.WARNING else ""
        say(f"{warning}{record.getMessage()}")


@contextmanager
def warnings_on_stderr() -> Iterator[None]:
    """Within the block, every file of the store that is found damaged is named on stderr, also without
    --verbose, and so are web servers that make reading slow, and indexes that grow or are built anew."""
    from jobs.terminal.log import ALWAYS

    handler, loggers = _WarningHandler(), [logging.getLogger(name) for name in ALWAYS]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False  # a library may have given the root logger a handler, as open_clip does
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = True


def exit_if_incomplete(
    pending: Mapping[str, str],
    losses: "Losses | Books | None" = None,
    changed: Collection[str] = (),
    allow_damaged: bool = False,
) -> None:
    """End with status 1 if shards are not done, after a list of them and the command that retries them; and
    if a shard is damaged or changed, or a path was passed over that may be one, unless that is allowed."""
    from jobs.terminal import tables

    if pending:
        tables.pending(pending, shlex.join(["winnow", *sys.argv[1:]]))
    faulty = tables.faulty(losses, len(changed)) if losses is not None else ""
    if faulty and not allow_damaged:
        told = f"{faulty}: the exit status is 1 (with --allow-damaged: {1 if pending else 0})"
        remarks.print(told)
    if pending or faulty and not allow_damaged:
        raise typer.Exit(1)

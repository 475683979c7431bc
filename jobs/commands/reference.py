"""jobs/COMMANDS.md: every command's help as one page of Markdown.

    python -m jobs.commands.reference

The page is made from the same docstrings and options that `--help` shows. A test fails if the two differ.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import fill
from typing import Any

import typer.main

from jobs.app import EXIT_STATUS, app

PAGE = Path(__file__).parents[1] / "COMMANDS.md"
WIDTH = 110
HEAD = """# Commands

`make docs` makes this page from the help texts; change those, not the page. `winnow COMMAND --help` prints a
command's part of it. From a clone, `python -m jobs` is the same as `winnow`.
"""


def commands(group: Any, prefix: str = "winnow") -> Iterator[tuple[str, Any]]:
    """(full name, click command) of every command and group below a group, in the order of the help."""
    for name, command in group.commands.items():
        yield f"{prefix} {name}", command
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix} {name}")


def page() -> str:
    """The whole page: one section per panel of `winnow --help`, one below it per command."""
    panels: dict[str, list[str]] = {}
    panel = ""
    for name, command in commands(typer.main.get_command(app)):
        if name.count(" ") == 1:  # a command of a group has its group's panel
            panel = command.rich_help_panel
        panels.setdefault(panel, []).append(_section(name, command))
    sections = [f"## {panel}\n\n" + "\n".join(texts) for panel, texts in panels.items()]
    return "\n".join([HEAD, _status(), *sections])


def _status() -> str:
    """The exit statuses, as `winnow --help` ends with them."""
    heading, table = EXIT_STATUS.strip("\n").split("\n\n")
    return f"{heading}\n\n```\n{_dedented(table)}\n```\n"


def _section(name: str, command: Any) -> str:
    """One command or group: summary and paragraphs, examples, arguments and options."""
    text, _, examples = command.help.replace("Examples:", "Example:").partition("\n\nExample:\n\n")
    parts = [f"### {name}", *map(_wrapped, text.split("\n\n"))]
    if examples:
        parts.append(f"```sh\n{_dedented(examples)}\n```")
    if options := "\n".join(_options(name, command)):
        parts.append(options)
    return "\n\n".join(parts) + "\n"


def _options(name: str, command: Any) -> Iterator[str]:
    """A line per argument and option, without --help."""
    context = command.make_context(name, [], resilient_parsing=True)
    for parameter in command.get_params(context):
        term, meaning = parameter.get_help_record(context)
        if term != "--help":
            term = re.sub(r" <.*>$", "", term)  # the type of an argument; its text says it
            yield _wrapped(f"- `{term}`: {meaning.replace('*', chr(92) + '*')}", "  ")


def _wrapped(text: str, indent: str = "") -> str:
    """Text in lines of at most WIDTH characters; names with hyphens and paths stay whole."""
    return fill(" ".join(text.split()), WIDTH, subsequent_indent=indent, break_on_hyphens=False)


def _dedented(text: str) -> str:
    """Lines without the two spaces by which the help indents examples."""
    return "\n".join(line.removeprefix("  ") for line in text.splitlines())


if __name__ == "__main__":
    PAGE.write_text(page())
    print(PAGE)

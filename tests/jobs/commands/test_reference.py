"""Every command has help with an example that parses, and jobs/COMMANDS.md says the same."""

import re
import shlex
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from jobs.app import EXIT_STATUS, PANELS, app
from jobs.commands.reference import PAGE, WIDTH, commands, page

ROOT = Path(__file__).parents[3]
NARROW = 80  # columns of a terminal
GROUP = typer.main.get_command(app)
EVERY: dict[str, Any] = dict(commands(GROUP))
LEAVES = {name: command for name, command in EVERY.items() if not hasattr(command, "commands")}


def help_of(*words: str) -> str:
    """A command's help on a terminal of 80 columns."""
    shown = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": str(NARROW)})
    assert shown.exit_code == 0
    return shown.output


def examples(command: Any) -> list[str]:
    """The command lines in a command's help, each on one line."""
    _, heading, text = re.split(r"\n\n(Examples?):\n\n", command.help)
    lines = [line.strip() for line in text.replace("\\\n", "").splitlines()]
    assert heading == ("Example" if len(lines) == 1 else "Examples")
    return lines


def test_the_page_is_what_the_help_says() -> None:
    assert PAGE.read_text() == page(), "run: make docs"


def test_the_page_has_a_section_for_every_command() -> None:
    assert re.findall(r"^### (.*)$", PAGE.read_text(), re.MULTILINE) == list(EVERY)
    assert max(map(len, PAGE.read_text().splitlines())) <= WIDTH


@pytest.mark.parametrize("name", LEAVES)
def test_every_command_has_an_example_that_parses(name: str) -> None:
    for line in examples(LEAVES[name]):
        assert line.startswith(f"{name} ") or line == name
        words = shlex.split(line)[len(name.split()) :]
        LEAVES[name].make_context(name, words)


@pytest.mark.parametrize("name", EVERY)
def test_every_summary_fits_its_line_and_every_option_is_explained(name: str) -> None:
    command = EVERY[name]
    summary, *lines = command.help.split("\n")
    assert re.fullmatch(r"[A-Z].{10,64}\.", summary)
    assert max(map(len, lines)) <= NARROW - 2
    for parameter in command.params:
        assert re.fullmatch(r"[A-Z].*\.", parameter.help or ""), parameter.name


@pytest.mark.parametrize("name", EVERY)
def test_help_is_not_cut_at_80_columns(name: str) -> None:
    shown = help_of(*name.split()[1:])
    assert max(map(len, shown.splitlines())) <= NARROW
    assert "…" not in shown
    for line in EVERY[name].help.splitlines():
        assert f" {line}" in shown


def test_verbose_is_a_flag_of_every_command_that_computes_or_stores() -> None:
    without = {name for name, command in LEAVES.items() if all(p.name != "verbose" for p in command.params)}
    operations = ("info", "and", "or", "minus", "xor", "diff")
    assert without == {
        "winnow operators",
        "winnow datacomp pool",
        *(f"winnow subset {name}" for name in operations),
    }


def test_the_first_help_has_panels_summaries_and_exit_statuses() -> None:
    shown = help_of()
    panels = [*PANELS, "DataComp"]
    assert re.findall(r"╭─ ([A-Z][A-Za-z ]+) ─", shown) == ["Options", *panels]
    for name, command in GROUP.commands.items():  # type: ignore[attr-defined]
        assert re.search(rf"│ {name} +{re.escape(command.help.splitlines()[0])} +│", shown)
    for line in EXIT_STATUS.strip().splitlines():
        assert f" {line}".rstrip() in shown


def test_version() -> None:
    shown = CliRunner().invoke(app, ["--version"])
    assert (shown.exit_code, shown.output) == (0, f"winnow {version('winnow-curation')}\n")

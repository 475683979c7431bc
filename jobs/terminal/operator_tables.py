"""What `winnow operators` shows: all operators in a line each, or everything about some."""

from collections.abc import Sequence
from itertools import groupby

from jobs.manual.manual import Manual
from jobs.terminal.console import console, styled
from jobs.terminal.tables import table


def listing(manuals: Sequence[Manual]) -> None:
    """One line per operator."""
    rows = table("", "operator", "kind", "what it measures", text=3, names=2)
    for manual in manuals:
        rows.add_row(manual.use, manual.kind, manual.about)
    console.print(rows)
    console.print(
        "winnow operators NAME tells all about one of them, or about a module such as clip", style="dim"
    )


def manuals(shown: Sequence[Manual]) -> None:
    """Everything about some operators; what belongs to their module stands once."""
    for _, group in groupby(shown, lambda manual: manual.use.rpartition(".")[0]):
        of_module = list(group)
        for manual in of_module:
            _operator(manual)
        console.print(styled("notes", "bold"))
        for note in of_module[0].notes:
            console.print(note)
        for name, text in of_module[0].sections.items():
            console.print()
            first, *lines = text.split("\n")
            console.print(styled(f"{name}:", "bold"), first)
            for line in lines:
                console.print(line)


def _operator(manual: Manual) -> None:
    """One operator, without what belongs to its module."""
    console.rule(manual.use, align="left")
    console.print(manual.about)
    facts = {"": manual.usage, "kind": manual.kind, "reads": manual.reads, "cost": manual.cost}
    for name, text in {**facts, "table": manual.table}.items():
        if text:
            console.print(*([styled(f"{name}:", "bold")] if name else []), text)
    console.print()
    for line in manual.recipe.split("\n"):
        console.print(f"  {line}", style="cyan", soft_wrap=True)
    if manual.parameters:
        rows = table("Parameters", "name", "type", "default", "meaning", text=4)
        for each in manual.parameters:
            rows.add_row(each.name, each.kind, each.default.removeprefix("default "), each.meaning)
        console.print(rows)
    if manual.columns:
        rows = table(
            "Columns, after the name of the operator in the recipe", "name", "dtype", "meaning", text=3
        )
        for column in manual.columns:
            rows.add_row(f".{column.name}", column.dtype, column.meaning)
        console.print(rows)

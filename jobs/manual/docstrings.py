"""The docstrings of operators in their parts.

A module's docstring holds, in this order: a sentence, recipes (indented), notes, and the sections Columns,
Errors, Source, Differs; any other section, such as `Words:`, goes before Source. A class's docstring holds: a
sentence on what it measures; a paragraph that begins with "Use it"; a table of fields, two spaces after each
name; for a Stat a paragraph `Table: ...`; and a paragraph `Cost: ...`. Fields of a base class stand in the
base's docstring. A plugin may say less.
"""

import importlib
import inspect
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import operators
from pipeline.operator import Operator, Stat, Writer

FOLDER = Path(operators.__path__[0])
HEADER = re.compile(r"([A-Z][a-z]+)(: |$)")
FIELDS = re.compile(r"[a-z_0-9]+(, [a-z_0-9]+)*\s{2,}\S")
FOREIGN = ("pipeline", "pydantic", "builtins", "typing", "abc")  # packages whose docstrings have no fields


@dataclass(frozen=True)
class Column:
    """A line of a module's `Columns`."""

    name: str
    dtype: str
    meaning: str


@dataclass(frozen=True)
class Module:
    """A module's docstring in its parts. `body` is its notes and recipes in order: (whether a recipe,
    text)."""

    name: str
    first: str
    body: tuple[tuple[bool, str], ...]
    sections: Mapping[str, list[str]]


def modules() -> list[str]:
    """The modules that `use:` may name."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")


def operators_of(module: str) -> dict[str, type[Operator]]:
    """Class by `module.Class`, in the order of the file."""
    members = vars(importlib.import_module(f"operators.{module}")).values()
    own = [c for c in members if isinstance(c, type) and c.__module__ == f"operators.{module}"]
    return {f"{module}.{c.__name__}": c for c in own if issubclass(c, Writer | Stat)}


def parse_module(name: str) -> Module:
    """The docstring of a module of `operators/` in its parts."""
    return parse_docstring(name, inspect.getdoc(importlib.import_module(f"operators.{name}")))


def parse_docstring(name: str, text: str | None) -> Module:
    """A module's docstring in its parts."""
    lines = (text or "").split("\n")
    start = next((n for n, line in enumerate(lines) if HEADER.fullmatch(line)), len(lines))
    first, *rest = "\n".join(lines[:start]).strip().split("\n\n")
    body = tuple((part.startswith(" "), textwrap.dedent(part)) for part in rest)
    sections: dict[str, list[str]] = {}
    for line in lines[start:]:
        if match := HEADER.match(line):
            current = sections.setdefault(match[1], [])
            line = line[match.end() :]
        current.append(line)
    return Module(name, joined(first), body, sections)


def columns(module: Module, uses: Mapping[str, type[Operator]]) -> dict[str, list[Column]]:
    """By `module.Class`, the columns that its Scores document."""
    found: dict[str, list[Column]] = {use: [] for use in uses}
    current = list(uses)
    for line in filter(str.strip, module.sections.get("Columns", ())):
        cells = re.split(r"\s{2,}", line.strip())
        if all(f"{module.name}.{name}" in uses for name in cells[0].split(", ")):
            current = [f"{module.name}.{name}" for name in cells.pop(0).split(", ")]
        if len(cells) >= 3:
            for use in current:
                found[use].append(Column(cells[0], cells[1], "  ".join(cells[2:])))
        elif cells:
            for use in current:
                last = found[use].pop()
                found[use].append(Column(last.name, last.dtype, f"{last.meaning} {cells[0]}"))
    return found


def paragraphs(cls: type) -> list[str]:
    """Of a class's own docstring."""
    return inspect.cleandoc(cls.__doc__ or "").split("\n\n")


def paragraph(cls: type, beginning: str) -> str:
    """The paragraph that begins so, on one line; "" if there is none."""
    return next((joined(part) for part in paragraphs(cls) if part.startswith(beginning)), "")


def meanings(cls: type) -> dict[str, str]:
    """Field -> meaning, from the tables of the class and its bases."""
    found: dict[str, str] = {}
    for base in reversed([base for base in cls.__mro__ if base.__module__.split(".")[0] not in FOREIGN]):
        tables = (part for part in paragraphs(base) if FIELDS.match(part))
        for line in (line for table in tables for line in table.split("\n")):
            if FIELDS.match(line):
                names, text = re.split(r"\s{2,}", line, maxsplit=1)
                found.update(dict.fromkeys(names.split(", "), text))
            else:
                found.update({name: f"{found[name]} {line.strip()}" for name in names.split(", ")})
    return found


def section_parts(lines: list[str]) -> tuple[str, list[str], str]:
    """What a section says before its list, the list's items, and what it says after it, each on one line. An
    item begins with a dash, and its other lines are indented; most sections have no list."""
    text = textwrap.dedent("\n".join(["    " + lines[0], *lines[1:]]))
    before, *items = re.split(r"\n(?=- )", text)
    if not items:
        return joined(before), [], ""
    last, *after = re.split(r"\n(?!  )", items.pop())
    return joined(before), [joined(item[2:]) for item in (*items, last)], joined(" ".join(after))


def joined(text: str) -> str:
    """A text on one line, with single spaces."""
    return " ".join(text.split())

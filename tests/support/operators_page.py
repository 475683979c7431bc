"""The reference part of operators/README.md, made from the operators' docstrings and fields.

    python -m tests.support.operators_page      writes it (or: make docs); a test compares

A module's docstring holds, in this order: a sentence, recipes (indented), notes, and the sections Columns,
Errors, Source, Differs; any other section, such as `Words:`, goes before Source. A class's docstring holds: a
sentence on what it measures; a paragraph that begins with "Use it"; a table of fields, two spaces after each
name; for a Stat a paragraph `Table: ...`; and a paragraph `Cost: ...`. Fields of a base class stand in the
base's docstring.
"""

import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import polars as pl
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

import operators
from pipeline.operator import ImageScore, Operator, Role, Stat, Writer

README = Path(operators.__path__[0]) / "README.md"
MARK = "<!-- Below: made by `make docs` from the operators' docstrings and fields. Do not edit. -->\n"
ABOUT = """\
Costs are relative, from very cheap to expensive. Figures that were measured are those of one CPU core; the
benchmarks behind them are named in [jobs/SCALE.md](../jobs/SCALE.md)."""
WIDTH = 110
HEADER = re.compile(r"([A-Z][a-z]+)(: |$)")
FIELDS = re.compile(r"[a-z_0-9]+(, [a-z_0-9]+)*\s{2,}\S")
ROLES = {
    "column": "a column's name",
    "table": "a Stat's name",
    "file": "a file",
    "files": "a file, or several by name",
}
KINDS = {str: "text", int: "whole number", float: "number", bool: "true or false"}
SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "multiple_of": "a multiple of"}
SAMPLES = {"text": "the caption", "width": "the image's size", "original_width": "the original image's size"}
UNSAID = ("height", "original_height", "shard", "row", "image_length")  # said with another, or bookkeeping


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


# --- docstrings, parsed ----------------------------------------------------------------------------


def modules() -> list[str]:
    """The modules that `use:` may name."""
    return sorted(path.stem for path in README.parent.glob("*.py") if path.stem != "__init__")


def operators_of(module: str) -> dict[str, type[Operator]]:
    """Class by `module.Class`, in the order of the file."""
    members = vars(importlib.import_module(f"operators.{module}")).values()
    own = [c for c in members if isinstance(c, type) and c.__module__ == f"operators.{module}"]
    return {f"{module}.{c.__name__}": c for c in own if issubclass(c, Writer | Stat)}


def parse_module(name: str) -> Module:
    """A module's docstring in its parts."""
    lines = inspect.getdoc(importlib.import_module(f"operators.{name}")).split("\n")  # type: ignore[union-attr]
    start = next(n for n, line in enumerate(lines) if HEADER.fullmatch(line))
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
    for line in filter(str.strip, module.sections["Columns"]):
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
    """Field -> meaning, from the tables of the class and its bases in operators/."""
    found: dict[str, str] = {}
    for base in reversed([base for base in cls.__mro__ if base.__module__.startswith("operators.")]):
        tables = (part for part in paragraphs(base) if FIELDS.match(part))
        for line in (line for table in tables for line in table.split("\n")):
            if FIELDS.match(line):
                names, text = re.split(r"\s{2,}", line, maxsplit=1)
                found.update(dict.fromkeys(names.split(", "), text))
            else:
                found.update({name: f"{found[name]} {line.strip()}" for name in names.split(", ")})
    return found


def joined(text: str) -> str:
    """A text on one line, with single spaces."""
    return " ".join(text.split())


# --- fields ----------------------------------------------------------------------------------------


def kind_of(field: FieldInfo) -> str:
    """A field's type in words: `whole number >= 1`."""
    annotation = field.annotation
    if role := next((mark.kind for mark in field.metadata if isinstance(mark, Role)), ""):
        return ROLES["files" if role == "file" and annotation is not str else role]
    if get_origin(annotation) is Literal:
        return "one of " + ", ".join(f"`{value}`" for value in get_args(annotation))
    if annotation not in KINDS:
        raise TypeError(f"no words for {annotation}")
    bounds = [
        f"{sign} {value:g}" if abs(value) < 10**6 else f"{sign} 2^{value.bit_length() - 1}"
        for mark in field.metadata
        for key, sign in SIGNS.items()
        if (value := getattr(mark, key, None)) is not None
    ]
    return f"{KINDS[annotation]} {', '.join(bounds)}".strip()


def default_of(field: FieldInfo) -> str:
    """Whether a field must be given, or its default."""
    if field.default is PydanticUndefined:
        return "required"
    if field.default in ("", None):
        return "optional"
    if isinstance(field.default, bool):
        return f"default `{str(field.default).lower()}`"
    return f"default `{field.default}`" if field.default != 2**31 - 1 else "no bound by default"


def reads(cls: type[Operator]) -> str:
    """The inputs of an operator in words, from its bases, needs and fields."""
    parts = ["pixels"] if issubclass(cls, ImageScore) else []
    parts += [SAMPLES.get(need, f"the {need}") for need in cls.needs if need not in UNSAID]
    for kind, noun in (("column", "column"), ("table", "Stat"), ("file", "file")):
        named = [
            f"`{name}`"
            for name, field in cls.model_fields.items()
            if any(isinstance(mark, Role) and mark.kind == kind for mark in field.metadata)
        ]
        parts += [f"the {noun}{'s' * (len(named) > 1)} named by {', '.join(named)}"] if named else []
    return "; ".join(parts)


# --- the page --------------------------------------------------------------------------------------


def bullet(text: str) -> str:
    """An item of a list, wrapped."""
    return fill(text, "- ", "  ")


def fill(text: str, first: str = "", rest: str = "") -> str:
    """A paragraph, wrapped to WIDTH; code spans and names with hyphens are not broken."""
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def recipe(block: str) -> str:
    """A docstring's recipe as YAML: the lines before `keep` are those of `compute`."""
    lines = block.split("\n")
    end = next((n for n, line in enumerate(lines) if line.startswith(("keep:", "export:"))), len(lines))
    return "\n".join(["compute:", *(f"  {line}" for line in lines[:end]), *lines[end:]])


def section(name: str, lines: list[str]) -> str:
    """A section of a module's docstring, which may hold a list, as Markdown."""
    text = textwrap.dedent("\n".join(["    " + lines[0], *lines[1:]]))
    before, *items = re.split(r"\n(?=- )", text)
    blocks = [fill(joined(f"**{name}**: {before}"))]
    if items:
        last, *after = re.split(r"\n(?!  )", items.pop())
        blocks.append("\n".join(bullet(joined(item[2:])) for item in (*items, last)))
        blocks.append(fill(joined(" ".join(after))))
    return "\n\n".join(blocks)


def module_page(module: Module) -> Iterator[str]:
    """The blocks of a module's own part."""
    yield f"## {module.name}"
    yield fill(module.first)
    for is_recipe, text in module.body:
        yield f"```yaml\n{recipe(text)}\n```" if is_recipe else fill(joined(text))
    for name, lines in module.sections.items():
        if name != "Columns":
            yield section(name, lines)


def operator_page(use: str, cls: type[Operator], written: list[Column]) -> Iterator[str]:
    """The blocks of an operator's part."""
    yield f"### `{use}`"
    yield fill(joined(paragraphs(cls)[0]))
    yield fill(paragraph(cls, "Use it"))
    kind = "Stat" if issubclass(cls, Stat) else "ImageScore" if issubclass(cls, ImageScore) else "Score"
    facts = [f"**Kind**: {kind}", f"**Reads**: {reads(cls)}", f"**Cost**: {paragraph(cls, 'Cost: ')[6:]}"]
    if table := paragraph(cls, "Table: "):
        facts.append(f"**Table**: {table[7:]}")
    yield "\n".join(map(bullet, facts))
    if cls.model_fields:
        texts = meanings(cls)
        yield "Parameters:\n\n" + "\n".join(
            bullet(f"`{name}` ({kind_of(field)}; {default_of(field)}): {texts[name]}")
            for name, field in cls.model_fields.items()
        )
    if written:
        yield "Columns:\n\n" + "\n".join(
            bullet(f"`{column.name}` ({column.dtype}): {column.meaning}") for column in written
        )


def reference() -> str:
    """All that stands below MARK."""
    contents, pages = [], []
    for name in modules():
        module, uses = parse_module(name), operators_of(name)
        contents.append(bullet(f"[{name}](#{name}): " + ", ".join(f"`{use}`" for use in uses)))
        pages += module_page(module)
        written = columns(module, uses)
        for use, cls in uses.items():
            pages += operator_page(use, cls, written[use])
    return "\n\n".join(["# Reference", ABOUT, "\n".join(contents), *pages]) + "\n"


def page() -> str:
    """The whole README: the part above MARK, unchanged, and the reference."""
    by_hand, _, _ = README.read_text().partition(MARK)
    return f"{by_hand}{MARK}\n{reference()}"


def dtype_text(dtype: Any) -> str:
    """A polars type as the docstrings write it."""
    return re.sub(r"shape=\((\d+),\)", r"\1", str(dtype() if dtype is pl.Null else dtype))


if __name__ == "__main__":
    README.write_text(page())

"""What there is to know of an operator, for `winnow operators`.

manuals = shipped()
of("clip", manuals)          # those of a module, or one by `clip.ClipScore`, `ClipScore`
plugged(recipe)              # the operators of a recipe's plugins
"""

import inspect
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from jobs.manual.docstrings import (
    Column,
    Module,
    columns,
    joined,
    meanings,
    modules,
    operators_of,
    paragraph,
    paragraphs,
    parse_docstring,
    parse_module,
    section_parts,
)
from jobs.manual.fields import default_of, dtype_text, kind_of, reads
from pipeline.errors import RecipeError, brief, guess
from pipeline.operator import BytesScore, Group, ImageScore, Operator, Score, Stat, Writer
from pipeline.recipe.sections import Recipe

MOST_MENTIONS = 5  # modules that are named if a word is no operator


@dataclass(frozen=True)
class Parameter:
    """A field of an operator: its type, its default or `required`, and its meaning, in words."""

    name: str
    kind: str
    default: str
    meaning: str


@dataclass(frozen=True)
class Manual:
    """An operator, as its docstring, its module's docstring and its fields tell.

    use       the import path, as in a recipe
    kind      `Score`, `ImageScore`, `BytesScore`, `Group` or `Stat`
    about     one sentence: what it measures
    usage     when to use it
    reads     its inputs
    cost      how much it costs
    table     of a Stat, what its table holds
    notes     of its module
    recipe    an example, in YAML
    sections  of its module: `Errors`, `Source`, `Differs` and the like
    """

    use: str
    kind: str
    about: str
    usage: str
    reads: str
    cost: str
    table: str
    parameters: Sequence[Parameter]
    columns: Sequence[Column]
    notes: Sequence[str]
    recipe: str
    sections: Mapping[str, str]


def shipped() -> list[Manual]:
    """The manuals of the operators of `operators/`, by module."""
    found = []
    for name in modules():
        module, uses = parse_module(name), operators_of(name)
        written = columns(module, uses)
        found += [_manual(use, cls, module, written[use]) for use, cls in uses.items()]
    return found


def plugged(recipe: Recipe) -> list[Manual]:
    """The manuals of the operators that a recipe takes from its plugins."""
    found: dict[str, Manual] = {}
    for entry in recipe.compute.values():
        if entry.source is not None and entry.use not in found:
            cls = type(entry.operator)
            module = parse_docstring(entry.use.rsplit(".", 1)[0], inspect.getdoc(sys.modules[cls.__module__]))
            written = columns(module, {entry.use: cls})[entry.use]
            found[entry.use] = _manual(entry.use, cls, module, written)
    return list(found.values())


def of(name: str, manuals: Sequence[Manual]) -> list[Manual]:
    """The manuals that a name means: `clip`, `clip.ClipScore` or `ClipScore`. Raises RecipeError if there are
    none, and names those that mention the name, such as `dedup`."""
    names: dict[str, list[Manual]] = {}
    for manual in manuals:
        module, _, cls = manual.use.rpartition(".")
        for known in dict.fromkeys((manual.use, module, cls)):
            names.setdefault(known, []).append(manual)
    if name in names:
        return names[name]
    lower = {known.lower(): known for known in names}
    if name.lower() in lower:
        return names[lower[name.lower()]]
    hint = guess(name, names)
    mentions = _mentions(name, manuals)
    found = [module for module, count in mentions.most_common(MOST_MENTIONS) if count and not hint]
    where = f"modules that mention it: {', '.join(found)}" if found else f"modules: {', '.join(mentions)}"
    raise RecipeError(
        f"operators: {brief(name)} is not an operator{hint}; {where}. `winnow operators` lists all, and with "
        "--recipe those of its plugins, too"
    )


def _mentions(word: str, manuals: Sequence[Manual]) -> Counter[str]:
    """Module -> how often it says a word; what belongs to the module counts once."""
    texts: dict[str, set[str]] = {}
    for manual in manuals:
        said = texts.setdefault(manual.use.rpartition(".")[0], set())
        said.update((manual.about, manual.usage, *manual.notes, *manual.sections.values()))
    word = word.strip().lower()
    return Counter(
        {module: sum(text.lower().count(word) for text in said if word) for module, said in texts.items()}
    )


def kind_name(cls: type[Operator]) -> str:
    """What an operator is."""
    return next(
        kind.__name__ for kind in (Stat, Group, ImageScore, BytesScore, Score) if issubclass(cls, kind)
    )


def in_recipe(block: str) -> str:
    """A docstring's recipe as YAML: the lines before `keep` are those of `compute`."""
    lines = block.split("\n")
    end = next((n for n, line in enumerate(lines) if line.startswith(("keep:", "export:"))), len(lines))
    return "\n".join(["compute:", *(f"  {line}" for line in lines[:end]), *lines[end:]])


def _section(lines: list[str]) -> str:
    """A section's text; each item of its list is a line."""
    before, items, after = section_parts(lines)
    return "\n".join([before, *(f"- {item}" for item in items), *([after] if after else [])])


def _manual(use: str, cls: type[Operator], module: Module, written: Sequence[Column]) -> Manual:
    """The manual of a class."""
    sections = {name: _section(lines) for name, lines in module.sections.items() if name != "Columns"}
    return Manual(
        use=use,
        kind=kind_name(cls),
        about=joined(paragraphs(cls)[0]) or module.first,
        usage=paragraph(cls, "Use it"),
        reads=reads(cls),
        cost=paragraph(cls, "Cost: ")[len("Cost: ") :],
        table=paragraph(cls, "Table: ")[len("Table: ") :],
        parameters=_parameters(cls),
        columns=written or _declared(cls),
        notes=[module.first, *(joined(text) for is_recipe, text in module.body if not is_recipe)],
        recipe=_example(use, cls, (text for is_recipe, text in module.body if is_recipe)),
        sections=sections,
    )


def _parameters(cls: type[Operator]) -> list[Parameter]:
    """The fields of a class. A plugin's may have a type without words, or no meaning."""
    texts = meanings(cls)
    found = []
    for name, field in cls.model_fields.items():
        try:
            kind = kind_of(field)
        except TypeError:
            kind = str(getattr(field.annotation, "__name__", field.annotation))
        found.append(Parameter(name, kind, default_of(field), texts.get(name, "")))
    return found


def _declared(cls: type[Operator]) -> list[Column]:
    """The columns that a class declares, if its docstring does not describe them."""
    writes = cls.writes if issubclass(cls, Writer) else {}
    return [Column(name, dtype_text(dtype), "") for name, dtype in writes.items()]


def _example(use: str, cls: type[Operator], recipes: Iterable[str]) -> str:
    """The module's first recipe that uses the class; else a line with the fields that must be given."""
    for recipe in recipes:
        if f"use: {use}" in recipe:
            return in_recipe(recipe)
    required = "".join(f", {name}: ..." for name, field in cls.model_fields.items() if field.is_required())
    return in_recipe(f"{use.split('.')[0]}: {{use: {use}{required}}}")

"""The reference part of operators/README.md, made from the operators' docstrings and fields.

    python -m tests.support.operators_page      writes it (or: make docs); a test compares

`jobs/manual/` reads the docstrings.
"""

import textwrap
from collections.abc import Iterator

from jobs.manual.docstrings import (
    FOLDER,
    Column,
    Module,
    columns,
    joined,
    meanings,
    modules,
    operators_of,
    paragraph,
    paragraphs,
    parse_module,
    section_parts,
)
from jobs.manual.fields import default_of, kind_of, reads
from jobs.manual.manual import in_recipe, kind_name
from pipeline.operator import Operator

README = FOLDER / "README.md"
MARK = "<!-- Below: made by `make docs` from the operators' docstrings and fields. Do not edit. -->\n"
ABOUT = """\
Costs are relative, from very cheap to expensive. Figures that were measured are those of one CPU core; the
benchmarks behind them are named in [jobs/SCALE.md](../jobs/SCALE.md)."""
WIDTH = 110


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


def section(name: str, lines: list[str]) -> str:
    """A section of a module's docstring, which may hold a list, as Markdown."""
    before, items, after = section_parts(lines)
    blocks = [fill(f"**{name}**: {before}")]
    if items:
        blocks.append("\n".join(map(bullet, items)))
        blocks.append(fill(after))
    return "\n\n".join(blocks)


def module_page(module: Module) -> Iterator[str]:
    """The blocks of a module's own part."""
    yield f"## {module.name}"
    yield fill(module.first)
    for is_recipe, text in module.body:
        yield f"```yaml\n{in_recipe(text)}\n```" if is_recipe else fill(joined(text))
    for name, lines in module.sections.items():
        if name != "Columns":
            yield section(name, lines)


def operator_page(use: str, cls: type[Operator], written: list[Column]) -> Iterator[str]:
    """The blocks of an operator's part."""
    yield f"### `{use}`"
    yield fill(joined(paragraphs(cls)[0]))
    yield fill(paragraph(cls, "Use it"))
    facts = [
        f"**Kind**: {kind_name(cls)}",
        f"**Reads**: {reads(cls)}",
        f"**Cost**: {paragraph(cls, 'Cost: ')[6:]}",
    ]
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


if __name__ == "__main__":
    README.write_text(page())

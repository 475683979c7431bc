"""What the parts of a recipe say about each other: names that must lead somewhere, types that must suit,
needs that must not go in a circle.
"""

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

import polars as pl
from polars._typing import PolarsDataType

from pipeline.errors import RecipeError
from pipeline.operator import Stat, Writer
from pipeline.recipe.sections import Entry
from pipeline.rule import Rule
from pipeline.schema import READY, READY_COLUMNS, SAMPLE_COLUMNS

if TYPE_CHECKING:
    from pipeline.recipe.sections import Recipe

INDEX = "index"  # in `run:`, where export.index is built


def check(recipe: "Recipe") -> dict[str, Entry]:
    """`compute` in dependency order. Raises RecipeError at the first reference that leads nowhere."""
    columns = column_types(recipe)
    tables = [name for name in recipe.compute if isinstance(recipe.operator(name), Stat)]
    for name in recipe.compute:
        _check_operator(recipe, name, columns, tables)
    for name, rule in recipe.keep.items():
        _check_rule(name, rule, columns)
    _check_export(recipe, columns)
    for name in recipe.run:
        known = [*recipe.compute, *([INDEX] if recipe.export.index else [])]
        _known("run", name, known, "an operator of this recipe")
    if extra := recipe.resources(INDEX).model_fields_set - {"cpus", "memory"}:
        raise RecipeError(f"run.{INDEX}: the FAISS index takes cpus and memory, got {min(extra)}")
    return _in_order(recipe.compute)


def _check_operator(recipe: "Recipe", name: str, columns: Collection[str], tables: Collection[str]) -> None:
    """A Score may read columns and Stats, a Stat columns, nothing else."""
    operator = recipe.operator(name)
    if name == INDEX:
        raise RecipeError(f"compute.{name}: `run.{INDEX}` is the FAISS index; give the operator another name")
    if name == READY:
        raise RecipeError(f"compute.{name}: the columns of pool.datacomp are called so; give it another name")
    if name in tables and name in SAMPLE_COLUMNS:
        raise RecipeError(f"compute.{name}: a Stat cannot be called {name}, as a sample's column is")
    for field, value in operator.fields_of("table"):
        _known(f"compute.{name}.{field}", value, tables, "a Stat of this recipe")
    for field, value in operator.fields_of("column"):
        _known(f"compute.{name}.{field}", value, columns, "a column of this recipe")
    for value in operator.needs:
        _known(f"compute.{name} needs", value, [*columns, *tables], "a column or Stat of this recipe")
    if name in tables and (read := set(tables) & set(operator.inputs())):
        raise RecipeError(f"compute.{name} is a Stat and reads the Stat {min(read)}; Stats read columns only")


def _check_rule(name: str, rule: Rule, columns: Mapping[str, PolarsDataType]) -> None:
    """The column exists and its type suits the bound."""
    if name == "keep":
        raise RecipeError(f"keep.{name}: a rule cannot be called {name}, as a column of the decisions is")
    _known(f"keep.{name}", rule.column, columns, "a column of this recipe")
    dtype = columns[rule.column]
    if rule.bound == "among":
        suits = dtype == pl.String
    else:
        suits = dtype.is_numeric() or (dtype == pl.Boolean and rule.bound in ("min", "max"))
    if not suits:
        raise RecipeError(
            f"keep.{name}.{rule.bound}: {rule.column} is {dtype}; "
            "`among` takes a String column, every other bound a column of numbers (min and max a Boolean, too)"
        )


def _check_export(recipe: "Recipe", columns: Mapping[str, PolarsDataType]) -> None:
    """The columns that exports read exist, and their types suit."""
    for key, (column, mark) in recipe.export.columns().items():
        _known(key, column, columns, "a column of this recipe")
        if not mark.suits(dtype := columns[column]):
            raise RecipeError(f"{key}: {column} is {dtype}, must be {mark.expected}")


def column_types(recipe: "Recipe") -> dict[str, PolarsDataType]:
    """Every column a recipe may name, with its type (`pl.Array` stands for any width)."""
    found = dict(SAMPLE_COLUMNS) | (dict(READY_COLUMNS) if recipe.pool.datacomp else {})
    for name in recipe.compute:
        if isinstance(writer := recipe.operator(name), Writer):
            found |= {f"{name}.{short}": dtype for short, dtype in writer.writes.items()}
    return found


def _known(key: str, value: str, allowed: Collection[str], what: str) -> None:
    if value in allowed:
        return
    close = get_close_matches(value, allowed, 1)
    hint = f" (did you mean {close[0]}?)" if close else f"; there are: {', '.join(allowed) or 'none'}"
    raise RecipeError(f"{key}: {value} is not {what}{hint}")


def _in_order(compute: Mapping[str, Entry]) -> dict[str, Entry]:
    graph = {name: sorted(compute[name].operator.owners()) for name in sorted(compute)}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        raise RecipeError(f"compute: the needs go in a circle: {circle}") from None
    return {name: compute[name] for name in order}

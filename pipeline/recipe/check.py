"""Compares the sections of a recipe with each other: every name must exist, types must fit, and operators
must not need each other in a circle.
"""

import re
from collections.abc import Collection, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

import polars as pl
from polars._typing import PolarsDataType

from pipeline.errors import RecipeError, brief, shortened, unknown
from pipeline.operator import Group, Stat, Writer
from pipeline.recipe.addresses import addresses, check_address
from pipeline.recipe.own_names import own_name
from pipeline.recipe.sections import Entry
from pipeline.rule import Rule
from pipeline.schema import CAPTIONS_COLUMN, READY_COLUMNS, SAMPLE_COLUMNS

if TYPE_CHECKING:
    from pipeline.recipe.sections import Recipe, Resources

RULE_NAME = re.compile(r"[^\W_](?:[\w .+:-]{0,98}[\w.+:-])?")  # it names a column, and stands in tables
INDEX_TASK = "index"  # the name in `run:` for the tasks that build indexes


def check(recipe: "Recipe") -> dict[str, Entry]:
    """The operators of `compute` in dependency order. Raises RecipeError at the first mistake."""
    for key, address in addresses(recipe):
        check_address(key, address)
    columns = column_types(recipe)
    tables = [name for name in recipe.compute if isinstance(recipe.operator(name), Stat)]
    for name in recipe.compute:
        _check_operator(recipe, name, columns, tables)
    for name, rule in recipe.keep.items():
        _check_rule(name, rule, columns)
    _check_export(recipe, columns)
    for name in recipe.run:
        names = [*recipe.compute, *([INDEX_TASK] if recipe.export.every_index() else [])]
        _check_name("run", name, names, "an operator of this recipe")
    if extra := recipe.resources(INDEX_TASK).model_fields_set - {"cpus", "memory"}:
        raise RecipeError(f"run.{INDEX_TASK}.{min(extra)}: the FAISS index takes cpus and memory only")
    for name in recipe.run:
        if name in recipe.compute and isinstance(recipe.operator(name), Group):
            _check_group_resources(name, recipe.compute[name].use, recipe.resources(name))
    return _in_order(recipe.compute)


def _check_operator(
    recipe: "Recipe", name: str, columns: Mapping[str, PolarsDataType], tables: Collection[str]
) -> None:
    """Its name is free and what it reads exists. Scores and Groups may read columns and Stats; Stats may read
    columns."""
    operator = recipe.operator(name)
    if name == INDEX_TASK:
        raise RecipeError(
            f"compute.{name}: this name is reserved for the FAISS index in `run:`; choose another"
        )
    if name in READY_COLUMNS:
        raise RecipeError(
            f"compute.{name}: this name is reserved for the columns of pool.{name}; choose another"
        )
    if name in tables and name in (*SAMPLE_COLUMNS, *CAPTIONS_COLUMN):
        raise RecipeError(f"compute.{name}: this name is a column of every sample; choose another for a Stat")
    for field, value in operator.fields_of("table"):
        _check_name(f"compute.{name}.{field}", value, tables, "a Stat of this recipe")
    for field, value in operator.fields_of("column"):
        _check_name(f"compute.{name}.{field}", value, columns, "a column of this recipe")
    for field, column, expected in operator.unfit(columns):
        raise RecipeError(f"compute.{name}.{field}: {column} is {columns[column]}, must be {expected}")
    sources = {owner: recipe.operator(owner) for owner in operator.owners() if owner in recipe.compute}
    for field, why in operator.misfits(sources):
        raise RecipeError(f"compute.{name}.{field}: {why}")
    for value in operator.needs:
        _check_name(f"compute.{name} needs", value, [*columns, *tables], "a column or Stat of this recipe")
    if name in tables and (read := set(tables) & set(operator.inputs())):
        raise RecipeError(f"compute.{name}: a Stat may read columns only, and {min(read)} is a Stat")
    if isinstance(operator, Group):
        _check_keys(name, operator, columns)


def _check_keys(name: str, operator: Group, columns: Mapping[str, PolarsDataType]) -> None:
    """The columns by which rows meet have values that can be equal; one that is a list is alone."""
    names = operator.keys()
    for key in names:
        if key not in columns:  # fields are checked, but for an empty text
            raise RecipeError(f"compute.{name}: rows meet by the column {key!r}; name one of this recipe")
        dtype = columns[key]
        inner = getattr(dtype, "inner", None) if dtype == pl.List else dtype
        if not (inner is not None and (inner.is_integer() or inner in (pl.String, pl.Binary, pl.Boolean))):
            raise RecipeError(
                f"compute.{name}: {key} is {dtype}; rows meet by integers, text or bytes, or lists of them"
            )
        if dtype == pl.List and len(names) > 1:
            raise RecipeError(f"compute.{name}: {key} is {dtype}; a list must be the only key")
        if dtype == pl.List and type(operator).combine is Group.combine:
            use = type(operator).__name__
            raise RecipeError(
                f"compute.{name}: {key} is {dtype}; {use} takes a single key per row, not a list"
            )


def _check_group_resources(name: str, use: str, asked: "Resources") -> None:
    """`run` has no setting for a Group that its tasks would not heed."""
    if extra := asked.model_fields_set - {"cpus", "memory"}:
        raise RecipeError(f"run.{name}.{min(extra)}: {use} is a Group, whose tasks take cpus and memory only")


def _check_rule(name: str, rule: Rule, columns: Mapping[str, PolarsDataType]) -> None:
    """Its name can be that of a column, its column exists and has a type that fits the bound."""
    if not RULE_NAME.fullmatch(name):
        raise RecipeError(
            "keep: the name of a rule must be letters, digits, blanks, and any of _ . - + :, starting with a "
            f"letter or digit, 100 characters at most, got {brief(name)}"
        )
    if name == "keep":
        raise RecipeError(f"keep.{name}: `{name}` is a reserved name; give the rule another")
    _check_name(f"keep.{name}", rule.column, columns, "a column of this recipe")
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
    """The columns that exports read exist and have types that fit; no two exports write to one path."""
    if INDEX_TASK in recipe.export.indexes:
        raise RecipeError(
            f"export.indexes.{INDEX_TASK}: `{INDEX_TASK}` is the name of export.index; give this one another"
        )
    key_of_path: dict[str, str] = {}
    for key, (path, _) in recipe.export.destinations().items():
        _check_own_name(key, path)
        if (other := key_of_path.setdefault(path.rstrip("/"), key)) != key:
            raise RecipeError(f"{key}: {path} is the path of {other} too; name another")
    if recipe.export.table_embedding is not None and recipe.export.table is None:
        raise RecipeError("export.table_embedding: it is a column of export.table, which is missing: name it")
    for key, (column, mark) in recipe.export.columns().items():
        _check_name(key, column, columns, "a column of this recipe")
        if not mark.suits(dtype := columns[column]):
            raise RecipeError(f"{key}: {column} is {dtype}, must be {mark.expected}")


def _check_own_name(key: str, path: str) -> None:
    """The path is not one that Winnow keeps a manifest, a lock, or an export in the making at."""
    if (name := own_name(path)) is not None:
        raise RecipeError(f"{key}: {path}: Winnow keeps a file of its own as {name}; name another path")


def column_types(recipe: "Recipe") -> dict[str, PolarsDataType]:
    """Every column that a recipe may name, with its type (`pl.Array` stands for any width)."""
    types = dict(SAMPLE_COLUMNS) | dict(READY_COLUMNS.get(recipe.pool.kind_name or "", {}))
    types |= CAPTIONS_COLUMN if recipe.pool.caption else {}
    for name in recipe.compute:
        if isinstance(writer := recipe.operator(name), Writer):
            types |= {f"{name}.{short}": dtype for short, dtype in writer.writes.items()}
    return types


def _check_name(key: str, value: str, allowed: Collection[str], what: str) -> None:
    """Raises RecipeError if a name is not among those allowed; `what` says what it must be."""
    if value in allowed:
        return
    if value in CAPTIONS_COLUMN:
        raise RecipeError(
            f"{shortened(key)}: {value} are there if pool.caption says where, such as [txt, json.captions]"
        )
    if value == "caption" and "text" in allowed:
        raise RecipeError(f"{shortened(key)}: {value} is not {what}: captions are in the column `text`")
    raise RecipeError(f"{shortened(key)}: {unknown(value, what, allowed)}")


def _in_order(compute: Mapping[str, Entry]) -> dict[str, Entry]:
    """The operators in dependency order, the same for any order in the file. Raises RecipeError."""
    graph = {name: sorted(compute[name].operator.owners()) for name in sorted(compute)}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        raise RecipeError(f"compute: operators need each other in a circle: {circle}") from None
    return {name: compute[name] for name in order}

"""A recipe: YAML in, a checked `Recipe` out. Every configuration error is raised here, before any work.

    recipe = load("jobs/recipes/demo.yaml", overrides=["keep.clip.score.top=0.2"])
"""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Any

import fsspec
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from pipeline.errors import RecipeError
from pipeline.operator import SAMPLE_COLUMNS, Operator, Stat, Writer
from pipeline.resolve import Entry, build, messages
from pipeline.rule import Rule


class Section(BaseModel):
    """A part of a recipe: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Pool(Section):
    """Where the samples are: `shards` a path, brace pattern, glob, folder, or a list of them, on any
    fsspec file system; `store` the folder that keeps everything computed about them."""

    shards: str | tuple[str, ...]
    store: str


class Index(Section):
    """A FAISS index of one embedding column of the kept samples. `factory` is FAISS's factory string, or
    `auto` to choose by the number of rows."""

    embedding: str
    path: str
    factory: str = "auto"


class Export(Section):
    """What `winnow export` writes."""

    shards: str | None = None
    subset: str | None = None
    index: Index | None = None
    samples_per_shard: Annotated[int, Field(ge=1, le=10_000)] = 10_000


class Resources(Section):
    """`run.<operator>`: speed, never results. Operators that ask for the same share one worker pool.

    gpus, cpus  what each worker reserves (fractions allowed)
    workers     how many; default one per GPU, or one per CPU
    batch_size  rows handed to the operator at a time
    """

    gpus: Annotated[float, Field(ge=0)] = 0
    cpus: Annotated[float, Field(gt=0)] | None = None
    workers: Annotated[int, Field(ge=1)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=16_384)] = 256


class Recipe(Section):
    """A checked recipe. `compute` holds operator instances in dependency order."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")] = "recipe"
    pool: Pool
    compute: dict[str, Entry] = {}
    keep: dict[str, Rule] = {}
    export: Export = Export()
    run: dict[str, Resources] = {}
    plugins: tuple[str, ...] = ()

    @field_validator("keep", mode="before")
    @classmethod
    def _column_defaults_to_key(cls, rules: Any) -> Any:
        if not isinstance(rules, dict):
            return rules
        return {k: {"column": k, **v} if isinstance(v, dict) else v for k, v in rules.items()}

    def operator(self, name: str) -> Operator:
        """The instance that `compute.<name>` describes."""
        return self.compute[name].operator

    def resources(self, name: str) -> Resources:
        """`run.<name>`, or the defaults."""
        return self.run.get(name, Resources())


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice (YAML's own habit is to keep the last one silently)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str | int | float) and key in seen:
                raise RecipeError(f"{key} is given twice (line {key_node.start_mark.line + 1})")
            seen.add(key) if isinstance(key, str | int | float) else None
        return super().construct_mapping(node, deep=deep)


def load(path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read, override (`--set a.b=c`) and check a recipe. Raises RecipeError."""
    try:
        with fsspec.open(path, "rt", encoding="utf-8") as file:
            data = yaml.load(file, Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except FileNotFoundError:
        raise RecipeError(f"recipe {path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe {path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise RecipeError(f"recipe {path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise RecipeError(f"recipe {path}: must be a mapping with the keys {', '.join(Recipe.model_fields)}")
    for override in overrides:
        _apply(data, override)
    return parse({"name": Path(path).stem, **data})


def parse(data: Mapping[str, Any]) -> Recipe:
    """Check a recipe given as plain data. Raises RecipeError with one line per mistake."""
    data = dict(data)
    plugins = data.get("plugins") or ()
    if not isinstance(plugins, list | tuple) or not all(isinstance(p, str) for p in plugins):
        raise RecipeError(f"plugins must be a list of paths, got {plugins!r}")
    compute = data.get("compute") or {}
    if not isinstance(compute, dict):
        raise RecipeError(f"compute must map names to operators, got {compute!r}")
    data["compute"] = {name: build(str(name), spec, plugins) for name, spec in compute.items()}
    data = {key: {} if value is None and key in ("keep", "run", "export") else value for key, value in data.items()}
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        raise RecipeError("\n".join(messages(error, Recipe))) from None
    return _check_names(recipe)


def _apply(data: dict[str, Any], override: str) -> None:
    """Set one dotted key; names may contain dots themselves (`keep.clip.score.top`)."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"--set takes KEY=VALUE, such as keep.clip.score.top=0.2, got {override!r}")
    try:
        value = yaml.load(text, Loader=_Loader)  # noqa: S506
    except yaml.YAMLError:
        raise RecipeError(f"--set {override}: the value is not valid YAML") from None
    parts, target = key.split("."), data
    while len(parts) > 1:
        cut = next((n for n in range(len(parts) - 1, 0, -1) if ".".join(parts[:n]) in target), None)
        if cut is None:  # a new entry: the section, then a name that may have dots, then the field
            cut = 1 if target is data else len(parts) - 1
        name = ".".join(parts[:cut])
        child = target.setdefault(name, {}) if target.get(name) is not None else target.update({name: {}}) or target[name]
        if not isinstance(child, dict):
            raise RecipeError(f"--set {override}: {name} is {child!r}, not a mapping")
        target, parts = child, parts[cut:]
    rival = [b for b in ("min", "max", "top", "bottom", "among", "chance") if b in target and b != parts[0]]
    if key.startswith("keep.") and parts[0] in ("min", "max", "top", "bottom", "among", "chance"):
        for bound in rival:
            del target[bound]
    target[parts[0]] = value


def _check_names(recipe: Recipe) -> Recipe:
    """Every reference must lead somewhere, without circles; returns `compute` in dependency order."""
    columns = _columns(recipe)
    tables = [name for name in recipe.compute if isinstance(recipe.operator(name), Stat)]
    for name, entry in recipe.compute.items():
        for field, value in entry.operator.fields_of("table"):
            _known(f"compute.{name}.{field}", value, tables, "a Stat of this recipe")
        for field, value in entry.operator.fields_of("column"):
            _known(f"compute.{name}.{field}", value, columns, "a column of this recipe")
        for value in entry.operator.needs:
            _known(f"compute.{name} needs", value, [*columns, *tables], "a column or Stat of this recipe")
    for name, rule in recipe.keep.items():
        _known(f"keep.{name}", rule.column, columns, "a column of this recipe")
    if recipe.export.index:
        _known("export.index.embedding", recipe.export.index.embedding, columns, "a column of this recipe")
    for name in recipe.run:
        _known("run", name, list(recipe.compute), "an operator of this recipe")
    return recipe.model_copy(update={"compute": _in_order(recipe)})


def _columns(recipe: Recipe) -> list[str]:
    written = [
        f"{name}.{short}"
        for name in recipe.compute
        if isinstance(writer := recipe.operator(name), Writer)
        for short in writer.writes
    ]
    return [*SAMPLE_COLUMNS, *written]


def _known(key: str, value: str, allowed: Sequence[str], what: str) -> None:
    if value in allowed:
        return
    close = get_close_matches(value, allowed, 1)
    hint = f" (did you mean {close[0]}?)" if close else f"; there are: {', '.join(allowed) or 'none'}"
    raise RecipeError(f"{key}: {value} is not {what}{hint}")


def _in_order(recipe: Recipe) -> dict[str, Entry]:
    graph = {
        name: {need.split(".")[0] for need in entry.operator.inputs()} & recipe.compute.keys()
        for name, entry in recipe.compute.items()
    }
    try:
        order = list(TopologicalSorter({n: sorted(graph[n]) for n in sorted(graph)}).static_order())
    except CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        raise RecipeError(f"compute: the needs go in a circle: {circle}") from None
    return {name: recipe.compute[name] for name in order}

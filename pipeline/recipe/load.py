"""A recipe: YAML in, a checked `Recipe` out. Every configuration error is raised here, before any work.

recipe = load("jobs/recipes/demo.yaml", overrides=["keep.clip.score.top=0.2"])
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import fsspec
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipeline.errors import RecipeError
from pipeline.operator import Operator
from pipeline.recipe.check import check
from pipeline.recipe.lookup import Entry, build, messages
from pipeline.rule import BOUNDS, Rule


class Section(BaseModel):
    """A part of a recipe: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


PARTS = ("text", "url", "uid", "key", "width", "height", "original_width", "original_height")


class Pool(Section):
    """Where the samples are: `shards` a path, brace pattern, glob, folder, or a list of them, on any
    fsspec file system, of tars, or of tables (parquet, TSV, CSV, JSON lines) that hold captions and URLs
    only; `store` the folder that keeps everything computed about them. Instead of `shards`, `datacomp` names
    a DataComp metadata folder, parquet and npz, whose scores and embeddings are columns as they are.

    `columns` tells where a table has what: {text: TITLE, url: LINK} where the names are not the usual
    ones, or positions from 0, {text: 0, url: 1}, where a TSV or CSV has no header line.
    """

    shards: str | tuple[str, ...] | None = None
    datacomp: Annotated[str, Field(min_length=1)] | None = None
    store: str
    columns: dict[str, str | int] = {}

    @model_validator(mode="after")
    def _one_kind(self) -> "Pool":
        if (self.shards is None) == (self.datacomp is None):
            both = "both" if self.shards else "none"
            raise ValueError(
                f"must have exactly one of shards (tars, tables) and datacomp (a folder), got {both}"
            )
        if self.datacomp and self.columns:
            raise ValueError("has columns, which only the tables of `shards` use")
        return self

    @field_validator("shards", mode="before")
    @classmethod
    def _path_or_paths(cls, value: Any) -> Any:
        paths = [value] if isinstance(value, str) else value
        if not isinstance(paths, list | tuple) or not all(isinstance(path, str) for path in paths):
            raise ValueError(f"must be a path or a list of paths, got {value!r}")
        return value

    @field_validator("columns", mode="before")
    @classmethod
    def _names_or_positions(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError(f"must map parts of a sample to columns, such as {{text: TITLE}}, got {value!r}")
        if unknown := [part for part in value if part not in PARTS]:
            raise ValueError(f"must be of {', '.join(PARTS)}, got {unknown[0]!r}")
        names = list(value.values())
        if not all(isinstance(n, str) for n in names) and not all(type(n) is int and n >= 0 for n in names):
            raise ValueError(f"must be all names, or all positions from 0, got {value!r}")
        return value

    @field_validator("store")
    @classmethod
    def _known_file_system(cls, value: str) -> str:
        try:
            fsspec.get_filesystem_class(fsspec.utils.get_protocol(value))
        except (ValueError, ImportError) as error:
            raise ValueError(f"must be a folder on a known file system, got {value!r}: {error}") from None
        return value


class Index(Section):
    """A FAISS index of one embedding column of the kept samples. `factory` is FAISS's factory string, or
    `auto` to choose by the number of rows."""

    embedding: str
    path: str
    factory: str = "auto"


class Export(Section):
    """What `winnow export` writes. `urls`: a folder of parquet files, the list that img2dataset downloads.
    `repeats`: a column that says how often each kept sample is in `shards` and `subset`."""

    shards: str | None = None
    subset: str | None = None
    repeats: str | None = None
    urls: str | None = None
    index: Index | None = None
    samples_per_shard: Annotated[int, Field(ge=1, le=10_000)] = 10_000


class Resources(Section):
    """`run.<operator>`: speed, never results. Operators that ask for the same share one worker pool.
    `run.index`, of which only cpus and memory count, is the machine that builds `export.index`.

    gpus, cpus  what each worker reserves (fractions allowed)
    memory      GiB that each worker reserves: it lies on a machine that has as much
    workers     how many; default one per GPU, or one per CPU
    batch_size  rows handed to the operator at a time; default by what the pool does (plan.ROWS)
    """

    gpus: Annotated[float, Field(ge=0)] = 0
    cpus: Annotated[float, Field(gt=0)] | None = None
    memory: Annotated[float, Field(gt=0)] | None = None
    workers: Annotated[int, Field(ge=1)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=16_384)] | None = None


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
        lines: dict[str, int] = {}
        for key, _ in node.value:  # `<<` may come twice: it merges, and what is written here wins
            line = key.start_mark.line + 1
            if (
                isinstance(key, yaml.ScalarNode)
                and lines.setdefault(key.value, line) != line
                and key.value != "<<"
            ):
                raise RecipeError(f"{key.value} is given twice, in lines {lines[key.value]} and {line}")
        return super().construct_mapping(node, deep=deep)


def load(path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read, override (`--set a.b=c`) and check a recipe. Raises RecipeError."""
    try:
        with fsspec.open(path, "rt", encoding="utf-8") as file:
            data = yaml.load(file, Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except FileNotFoundError:
        raise RecipeError(f"recipe {path}: no such file") from None
    except (OSError, ValueError, ImportError) as error:  # storage, encoding, unknown file system
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
    data = {key: value for key, value in data.items() if value is not None}  # `keep:` and no more
    plugins = data.get("plugins") or ()
    if not isinstance(plugins, list | tuple) or not all(isinstance(p, str) for p in plugins):
        raise RecipeError(f"plugins must be a list of paths, got {plugins!r}")
    compute = data.get("compute") or {}
    if not isinstance(compute, dict):
        raise RecipeError(f"compute must map names to operators, got {compute!r}")
    data["compute"] = {name: build(str(name), spec, plugins) for name, spec in compute.items()}
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        raise RecipeError("\n".join(messages(error, Recipe))) from None
    return recipe.model_copy(update={"compute": check(recipe)})


def _apply(data: dict[str, Any], override: str) -> None:
    """Set one dotted key, making the mappings on the way. A bound takes the place of another one."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"--set takes KEY=VALUE, such as keep.clip.score.top=0.2, got {override!r}")
    try:
        value = yaml.load(text, Loader=_Loader)  # noqa: S506
    except yaml.YAMLError:
        raise RecipeError(f"--set {override}: the value is not valid YAML") from None
    *names, last = _split(key, whole_rule=isinstance(value, dict))
    target: Any = data
    for name in names:
        if target.get(name) is None:
            target[name] = {}
        target = target[name]
        if not isinstance(target, dict):
            raise RecipeError(f"--set {override}: {name} is {target!r}, not a mapping")
    if names[:1] == ["keep"] and last in BOUNDS:
        cut = last in ("top", "bottom")
        for rival in {*BOUNDS, "seed", "ties"} - {last, "seed" if last == "chance" else "", "ties" * cut}:
            target.pop(rival, None)
    target[last] = value


def _split(key: str, whole_rule: bool) -> list[str]:
    """The path of a dotted key. Rules alone have dots in their names: keep, clip.score, top."""
    section, _, rest = key.partition(".")
    if section != "keep" or not rest:
        return key.split(".")
    name, _, field = rest.rpartition(".")
    return [section, rest] if whole_rule or not name else [section, name, field]

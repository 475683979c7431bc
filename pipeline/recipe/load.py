"""Reads a recipe: YAML in, a checked `Recipe` out.

    recipe = load("jobs/recipes/demo.yaml", overrides=["keep.clip.score.top=0.2"])

Every mistake in it is a RecipeError here, before any work begins.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fsspec
import yaml
from pydantic import ValidationError

from pipeline.errors import RecipeError
from pipeline.recipe.check import check
from pipeline.recipe.lookup import build
from pipeline.recipe.sections import Recipe
from pipeline.recipe.wording import messages
from pipeline.rule import BOUNDS


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses a key which is given twice. YAML itself keeps the last one silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """See yaml.SafeLoader. Raises RecipeError for a key that is given twice."""
        lines: dict[str, int] = {}
        for key, _ in node.value:  # `<<` merges another mapping and may come twice
            line = key.start_mark.line + 1
            if (
                isinstance(key, yaml.ScalarNode)
                and lines.setdefault(key.value, line) != line
                and key.value != "<<"
            ):
                raise RecipeError(f"{key.value} is given twice, in lines {lines[key.value]} and {line}")
        return super().construct_mapping(node, deep=deep)


def load(path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe from a path or URL, apply overrides (`a.b=c`, of `--set`) and check it. Raises
    RecipeError."""
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
    data = {key: value for key, value in data.items() if value is not None}  # a bare `keep:` is None
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
    """Set one dotted key, making the mappings on the way. A rule's bound replaces the bound that it had."""
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
        _drop_other_bounds(target, last)
    target[last] = value


def _drop_other_bounds(rule: dict[str, Any], bound: str) -> None:
    """Remove all bounds of a rule but this one, and the keys that only they use."""
    kept = {bound}
    if bound == "chance":
        kept.add("seed")
    if bound in ("top", "bottom"):
        kept.add("ties")
    for key in {*BOUNDS, "seed", "ties"} - kept:
        rule.pop(key, None)


def _split(key: str, whole_rule: bool) -> list[str]:
    """A dotted key as a path. Only the names of rules contain dots: keep.clip.score.top is (keep, clip.score,
    top). `whole_rule`: the key ends with a rule's name."""
    section, _, rest = key.partition(".")
    if section != "keep" or not rest:
        return key.split(".")
    name, _, field = rest.rpartition(".")
    return [section, rest] if whole_rule or not name else [section, name, field]

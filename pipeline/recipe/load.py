"""Reads a recipe: YAML in, a checked `Recipe` out.

    recipe = load("jobs/recipes/demo.yaml", overrides=["keep.clip.score.top=0.2"])

Every mistake in it is a RecipeError here, before any work begins.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fsspec
import yaml
from pydantic import ValidationError

from pipeline.errors import RecipeError, brief, guess, shortened, worded
from pipeline.recipe.check import check
from pipeline.recipe.lookup import build
from pipeline.recipe.pool_section import MOST_NAME
from pipeline.recipe.sections import Recipe
from pipeline.recipe.wording import messages
from pipeline.recipe.yaml_values import worded_yaml, yaml_values
from pipeline.rule import BOUNDS

MOST_BYTES = 1 << 20  # of a recipe
OVERRIDABLE = ("keep", "compute", "run")  # sections whose entries `--set NAME=null` takes out


def load(path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe from a path or URL, apply overrides (`a.b=c`, of `--set`) and check it. Raises
    RecipeError."""
    try:
        data = yaml_values(_read(path))
    except RecipeError as error:
        raise RecipeError(f"recipe {path}: {error}") from None
    except yaml.YAMLError as error:
        raise RecipeError(f"recipe {path}: not valid YAML: {worded_yaml(error)}") from None
    if not isinstance(data, dict):
        raise RecipeError(
            f"recipe {path}: must be a mapping with the keys {', '.join(Recipe.model_fields)}, got "
            + ("an empty file" if data is None else brief(data))
        )
    for override in overrides:
        _apply(data, override)
    return parse({"name": _name_of(path), **data})


def _read(path: str) -> str:
    """The text of a recipe's file. Raises RecipeError."""
    if os.path.exists(path) and not os.path.isfile(path):
        kind = "a folder" if os.path.isdir(path) else "not an ordinary file"
        raise RecipeError(f"cannot be read: it is {kind}; give the path of a YAML file")
    try:
        with fsspec.open(path, "rb") as file:
            content: bytes = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise RecipeError("no such file") from None
    except Exception as error:  # of storage, or of a file system that does not know such a path
        known = isinstance(error, OSError | ValueError | ImportError)
        raise RecipeError(f"cannot be read: {shortened(str(error) if known else worded(error))}") from None
    if len(content) > MOST_BYTES:
        raise RecipeError(
            f"larger than {MOST_BYTES >> 20} MiB, the most that a recipe may have; name many shards by a glob, "
            "a folder or braces"
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(
            f"cannot be read: not UTF-8 (byte {error.start} is 0x{content[error.start]:02x}); save it as UTF-8"
        ) from None


def _name_of(path: str) -> str:
    """A recipe's name by default: that of its file without the suffix, as far as it can name folders."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(path).stem).strip("-._")
    return name[:MOST_NAME].rstrip("-._") or "recipe"


def parse(data: Mapping[str, Any]) -> Recipe:
    """Check a recipe given as plain data. Raises RecipeError with one line per mistake."""
    data = {key: value for key, value in data.items() if value is not None}  # a bare `keep:` is None
    plugins = data.get("plugins") or ()
    if not isinstance(plugins, list | tuple) or not all(isinstance(p, str) for p in plugins):
        raise RecipeError(f"plugins must be a list of paths, got {brief(plugins)}")
    compute = data.get("compute") or {}
    if not isinstance(compute, dict):
        raise RecipeError(f"compute must map names to operators, got {brief(compute)}")
    data["compute"] = {name: build(str(name), spec, plugins) for name, spec in compute.items()}
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        raise RecipeError("\n".join(messages(error, Recipe))) from None
    return recipe.model_copy(update={"compute": check(recipe)})


def _apply(data: dict[str, Any], override: str) -> None:
    """Set one dotted key, making the mappings on the way. A rule's bound replaces the bound that it had. An
    entry of `keep`, `compute` or `run` that is set to null is taken out."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"--set takes KEY=VALUE, such as keep.clip.score.top=0.2, got {brief(override)}")
    told = f"--set {shortened(override)}"
    try:
        value = yaml_values(text)
    except RecipeError as error:
        raise RecipeError(f"{told}: {error}") from None
    except (yaml.YAMLError, ValueError):  # ValueError: bytes of the shell that are not UTF-8
        raise RecipeError(f"{told}: the value is not valid YAML") from None
    if value is None and _take_out(data, key, told):
        return
    if meant := _meant(data, key, value):
        raise RecipeError(f"{told}: did you mean {meant}?")
    *names, last = _split(data, key, whole_rule=isinstance(value, dict))
    target: Any = data
    for name in names:
        if target.get(name) is None:
            target[name] = {}
        target = target[name]
        if not isinstance(target, dict):
            raise RecipeError(f"{told}: {name} is {brief(target)}, not a mapping")
    if names[:1] == ["keep"] and last in BOUNDS:
        _drop_other_bounds(target, last)
    target[last] = value


def _meant(data: Mapping[str, Any], key: str, value: Any) -> str:
    """The override that was meant, if this one names a rule but not its bound, or begins with the name of a
    rule or an operator instead of a section; else empty."""
    rules, operators = (
        {**each} if isinstance(each := data.get(s), dict) else {} for s in ("keep", "compute")
    )
    top, _, rest = key.partition(".")
    if top == "keep" and rest in rules and not isinstance(value, dict) and isinstance(rules[rest], dict):
        bound = next((bound for bound in BOUNDS if bound in rules[rest]), BOUNDS[0])
        return f"keep.{rest}.{bound}=..."
    if top in Recipe.model_fields:
        return ""
    if key in rules or key.rpartition(".")[0] in rules:
        return f"keep.{key}=..."
    return f"compute.{key}=..." if top in operators and rest else ""


def _take_out(data: dict[str, Any], key: str, told: str) -> bool:
    """Take a whole entry out of its section; returns whether the key names one. Raises RecipeError for an
    entry that is not there; `told`: the override, for messages."""
    section, _, name = key.partition(".")
    entries = data.get(section)
    if section not in OVERRIDABLE or not name or not isinstance(entries or {}, dict):
        return False
    known = {str(entry): entry for entry in entries or {}}
    if name in known:
        del data[section][known[name]]
        return True
    if name.rpartition(".")[0] in known:  # a key of an entry
        return False
    raise RecipeError(
        f"{told}: {section} has no {name}{guess(name, known)}; there are: {', '.join(known) or 'none'}"
    )


def _drop_other_bounds(rule: dict[str, Any], bound: str) -> None:
    """Remove all bounds of a rule but this one, and the keys that only they use."""
    kept = {bound}
    if bound == "chance":
        kept.add("seed")
    if bound in ("top", "bottom"):
        kept |= {"of", "ties"}
    for key in {*BOUNDS, "seed", "of", "ties"} - kept:
        rule.pop(key, None)


def _split(data: Mapping[str, Any], key: str, whole_rule: bool) -> list[str]:
    """A dotted key as a path. Names of rules contain dots: keep.clip.score.top is (keep, clip.score, top); so
    may a name that is in `data`. `whole_rule`: the key ends with a rule's name."""
    section, _, rest = key.partition(".")
    if section == "keep" and rest:
        name, _, field = rest.rpartition(".")
        return [section, rest] if whole_rule or not name else [section, name, field]
    path, words, target = list[str](), key.split("."), data
    while words:
        names = (".".join(words[:length]) for length in range(len(words), 0, -1))
        path.append(next((name for name in names if name in target), words[0]))
        words = words[path[-1].count(".") + 1 :]
        inner = target.get(path[-1])
        target = inner if isinstance(inner, dict) else {}
    return path

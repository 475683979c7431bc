"""What a report is a record of: the recipe, versions, keys, cuts, and the identity of the pool."""

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import orjson
import yaml

from pipeline.decide.decision import Decision
from pipeline.plan.keys import identities
from pipeline.plan.session import Session
from pipeline.recipe.sections import Entry, Recipe
from pipeline.rule import Rule

PACKAGES = ("winnow-curation", "polars", "numpy", "pyarrow", "torch", "open_clip_torch", "ray")
WHOLE = 1e15  # from here on a number is shown with an exponent


@dataclass(frozen=True)
class PoolRecord:
    """A pool. `identity`: 32 hex digits over the names and contents of its shards."""

    root: str
    shards: int
    samples: int
    identity: str


@dataclass(frozen=True)
class Record:
    """What a decision followed from. `recipe_yaml`: the recipe with its overrides; `versions`: package ->
    version; `keys`: operator -> key; `cuts`: rule -> the value that its share came to; `decision`: its folder
    in the store."""

    recipe_yaml: str
    versions: Mapping[str, str]
    keys: Mapping[str, str]
    cuts: Mapping[str, float]
    pool: PoolRecord
    decision: str


def record(session: Session, decision: Decision) -> Record:
    """The record of a session's decision."""
    shards = orjson.dumps(identities(session.shards))
    return Record(
        recipe_yaml=recipe_yaml(session.recipe),
        versions=_versions(),
        keys=session.keys,
        cuts={name: rule.cut for name, rule in decision.rules.items() if rule.cut is not None},
        pool=PoolRecord(
            session.root,
            len(session.shards),
            decision.samples,
            hashlib.blake2b(shards, digest_size=16).hexdigest(),
        ),
        decision=session.decisions,
    )


def recipe_yaml(recipe: Recipe) -> str:
    """A recipe as YAML, without what is at its default."""
    whole: dict[str, Any] = recipe.model_dump(mode="json", exclude={"compute", "keep"}, exclude_defaults=True)
    sections = {
        "name": recipe.name,
        "pool": whole.pop("pool"),
        "compute": {name: _entry(entry) for name, entry in recipe.compute.items()},
        "keep": {name: _rule(name, rule) for name, rule in recipe.keep.items()},
        **{key: value for key, value in whole.items() if key != "name"},
    }
    filled = {key: value for key, value in sections.items() if value}
    return yaml.safe_dump(filled, sort_keys=False, allow_unicode=True, width=100)


def _entry(entry: Entry) -> dict[str, Any]:
    """An operator as a recipe writes it."""
    return {"use": entry.use, **entry.operator.model_dump(mode="json", exclude_defaults=True)}


def _rule(name: str, rule: Rule) -> dict[str, Any]:
    """A rule as a recipe writes it."""
    fields = rule.model_dump(mode="json", exclude_defaults=True)
    if fields["column"] == name:
        del fields["column"]
    for bound in ("top", "bottom"):
        if isinstance(samples := getattr(rule, bound), int):
            fields[bound] = f"{samples} samples"
    for bound in ("min", "max"):
        if isinstance(value := fields.get(bound), float) and value.is_integer() and abs(value) < WHOLE:
            fields[bound] = int(value)
    return fields


def _versions() -> dict[str, str]:
    """The versions of Python and of the packages that results depend on, as far as they are installed."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions

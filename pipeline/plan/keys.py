"""The keys of results: a hash of everything that a result depends on.

A key covers the operator's class, version and fields, the contents of the files that fields name, and the
keys of its inputs. The key of a Stat or a Group also covers the contents of the shards that it sees. Speed
settings (`run:`) are never hashed.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from pipeline.operator import YOUNG, Group, ImageScore, Operator, Stat
from pipeline.pool.shards import Shard
from pipeline.recipe.limits import Limits
from pipeline.recipe.sections import Entry, Recipe
from pipeline.schema import owner


def keys(
    recipe: Recipe, shards: Iterable[Shard], contents: Mapping[str, Mapping[str, Any]]
) -> dict[str, str]:
    """Operator name -> cache key. `contents[name][field]` is the digest of the file that a field names. The
    key of a Stat or a Group covers the names and contents of the shards, and so do the keys of all operators
    that read it. While a shard has not been read, such keys are provisional: nothing is stored under them."""
    pool = hashlib.blake2b(orjson.dumps(identities(shards)), digest_size=8).hexdigest()
    by_name: dict[str, str] = {}
    for name, entry in recipe.compute.items():  # in dependency order
        inputs = input_keys(entry, by_name, recipe.limits)
        if isinstance(entry.operator, Stat | Group):
            inputs["the pool's shards"] = pool
        by_name[name] = cache_key(entry.use, entry.operator, inputs, contents.get(name, {}))
    return by_name


def identities(shards: Iterable[Shard]) -> list[tuple[str, str]]:
    """(name, content) of each shard: all of a pool that results depend on."""
    return [(shard.name, shard.content) for shard in shards]


def input_keys(entry: Entry, keys: Mapping[str, str], limits: Limits) -> dict[str, str]:
    """The inputs of an operator that other operators compute, by name, with their keys; the digest of a
    plugin's source; and, if it reads images, the limits that are not the default."""
    inputs = {need: keys[o] for need in entry.operator.inputs() if (o := owner(need)) is not None}
    if isinstance(entry.operator, ImageScore):
        inputs |= limits.changed()
    return inputs | ({"the plugin's source": entry.source} if entry.source else {})


def identity(
    use: str, operator: Operator, inputs: Mapping[str, str], contents: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that results depend on, as JSON: class, version, fields, and the keys of the inputs. A field
    in `contents`, which names files, counts by the digests there instead of by its paths."""
    fields = parameters(operator)
    fields.update({name: {"content": digest} for name, digest in contents.items()})
    return {"use": use, "version": type(operator).version, "fields": fields, "inputs": dict(inputs)}


def parameters(operator: Operator) -> dict[str, Any]:
    """The fields of an operator, as JSON, without young ones that have their default."""
    fields: dict[str, Any] = operator.model_dump(mode="json")
    for name, info in type(operator).model_fields.items():
        if YOUNG in info.metadata and _same(getattr(operator, name), info.get_default()):
            fields.pop(name, None)
    return fields


def _same(value: Any, default: Any) -> bool:
    """Whether a field has its default; 1 and 1.0 are the same, True is not."""
    return bool(value == default) and isinstance(value, bool) == isinstance(default, bool)


def cache_key(use: str, operator: Operator, inputs: Mapping[str, str], contents: Mapping[str, Any]) -> str:
    """16 hex digits over the identity."""
    text = json.dumps(identity(use, operator, inputs, contents), sort_keys=True)  # tells inf, nan, null apart
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

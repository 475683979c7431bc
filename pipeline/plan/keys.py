"""The keys of results: a hash of everything that a result depends on.

A key covers the operator's class, version and fields, the contents of the files that fields name, and the
keys of its inputs. A Stat's key also covers the shards that it reduces. Speed settings (`run:`) are never
hashed.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.operator import Operator, Stat
from pipeline.pool.shards import Shard
from pipeline.recipe.sections import Entry, Recipe
from pipeline.schema import owner


def keys(
    recipe: Recipe, shards: Iterable[Shard], contents: Mapping[str, Mapping[str, Any]]
) -> dict[str, str]:
    """Operator name -> cache key. `contents[name][field]` is the digest of a file that a field names.
    A Stat's key covers the shards it reduces; what reads it inherits that."""
    pool = hashlib.blake2b("\n".join(s.name for s in shards).encode(), digest_size=8).hexdigest()
    found: dict[str, str] = {}
    for name, entry in recipe.compute.items():
        inputs = input_keys(entry, found)
        if isinstance(entry.operator, Stat):
            inputs["the pool's shards"] = pool
        found[name] = cache_key(entry.use, entry.operator, inputs, contents.get(name, {}))
    return found


def input_keys(entry: Entry, keys: Mapping[str, str]) -> dict[str, str]:
    """What an operator reads, by name, with the keys; and the source of a plugin."""
    inputs = {need: keys[o] for need in entry.operator.inputs() if (o := owner(need)) is not None}
    return inputs | ({"the plugin's source": entry.source} if entry.source else {})


def identity(
    use: str, operator: Operator, inputs: Mapping[str, str], contents: Mapping[str, Any]
) -> dict[str, Any]:
    """All that results depend on: class, version, fields, the keys of the inputs, and the contents of the
    files that fields name (a field in `contents` counts by the digests there, not by its paths)."""
    fields: dict[str, Any] = operator.model_dump(mode="json")
    fields.update({name: {"content": digest} for name, digest in contents.items()})
    return {"use": use, "version": type(operator).version, "fields": fields, "inputs": dict(inputs)}


def cache_key(use: str, operator: Operator, inputs: Mapping[str, str], contents: Mapping[str, Any]) -> str:
    """16 hex digits over the identity."""
    text = json.dumps(identity(use, operator, inputs, contents), sort_keys=True)  # tells inf, nan, null apart
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

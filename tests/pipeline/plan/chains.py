"""Chains of operators whose keys and passes are worked out by hand."""

from pipeline.plan.keys import keys
from pipeline.pool.shards import Shard
from pipeline.recipe.sections import Recipe

SHARDS = tuple(Shard(name, f"/pool/{name}.tar", 10) for name in ("a", "b", "c"))


CHAIN = {  # length -> histogram (a Stat) -> frequency -> more; plus -> length
    "length": {"use": "planted.Length"},
    "plus": {"use": "planted.Plus", "of": "length.value"},
    "histogram": {"use": "planted.Histogram", "of": "length.value"},
    "frequency": {"use": "planted.Frequency", "of": "length.value", "table": "histogram"},
    "more": {"use": "planted.Plus", "of": "frequency.count", "by": 2},
}


def key(recipe: Recipe, shards=SHARDS, contents=None) -> dict[str, str]:
    return keys(recipe, shards, contents or {})

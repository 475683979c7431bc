"""The limits of a recipe, as the pool has them."""

from dataclasses import asdict

from pipeline.plan.open_pool import open_kind
from pipeline.pool.fields import USUAL, Limits
from pipeline.recipe.load import parse

POOL = {"shards": "pool/*.tar", "store": "store"}


def test_the_defaults_of_both_rooms_are_the_same():
    """If they were not, every shard would count as read with other limits than the usual ones."""
    assert open_kind(parse({"pool": POOL})).limits == USUAL


def test_a_limit_of_the_recipe_reaches_the_pool():
    limits = {name: 64 + number for number, name in enumerate(asdict(USUAL))}
    assert open_kind(parse({"pool": POOL, "limits": limits})).limits == Limits(**limits)

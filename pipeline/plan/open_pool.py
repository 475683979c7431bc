"""A recipe's pool, listed and checked before any work begins. Every mistake is a RecipeError."""

from collections.abc import Sequence
from dataclasses import fields

from pipeline.errors import ColumnError, RecipeError, ShardError
from pipeline.operator import reads_images
from pipeline.plan.outputs import check_outputs
from pipeline.pool.fields import Limits
from pipeline.pool.kinds.kind import PoolKind
from pipeline.pool.kinds.places import check_places
from pipeline.pool.kinds.registry import KINDS, NAMED, usual_kind
from pipeline.pool.shards import Listing, Shard
from pipeline.pool.text_tables import Break
from pipeline.progress import begun
from pipeline.recipe.sections import Recipe
from pipeline.storage.faults import failure
from pipeline.storage.retry import from_storage


def open_kind(recipe: Recipe, shards: Sequence[Shard] = ()) -> PoolKind:
    """The kind of a recipe's pool. If the recipe does not say it, the names of the shards do. Raises
    RecipeError."""
    pool = recipe.pool
    if pool.kind is not None and pool.kind not in NAMED:
        raise RecipeError(f"pool.kind must be one of {', '.join(NAMED)}, got {pool.kind!r}")
    limits = Limits(**{field.name: getattr(recipe.limits, field.name) for field in fields(Limits)})
    return KINDS[pool.kind_name or usual_kind(shards)](pool.paths, pool.columns, limits, pool.caption)


def list_pool(recipe: Recipe) -> Listing:
    """The shards of a recipe's pool with the states of their files, and what was passed over. Raises
    RecipeError if they cannot be listed, or lack what the recipe needs."""
    begun("listing the pool")
    try:
        listing = open_kind(recipe).list_shards()
    except Exception as error:
        if from_storage(error):
            raise RecipeError(f"pool.shards: {failure(', '.join(recipe.pool.paths), error)}") from None
        if not isinstance(error, ValueError | ImportError):
            raise
        text = str(error)
        raise RecipeError(text if text.startswith("pool.shards") else f"pool.shards: {text}") from None
    kind = open_kind(recipe, listing.shards)
    kind.check(listing.shards, _columns_read(recipe))
    _check_uses(recipe, kind, listing.shards[0])
    check_outputs(recipe, kind, listing)
    return listing


def _check_uses(recipe: Recipe, kind: PoolKind, first: Shard) -> None:
    """Operators and exports that need images need a pool that has them; `pool.columns` needs tables."""
    if recipe.pool.columns and not kind.takes_columns:
        raise RecipeError(
            f"pool.columns is for tables, and {kind.key} are {kind.noun} (the first: {first.path})"
        )
    if kind.has_images:
        return
    without = f"{kind.key} are {kind.noun} without images (the first: {first.path})"
    if first.format == "parquet" and kind.key == "pool.shards":
        without += "; if they have a column of images, add pool.kind: image_tables"
    for key, (_, destination) in recipe.export.destinations().items():
        if destination.images:
            raise RecipeError(f"{key} copies images, and {without}; see export.urls")
    for name in recipe.compute:
        if reads_images(recipe.operator(name)):
            raise RecipeError(f"compute.{name} reads images, and {without}")


def _columns_read(recipe: Recipe) -> set[str]:
    """The columns and Stats that operators, rules and exports read."""
    return {
        *(need for entry in recipe.compute.values() for need in entry.operator.inputs()),
        *(rule.column for rule in recipe.keep.values()),
        *(column for column, _ in recipe.export.columns().values()),
    }


def check_first(kind: PoolKind, shards: Sequence[Shard]) -> None:
    """Raises RecipeError if the first shard lacks a column that the recipe names, or if a few shards have no
    caption where it says. If storage cannot read one, or it is broken, the pass that reads it will say so."""
    check_places(kind, shards)
    try:
        for shard in shards[:1]:
            kind.check_shard(shard)
    except ColumnError as error:
        raise RecipeError(f"{kind.key}: {error}") from None
    except (Break, ShardError):
        return
    except Exception as error:
        if not from_storage(error):
            raise

"""A recipe's pool, listed and checked before any work begins.

Whatever needs images needs a pool that has them, and `pool.columns` needs tables. Every mistake is a RecipeError.
"""

from collections.abc import Mapping, Sequence

from pipeline.errors import RecipeError, ShardError, worded
from pipeline.operator import ImageScore
from pipeline.pool.datacomp import EMBEDDINGS, Metadata
from pipeline.pool.shards import Shard, list_shards
from pipeline.pool.table_reader import check_table
from pipeline.pool.text_tables import Break
from pipeline.recipe.sections import Recipe
from pipeline.storage.retry import from_storage


def list_pool(recipe: Recipe) -> list[Shard]:
    """The shards of a recipe's pool. Raises RecipeError if they cannot be listed, or cannot do what it asks."""
    if recipe.pool.datacomp is not None:
        return _metadata_shards(recipe, recipe.pool.datacomp)
    assert recipe.pool.shards is not None  # the recipe's check sees to it
    try:
        shards = list_shards(recipe.pool.shards)
    except Exception as error:
        if not (isinstance(error, ValueError | ImportError) or from_storage(error)):
            raise
        text = str(error)
        raise RecipeError(text if text.startswith("pool.shards") else f"pool.shards: {text}") from None
    _check_kind(recipe, shards[0])
    return shards


def _metadata_shards(recipe: Recipe, folder: str) -> list[Shard]:
    """The tables of a DataComp folder. Raises RecipeError where they cannot be what the recipe wants."""
    metadata = Metadata(folder)
    try:
        files = metadata.files()
    except Exception as error:
        if not (isinstance(error, ImportError) or from_storage(error)):
            raise
        raise RecipeError(f"pool.datacomp: {worded(error)}") from None
    shards = [Shard(name, metadata.path(name), size) for name, (size, _) in files.items()]
    _check_kind(recipe, shards[0], "pool.datacomp")
    read = {i for entry in recipe.compute.values() for i in entry.operator.inputs()}
    read |= {rule.column for rule in recipe.keep.values()}
    read |= {column for column, _ in recipe.export.columns().values()}
    lacks = sorted(read & EMBEDDINGS.keys()) if files[shards[0].name][1] is None else []
    if lacks:
        raise RecipeError(f"pool.datacomp: {metadata.base} holds no npz files, and {lacks[0]} lies in them")
    return shards


def _check_kind(recipe: Recipe, first: Shard, key: str = "pool.shards") -> None:
    """What needs images needs tars, what names columns needs tables. Raises RecipeError."""
    tables = f"{key} are tables without images (the first: {first.path})"
    if not first.table and recipe.pool.columns:
        raise RecipeError(f"pool.columns is for tables, and pool.shards are tars (the first: {first.path})")
    copying = [key for key, (_, mark) in recipe.export.destinations().items() if mark.images]
    if first.table and copying:
        raise RecipeError(f"{copying[0]} copies images out of tars, and {tables}; see export.urls")
    for name in recipe.compute if first.table else ():
        if isinstance(recipe.operator(name), ImageScore):
            raise RecipeError(f"compute.{name} reads images, and {tables}")


def check_first(shards: Sequence[Shard], columns: Mapping[str, str | int]) -> None:
    """A table must have its columns. Raises RecipeError; storage that is down is told by the pass itself."""
    try:
        for shard in (shard for shard in shards if shard.table):
            check_table(shard, columns)
    except ShardError as error:
        raise RecipeError(f"pool.shards: {error}") from None
    except (OSError, Break):
        return

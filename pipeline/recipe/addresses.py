"""The paths and URLs of a recipe, checked before anything is opened.

check_address("export.subset", "s3://mine/subset.npy")
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import fsspec

from pipeline.errors import RecipeError, brief

if TYPE_CHECKING:
    from pipeline.recipe.sections import Recipe


def check_address(key: str, address: str) -> None:
    """Raises RecipeError for a URL of a file system that fsspec does not know or that is not installed, for a
    chained URL (`zip://a::s3://b`), and for a path that no system has. `key`: of the recipe, or the flag,
    that names it."""
    if "\0" in address:
        raise RecipeError(f"{key}: {brief(address)} has control characters; name another path")
    if "::" in address:
        raise RecipeError(
            f"{key}: {address} is a chained URL, which Winnow does not read or write; unpack or copy the files, and "
            "name a path or a URL of one file system"
        )
    protocol, mark, _ = address.partition("://")
    if not mark or not protocol.isalnum() or protocol in ("http", "https"):
        return  # a path, or a pattern; web addresses need nothing that may be missing
    try:
        fsspec.get_filesystem_class(protocol)
    except (ValueError, ImportError) as error:
        raise RecipeError(f"{key}: {address} is not on a known file system: {error}") from None


def addresses(recipe: "Recipe") -> Iterator[tuple[str, str]]:
    """(key, address) of everything that a recipe reads or writes, plugins aside."""
    pool = "pool.datacomp" if recipe.pool.datacomp else "pool.shards"
    yield from ((pool, path) for path in recipe.pool.paths)
    yield "pool.store", recipe.pool.store
    for name in recipe.compute:
        for field, value in recipe.operator(name).fields_of("file"):
            paths = value if isinstance(value, Mapping) else {"": value}
            for part, path in paths.items():
                yield f"compute.{name}.{field}{'.' if part else ''}{part}", path
    yield from ((key, path) for key, (path, _) in recipe.export.destinations().items())

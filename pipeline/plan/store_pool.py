"""The pool that a store belongs to: `store.json`, which is written before any result.

    store.json     {"format": 2, "pool": {"root": "../pool", "kind": "tables", "columns": {}}}

Results are found by the names of shards, and names are paths below the pool's root. So a store serves one
pool; `pool.name` gives each of several pools a folder of its own in it.
"""

import os
from typing import Any

from pipeline.errors import RecipeError
from pipeline.pool.kinds.kind import PoolKind
from pipeline.pool.kinds.registry import KINDS
from pipeline.recipe.pool_section import Pool
from pipeline.storage import layout
from pipeline.storage.folder import Folder
from pipeline.storage.ranges import local_path
from pipeline.storage.store import Store

FORMAT = 2  # of the store; raise it when results of an older one cannot be read


def check_store(store: Store, root: str, pool: Pool, kind: PoolKind) -> None:
    """Raises RecipeError if the store belongs to another pool, or was made by an older version. A store that
    belongs to this one is noted as claimed."""
    folder = store.root
    noted = folder.read_json(layout.POOL)
    if noted is None:
        if _is_older(store):
            raise RecipeError(
                f"pool.store: {folder.base} was made by an older version of Winnow, which did not note what "
                "its shards contained; name a new store, or delete this one"
            )
        return
    if noted.get("format") != FORMAT:
        raise RecipeError(
            f"pool.store: {folder.base} has format {noted.get('format')}, this version of Winnow reads "
            f"{FORMAT}; name a new store"
        )
    before = noted.get("pool", {})
    now = _described(folder, root, pool, kind)
    if before.get("root") != now["root"]:
        raise RecipeError(
            f"pool.store: {folder.base} holds results of the pool {_place(folder, before.get('root'))}, and "
            f"{kind.key} names {root}. Name another store, or set pool.name, which keeps several pools apart "
            f"in one store. If the pool was only moved, delete {folder.path(layout.POOL)}: then its shards "
            "are compared with what was read before"
        )
    if before != now:
        raise RecipeError(
            f"pool.store: {folder.base} holds samples that were read as {_worded(before)}, and the recipe says "
            f"{_worded(now)}; name another store, or set pool.name"
        )
    store.claimed = True


def claim_store(store: Store, root: str, pool: Pool, kind: PoolKind) -> None:
    """Write `store.json` unless it is there. If `check_store` did not see it, it is looked for once more:
    another run may have claimed the store since. Raises RecipeError as `check_store` does. If it was lost or
    garbled, whether results are those of this pool shows by the contents of its shards."""
    if not store.claimed:
        check_store(store, root, pool, kind)
    if not store.claimed:
        about = {"format": FORMAT, "pool": _described(store.root, root, pool, kind)}
        store.root.publish_json(layout.POOL, about, durable=True)
        store.claimed = True


def _is_older(store: Store) -> bool:
    """Whether there are samples that do not note their content."""
    some = min(store.part_names(layout.SAMPLES), default=None)
    footer = store.footer(layout.SAMPLES, some) if some is not None else None
    return footer is not None and "content" not in footer.notes


def _described(store: Folder, root: str, pool: Pool, kind: PoolKind) -> dict[str, Any]:
    """The pool of a recipe as `store.json` holds it. A local root is relative to a local store, so that both
    can be moved together."""
    place = local_path(root)
    if place is not None and store.local:
        root = os.path.relpath(os.path.abspath(place), os.path.abspath(store.base))
    name = next(name for name, known in KINDS.items() if isinstance(kind, known))
    if pool.name:  # it tells the pool, wherever it lies
        root = pool.name
    columns = {"columns": dict(kind.columns)} if kind.takes_columns else {}
    caption = {"caption": list(kind.places)} if kind.places else {}
    return {"root": os.fsencode(root).decode("utf-8", "backslashreplace"), "kind": name, **columns, **caption}


def _place(store: Folder, root: object) -> str:
    """The root of a pool as people know it: an absolute path or a URL."""
    if store.local and isinstance(root, str) and "://" not in root:
        return os.path.normpath(os.path.join(os.path.abspath(store.base), root))
    return str(root)


def _worded(pool: dict[str, Any]) -> str:
    """How samples were read, in words."""
    keys = (f"pool.{key} {pool[key]}" for key in ("columns", "caption") if pool.get(key))
    return " with ".join((str(pool.get("kind")), *keys))

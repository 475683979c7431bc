"""What a recipe means to its store: which results it needs, and what forgetting one of them takes along.

needed_units(session)            # {"samples", "columns/clip-0123456789abcdef", ...}
"""

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from pipeline.errors import RecipeError, ShardError, worded
from pipeline.operator import Group, Stat
from pipeline.plan.session import Session
from pipeline.plan.stored import complete, is_whole
from pipeline.pool.shards import Shard
from pipeline.storage import layout
from pipeline.storage.store import Store
from pipeline.storage.upkeep.inventory import PARTS, RESULTS, Inventory, computed_from
from pipeline.storage.upkeep.removal import Removal
from pipeline.storage.upkeep.verify import Noted

READS = 4  # shards that are read at the same time


def operator_units(session: Session, name: str) -> set[str]:
    """The units of an operator's results: over all shards, and over those that are complete, by which Stats
    have another key."""
    is_stat = isinstance(session.recipe.operator(name), Stat)
    keys = {over.keys[name] for over in _sessions(session)}
    return {layout.stat_unit(name, key) if is_stat else layout.columns_folder(name, key) for key in keys}


def needed_units(session: Session) -> set[str]:
    """The units with a key that a recipe needs."""
    decisions = {over.decisions for over in _sessions(session)}
    columns = {unit for name in session.recipe.compute for unit in operator_units(session, name)}
    return columns | decisions | set(map(layout.effects_folder, decisions))


def unneeded(store: Store, inventory: Inventory, sessions: Sequence[Session]) -> Removal:
    """What none of some recipes on a store needs: units, damaged files, and the parts of shards that are in
    none of their pools."""
    needed = {unit for session in sessions for unit in needed_units(session)}
    units = {*inventory.of(*RESULTS)} - needed | {layout.DAMAGED}
    if all(len(_sessions(session)[-1].shards) == len(session.shards) for session in sessions):
        units |= {*inventory.of("pieces")}
    if not any(map(_rows_may_meet, sessions)):
        units |= {*inventory.of("groups")}
    listed = {shard.name for session in sessions for shard in session.shards}
    stored = {name for unit in inventory.of(*PARTS) for name in store.part_names(unit)}
    return Removal.of(store, inventory, units, sorted(stored - listed))


def _rows_may_meet(session: Session) -> bool:
    """Whether a Group lacks the columns of a shard, so that its pass may go on with what a killed one left
    in `groups/`."""
    groups = [name for name in session.recipe.compute if isinstance(session.recipe.operator(name), Group)]
    return not all(is_whole(session, session.folder(name)) for name in groups)


def forgotten(session: Session, inventory: Inventory, names: Collection[str]) -> Removal:
    """The results of these operators and shards, and everything that was computed from them. Of a shard: its
    parts, and all that covers the whole pool. Raises RecipeError for a name that is neither."""
    store = session.store
    operators = [name for name in names if name in session.recipe.compute]
    shards = [name for name in names if name not in operators]
    stored = {name for unit in inventory.of(*PARTS) for name in store.part_names(unit)}
    if unknown := set(shards) - stored - {shard.name for shard in session.shards}:
        raise RecipeError(
            f"store forget: {', '.join(sorted(unknown))} is not an operator of the recipe, nor a shard; "
            f"operators are {', '.join(session.recipe.compute)}"
        )
    units = {unit for name in operators for unit in operator_units(session, name)}
    if shards:
        units |= {*inventory.of("stats", "decisions", "effects")}
    units |= {*computed_from(store, inventory, units), *inventory.of("pieces", "groups")}
    return Removal.of(store, inventory, units, shards)


def noted_contents(session: Session) -> dict[str, Noted]:
    """Shard -> what the store, or the pool itself if it is the samples table, notes of its samples, whatever
    state the shard's file has now."""
    if not session.sample_folders:
        return {shard.name: Noted(shard.rows, shard.content) for shard in session.shards if shard.content}
    footers = session.store.footers(layout.SAMPLES, [shard.name for shard in session.shards])
    return {name: Noted(footer.rows, footer.notes.get("content")) for name, footer in footers.items()}


def changed_shards(session: Session, report: Callable[[str], None] = lambda shard: None) -> dict[str, str]:
    """Shard -> reason, of those whose content is not that of which results are stored, or that cannot be
    read. Reads every shard of which there are results. `report` is called with each shard that was read."""
    noted = noted_contents(session)

    def reason(shard: Shard) -> str | None:
        try:
            content = session.kind.identify(shard).content
        except ShardError as error:
            return str(error)
        except OSError as error:
            return worded(error)
        same = content == noted[shard.name].content
        return None if same else "its content is not that of which results are stored"

    shards = [shard for shard in session.shards if shard.name in noted]
    found = {}
    with ThreadPoolExecutor(READS) as pool:
        for shard, why in zip(shards, pool.map(reason, shards), strict=True):
            report(shard.name)
            if why is not None:
                found[shard.name] = why
    return found


def describe_again(session: Session) -> None:
    """Write the descriptions of keys (`meta.json`) that are missing beside results of the recipe."""
    root = session.store.root
    for name in session.recipe.compute:
        key = session.keys[name]
        is_stat = isinstance(session.recipe.operator(name), Stat)
        meta = layout.stat_meta(name, key) if is_stat else layout.meta(session.folder(name))
        if not root.exists(meta) and root.exists(layout.stat(name, key) if is_stat else session.folder(name)):
            root.publish_json(meta, session.describe(name))


def _sessions(session: Session) -> list[Session]:
    """A session over all shards, and over those that are complete, if any is."""
    with suppress(RecipeError):
        return [session, complete(session)]
    return [session]

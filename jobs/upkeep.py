"""The steps of `winnow store`: open the store of one or several recipes, and do one thing to it as a whole.

clean(["a.yaml", "b.yaml"], None, carry_out=False).bytes
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from jobs.steps import open_session
from jobs.terminal.console import console, remarks
from jobs.terminal.progress import showing_progress
from jobs.terminal.tables import counted
from pipeline.errors import RecipeError
from pipeline.plan import upkeep
from pipeline.plan.session import Session
from pipeline.run.executor import LocalExecutor
from pipeline.run.log import RunLog
from pipeline.run.settle import settle
from pipeline.storage import layout
from pipeline.storage.locks.lock import held
from pipeline.storage.store import Store
from pipeline.storage.upkeep.inventory import PARTS, RESULTS, count_parts, take_inventory
from pipeline.storage.upkeep.removal import Removal
from pipeline.storage.upkeep.verify import verify as verify_files


@contextmanager
def store_alone(session: Session) -> Iterator[Store]:
    """A session's store under its lock, to remove or pack results in. Raises HeldError if another process
    works on it."""
    root = session.store.root
    with held(root, layout.LOCK, " ".join(["winnow", *sys.argv[1:2]]), wait=False):
        root.remove_leftovers()
        yield session.store


@dataclass(frozen=True)
class UnitInfo:
    """One unit of a store. `shards`, `packed` and `rows` are None unless it consists of parts. `needed`:
    whether the recipe needs it."""

    unit: str
    bytes: int
    shards: int | None
    packed: int | None
    rows: int | None
    needed: bool


@dataclass(frozen=True)
class StoreInfo:
    """What a store holds. `pool`: the paths of the recipe's pool. `foreign`: bytes of files that are
    not results of this pool, by path."""

    store: str
    pool: Sequence[str]
    bytes: int
    units: Sequence[UnitInfo]
    foreign: Mapping[str, int]


@dataclass(frozen=True)
class Verified:
    """The files that are not as they were written, and the shards that are not those that were read, with
    reasons. `checked`: files that were read."""

    files: Mapping[str, str]
    shards: Mapping[str, str]
    checked: int


def _open(recipe: str, overrides: Sequence[str] | None) -> Session:
    """The session of a recipe, in which shards that were only touched are known to be unchanged: results are
    found by the contents of the shards. Raises RecipeError."""
    session = open_session(recipe, overrides, None)
    return settle(session, LocalExecutor(), RunLog(session))


def info(recipe: str, overrides: Sequence[str] | None) -> StoreInfo:
    """What the store of a recipe holds. Raises RecipeError."""
    session = _open(recipe, overrides)
    inventory, needed = take_inventory(session.store), upkeep.needed_units(session)
    units = []
    for unit in inventory.units:
        kind = unit.split("/")[0]
        parts = count_parts(session.store, unit) if kind in PARTS else None
        units.append(
            UnitInfo(
                unit,
                inventory.bytes(unit),
                parts.shards if parts else None,
                parts.packed if parts else None,
                parts.rows if parts else None,
                kind != layout.DAMAGED and (kind not in RESULTS or unit in needed),
            )
        )
    total = sum(unit.bytes for unit in units)
    return StoreInfo(session.recipe.pool.folder, session.recipe.pool.paths, total, units, inventory.foreign)


def verify(recipe: str, overrides: Sequence[str] | None, deep: bool) -> Verified:
    """Verify every file of a store; the damaged ones are set aside. `deep`: and every shard. Raises
    RecipeError."""
    session = open_session(recipe, overrides, None)
    with store_alone(session) as store, showing_progress() as progress:
        inventory = take_inventory(store)
        checked = [
            path for unit, files in inventory.units.items() if unit != layout.DAMAGED for path in files
        ]
        files = verify_files(
            store, inventory, upkeep.noted_contents(session), progress.verify("files", len(checked))
        )
        store.set_aside()
        upkeep.describe_again(session)
        report = progress.verify("shards", len(session.shards)) if deep else None
        shards = upkeep.changed_shards(session, report) if report else {}
    return Verified(files, shards, len(checked))


def say_what_to_do(result: Verified, recipe: str) -> None:
    """The last line of `winnow store verify` if all is well, on stdout; else the commands that repair, on
    stderr."""
    if result.files:
        remarks.print(
            f"{counted(len(result.files), 'file')} of {result.checked:,}: damaged ones are in damaged/ now; to "
            f"compute them again: winnow run {recipe}",
        )
    else:
        console.print(f"{counted(result.checked, 'file')}: all as they were written")
    if result.shards:
        remarks.print(
            f"{counted(len(result.shards), 'shard')}: to read them again: winnow store forget {recipe} "
            "SHARD..., then winnow run",
        )


def forget(recipe: str, overrides: Sequence[str] | None, names: Sequence[str]) -> Removal:
    """Remove the results of operators and shards, and what was computed from them. Raises RecipeError."""
    session = _open(recipe, overrides)
    with store_alone(session) as store:
        removal = upkeep.forgotten(session, take_inventory(store), names)
        removal.carry_out(store)
    return removal


def to_json(removal: Removal) -> dict[str, object]:
    """A removal for `--json`: all bytes, the units with theirs, and the parts that are removed alone."""
    return {"bytes": removal.bytes, "units": removal.units, "parts": removal.parts}


def clean(recipes: Sequence[str], overrides: Sequence[str] | None, carry_out: bool) -> Removal:
    """What none of the recipes needs, and `carry_out`: remove it. Raises RecipeError if they do not share a
    store."""
    sessions = [_open(recipe, overrides) for recipe in recipes]
    first = sessions[0]
    for session, recipe in zip(sessions, recipes, strict=True):
        if session.store.root.base != first.store.root.base:
            raise RecipeError(
                f"store clean: {recipe} has the store {session.recipe.pool.folder}, {recipes[0]} has "
                f"{first.recipe.pool.folder}; name recipes of one store"
            )
    with store_alone(first) as store:
        removal = upkeep.unneeded(store, take_inventory(store), sessions)
        if carry_out:
            removal.carry_out(store)
    return removal

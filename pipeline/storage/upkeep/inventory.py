"""What is in a store: its files by unit (`layout.unit_of`), and which units were computed from which.

inventory = take_inventory(store)
inventory.bytes("columns/clip-0123456789abcdef")
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass

from pipeline.progress import begun
from pipeline.schema import owner
from pipeline.storage import layout
from pipeline.storage.store import Store

PARTS = ("samples", "columns")  # the first folders of units that consist of parts
RESULTS = ("columns", "stats", "decisions", "effects")  # those of units with a key


@dataclass(frozen=True)
class Inventory:
    """The files of a store, with their bytes.

    units    unit -> path -> bytes
    foreign  paths that no result of this pool has, which no command touches
    """

    units: Mapping[str, Mapping[str, int]]
    foreign: Mapping[str, int]

    def bytes(self, unit: str) -> int:
        """The bytes of a unit's files."""
        return sum(self.units.get(unit, {}).values())

    def of(self, *kinds: str) -> list[str]:
        """The units of these kinds, the first folder of their paths, sorted."""
        return sorted(unit for unit in self.units if unit.split("/")[0] in kinds)


@dataclass(frozen=True)
class Parts:
    """The parts of a unit: how many shards have one, how many of these are packed, and their rows."""

    shards: int
    packed: int
    rows: int


def take_inventory(store: Store) -> Inventory:
    """One listing of the whole store."""
    begun("listing the store")
    units = defaultdict[str, dict[str, int]](dict)
    foreign = {}
    for path, size in sorted(store.root.sizes().items()):
        if (unit := layout.unit_of(path)) is not None:
            units[unit][path] = size
        elif path != layout.LOCK:
            foreign[path] = size
    return Inventory(dict(units), foreign)


def count_parts(store: Store, unit: str) -> Parts:
    """The parts of a unit. Those that are damaged are not counted."""
    names = store.part_names(unit)
    index = store.pack_index(unit)
    packed = len(index.shards & names) if index else 0
    return Parts(len(names), packed, sum(store.row_counts(unit, names).values()))


def computed_from(store: Store, inventory: Inventory, units: Collection[str]) -> set[str]:
    """Columns, Stats, decisions and effects that were computed from these units, directly or by way of
    others. A unit that does not say what it was computed from counts, too."""
    inputs = {unit: _inputs(store, unit) for unit in inventory.of("columns", "stats")}
    found = set(units)
    while True:
        keys = {_key(unit) for unit in found}
        more = {unit for unit, read in inputs.items() if unit not in found and (read is None or read & keys)}
        if not more:
            break
        found |= more
    names = {_name(unit) for unit in found}
    for decision in inventory.of("decisions"):
        read = _columns_judged(store, decision)
        if read is None or {owner(column) for column in read} & names:
            found |= {decision, layout.effects_folder(decision)} & inventory.units.keys()
    return found - set(units)


def _inputs(store: Store, unit: str) -> Set[str] | None:
    """The keys of the operators that a unit's operator reads; None if that is not known."""
    path = f"{unit}.json" if unit.startswith("stats/") else layout.meta(unit)
    described = store.root.read_json(path)
    return None if described is None else set(described["inputs"].values())


def _columns_judged(store: Store, decision: str) -> Set[str] | None:
    """The columns that a decision's rules read; None if that is not known."""
    rules = store.root.read_json(layout.rules(decision))
    return None if rules is None else {rule["column"] for rule in rules["rules"].values()}


def _name(unit: str) -> str:
    """The operator's name in columns/<name>-<key> and stats/<name>-<key>."""
    return unit.partition("/")[2].rpartition("-")[0]


def _key(unit: str) -> str:
    """The key in columns/<name>-<key> and stats/<name>-<key>."""
    return unit.rpartition("-")[2]

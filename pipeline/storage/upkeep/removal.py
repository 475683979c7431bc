"""Removes results from a store: whole units, and single shards' parts.

    removal = Removal.of(store, inventory, units={"columns/clip-0123456789abcdef"}, shards=["00000"])
    removal.files, removal.bytes         # what it would remove
    removal.carry_out(store)

Results that were computed from others go first. So if the process is killed, nothing is left in the store
whose source is missing.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pipeline.storage import layout
from pipeline.storage.store import Store
from pipeline.storage.upkeep.inventory import PARTS, Inventory

ORDER = ("pieces", "effects", "decisions", "stats", "columns", "samples")  # in which units are removed


@dataclass(frozen=True)
class Removal:
    """What is removed.

    units    unit -> bytes of all its files
    parts    unit -> shard -> bytes of a part that is removed alone
    files    unit -> paths
    """

    units: Mapping[str, int]
    parts: Mapping[str, Mapping[str, int]]
    files: Mapping[str, Collection[str]]

    @classmethod
    def of(
        cls, store: Store, inventory: Inventory, units: Collection[str], shards: Collection[str] = ()
    ) -> "Removal":
        """These units as a whole, and of the others with parts, those of some shards."""
        whole = {unit: inventory.bytes(unit) for unit in sorted(units) if unit in inventory.units}
        parts = {
            unit: sizes
            for unit in inventory.of(*PARTS)
            if unit not in whole and (sizes := _part_sizes(store, inventory, unit, shards))
        }
        return cls(whole, parts, {unit: list(inventory.units[unit]) for unit in whole})

    @property
    def bytes(self) -> int:
        """How many bytes are removed. Of a packed part, the size of its own file before it was packed."""
        return sum(self.units.values()) + sum(sum(sizes.values()) for sizes in self.parts.values())

    def carry_out(self, store: Store) -> None:
        """Remove it."""
        for unit in sorted({*self.units, *self.parts}, key=_rank):
            if unit in self.units:
                # What says from what the others were computed goes last.
                store.root.remove(sorted(self.files[unit], key=lambda path: path.endswith(".json")))
            else:
                shards = self.parts[unit]
                store.drop_packed(unit, shards)
                store.root.remove([layout.part(unit, shard) for shard in shards])


def _part_sizes(store: Store, inventory: Inventory, unit: str, shards: Collection[str]) -> dict[str, int]:
    """Bytes of the parts that these shards have in a unit."""
    index = store.pack_index(unit)
    sizes = {}
    for shard in shards:
        if (path := layout.part(unit, shard)) in inventory.units[unit]:
            sizes[shard] = inventory.units[unit][path]
        elif index and shard in index.shards:
            sizes[shard] = index.part_size(shard)
    return sizes


def _rank(unit: str) -> tuple[int, str]:
    """Results come before what they were computed from; what has no place in ORDER, first."""
    kind = unit.split("/")[0]
    return (ORDER.index(kind) if kind in ORDER else -1, unit)

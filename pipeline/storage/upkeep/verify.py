"""Verifies every file of a store, byte by byte, whatever is remembered of it.

found = verify(store, take_inventory(store), samples)
store.set_aside()                # so that the next run computes what was damaged
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from pipeline.storage import layout
from pipeline.storage.footers import LOCAL_READS, REQUESTS
from pipeline.storage.store import Store
from pipeline.storage.upkeep.inventory import PARTS, Inventory


class Noted(NamedTuple):
    """A shard's samples: how many they are, and the content that they were read from."""

    rows: int
    content: str | None


def verify(
    store: Store,
    inventory: Inventory,
    samples: Mapping[str, Noted],
    report: Callable[[int], None] = lambda size: None,
) -> dict[str, str]:
    """Path -> reason of each file that is not as it was written, of each pack that is missing, and of each
    part that was computed from the content of its shard's samples, but has another number of rows. All but
    the last are in `store.damaged` afterwards. `samples`: by shard. `report` is called with the bytes of each
    file that was read."""
    store.damaged.update(_broken_files(store, inventory, report))
    store.damaged.update(_missing_packs(store, inventory))
    rows = dict(_wrong_rows(store, inventory, samples))
    return {**rows, **store.damaged}


def _broken_files(
    store: Store, inventory: Inventory, report: Callable[[int], None]
) -> Iterator[tuple[str, str]]:
    """Path and reason of each file that is not as it was written."""

    def reason(path: str) -> str | None:
        try:
            return store.damaged.reason(path)
        except FileNotFoundError:  # another command has removed it
            return None

    files = [files for unit, files in inventory.units.items() if unit != layout.DAMAGED]
    sizes = {path: size for unit in files for path, size in unit.items()}
    with ThreadPoolExecutor(LOCAL_READS if store.root.local else REQUESTS) as pool:
        for (path, size), found in zip(sizes.items(), pool.map(reason, sizes), strict=True):
            report(size)
            if found is not None:
                yield path, found


def _missing_packs(store: Store, inventory: Inventory) -> Iterator[tuple[str, str]]:
    """Path and reason of each pack that an index names and that is not there."""
    for unit in inventory.of(*PARTS):
        index = store.pack_index(unit, fresh=True)
        for path in [layout.pack(unit, number) for number in index.packs] if index else ():
            if path not in inventory.units[unit]:
                yield path, "it is missing"


def _wrong_rows(
    store: Store, inventory: Inventory, samples: Mapping[str, Noted]
) -> Iterator[tuple[str, str]]:
    """Path and reason of each part of a content whose samples are another number of rows."""
    for unit in inventory.of(*PARTS):
        for shard, footer in store.footers(unit, samples.keys()).items():
            noted = samples[shard]
            if footer.notes.get("content") == noted.content and footer.rows != noted.rows:
                yield (
                    layout.part(unit, shard),
                    f"it has {footer.rows:,} rows, its shard {noted.rows:,} samples",
                )

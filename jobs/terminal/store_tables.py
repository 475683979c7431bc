"""Tables of `winnow store` and `winnow compact`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from jobs.terminal.console import console, remarks
from jobs.terminal.tables import counted, table
from pipeline.storage.upkeep.compact import FileCounts
from pipeline.storage.upkeep.removal import Removal

if TYPE_CHECKING:
    from jobs.upkeep import StoreInfo

MOST_SHARDS = 5  # shards that are named in a row


def info(store: "StoreInfo") -> None:
    """What a store holds: one row per unit."""
    rows = table(f"{store.store}: {size(store.bytes)}", "results", "", "shards", "packed", "rows", "", text=2)
    for unit in store.units:
        counts = [f"{n:,}" if n is not None else "" for n in (unit.shards, unit.packed, unit.rows)]
        rows.add_row(unit.unit, "" if unit.needed else "not of this recipe", *counts, size(unit.bytes))
    console.print(rows)
    if store.foreign:
        named = ", ".join(list(store.foreign)[:MOST_SHARDS])
        console.print(f"{counted(len(store.foreign), 'file')} that are not results of this pool: {named}")


def compacted(folders: Mapping[str, FileCounts]) -> None:
    """How many files each folder of the store had before `winnow compact`, and has after it; on stderr."""
    rows = table("Files of parts", "folder", "before", "after")
    for folder, files in folders.items():
        rows.add_row(folder, f"{files.before:,}", f"{files.after:,}")
    remarks.print(rows)


def removal(title: str, removed: Removal) -> None:
    """What is removed: one row per unit."""
    rows = table(f"{title}: {size(removed.bytes)}", "results", "of", "", text=2)
    for unit, count in removed.units.items():
        rows.add_row(unit, "all shards" if unit.startswith(("samples", "columns/")) else "", size(count))
    for unit, shards in removed.parts.items():
        named = ", ".join(list(shards)[:MOST_SHARDS])
        more = f" and {len(shards) - MOST_SHARDS:,} more" if len(shards) > MOST_SHARDS else ""
        rows.add_row(unit, named + more, size(sum(shards.values())))
    console.print(rows)


def dry_run(removed: Removal) -> None:
    """That nothing was removed, and how it would be, on stderr."""
    if removed.bytes:
        remarks.print("nothing was removed: add --yes")


def size(count: int) -> str:
    """Bytes in words: `17 bytes`, `1.2 MB`."""
    if count < 1000:
        return counted(count, "byte")
    scaled = float(count)
    for unit in ("kB", "MB", "GB"):
        scaled /= 1000
        if scaled < 1000:
            return f"{scaled:.1f} {unit}"
    return f"{scaled / 1000:.1f} TB"

"""Tables about subset files for people, on stderr."""

from collections.abc import Mapping
from typing import Any

from rich.markup import escape

from jobs.terminal import tables
from jobs.terminal.tables import share, table


def subsets(found: Mapping[str, Any]) -> None:
    """Subset files and their overlap."""
    files = found["files"]
    made = table("Subsets", "", "file", "rows", "distinct uids", "most often", text=2)
    for number, file in enumerate(files, 1):
        made.add_row(
            str(number), escape(file["path"]), *(f"{file[n]:,}" for n in ("rows", "distinct", "most"))
        )
    tables.console.print(made)
    if len(files) > 1:
        made = table(
            "Rows in common, and their share of the file at the left", "", *map(str, range(1, len(files) + 1))
        )
        for number, (file, row) in enumerate(zip(files, found["overlap"], strict=True), 1):
            made.add_row(str(number), *(f"{common:,} {share(common, file['rows']):>6}" for common in row))
        tables.console.print(made)


def subset_difference(found: Mapping[str, Mapping[str, int]]) -> None:
    """How two subset files differ."""
    labels = {"both": "in both", "only_first": "only in the first", "only_second": "only in the second"}
    made = table("Difference", "", "rows", "distinct uids")
    for name, label in {**labels, "changed": "in both, one more often"}.items():
        made.add_row(label, f"{found[name]['rows']:,}", f"{found[name]['distinct']:,}")
    tables.console.print(made)


def resharded(found: Mapping[str, Any]) -> None:
    """How much of a subset the pool still has."""
    asked, lost, written = found["asked"], found["lost"], found["shards"]
    tables.console.print(
        f"asked for {asked:,}, available {found['available']:,} ({share(found['available'], asked)}), "
        f"lost {lost['rows']:,} ({lost['distinct']:,} uids, in {lost['path']})",
        highlight=False,
        markup=False,
    )
    tables.console.print(f"{written['samples']:,} samples in {written['shards']:,} shards")

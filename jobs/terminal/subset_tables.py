"""Tables about subset files for people."""

from typing import TYPE_CHECKING

from jobs.terminal import tables
from jobs.terminal.console import remarks
from jobs.terminal.tables import share, table
from pipeline.export.subset_algebra import Comparison, Difference

if TYPE_CHECKING:
    from jobs.datacomp.reshard import Resharding


def subsets(comparison: Comparison) -> None:
    """Subset files and their overlap."""
    files = comparison.files
    rows = table("Subsets", "", "file", "rows", "distinct uids", "most often", text=2)
    for number, file in enumerate(files, 1):
        rows.add_row(str(number), file.path, f"{file.rows:,}", f"{file.distinct:,}", f"{file.most:,}")
    tables.console.print(rows)
    if len(files) > 1:
        numbers = map(str, range(1, len(files) + 1))
        common = table("Rows in common, and their share of the file at the left", "", *numbers, matrix=True)
        for number, (file, overlap) in enumerate(zip(files, comparison.overlap, strict=True), 1):
            common.add_row(str(number), *(f"{count:,} {share(count, file.rows):>6}" for count in overlap))
        tables.console.print(common)


def subset_difference(difference: Difference) -> None:
    """How two subset files differ."""
    labels = {
        "in both": difference.both,
        "only in the first": difference.only_first,
        "only in the second": difference.only_second,
        "in both, one more often": difference.changed,
    }
    rows = table("Difference", "", "rows", "distinct uids")
    for label, count in labels.items():
        rows.add_row(label, f"{count.rows:,}", f"{count.distinct:,}")
    tables.console.print(rows)


def resharded(result: "Resharding") -> None:
    """How much of a subset the pool still has, on stderr."""
    lost = result.lost
    available = f"{result.available:,} ({share(result.available, result.asked)})"
    remarks.print(
        f"asked for {result.asked:,}, available {available}, "
        f"lost {lost.rows:,} ({lost.distinct:,} uids, in {lost.path})"
    )
    remarks.print(f"{result.shards.samples:,} samples in {result.shards.shards:,} shards")

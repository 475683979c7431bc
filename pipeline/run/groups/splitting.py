"""Groups of more rows than an operator takes are split, by their rows' uids.

A group of n rows, of which an operator takes m, becomes ceil(n / m) groups; a draw that depends on the uid
alone says which of them a row is in.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from pipeline.run.groups.cells import compact
from pipeline.uids import draw

SEED = 0  # of the draw


@dataclass(frozen=True)
class Splits:
    """Groups that are split: their keys with `parts`, into how many; and the number of their rows."""

    parts: pl.DataFrame = field(default_factory=pl.DataFrame)
    rows: int = 0


def splits_of(counted: Iterable[pl.DataFrame], keys: Sequence[str], most: int) -> Splits:
    """The groups of more than `most` rows. `counted`: keys and `len`, how many rows they have; a key may come
    several times."""
    total: pl.DataFrame | None = None
    for table in counted:
        both = table if total is None else pl.concat([total, table])
        total = both.group_by(keys).agg(pl.col("len").sum())
    if total is None:
        return Splits()
    large = total.filter(pl.col("len") > most)
    parts = large.select(*keys, parts=(pl.col("len") / most).ceil().cast(pl.UInt32))
    return Splits(parts, int(large["len"].sum()))


def parts_of(
    slices: Callable[[], Iterator[pl.DataFrame]], keys: Sequence[str], splits: Splits, most_bytes: float
) -> Iterator[pl.DataFrame]:
    """The rows of a partition as frames, in none of which two parts of one group meet. `slices` reads the
    partition; it is called once for about each `most_bytes` of groups that are split."""
    if splits.parts.is_empty():
        if held := list(slices()):
            yield pl.concat(held)
        return
    most = int(splits.parts["parts"].max())  # type: ignore[arg-type]
    for wanted in _spans(slices, most, most_bytes):
        of_these = pl.col("part").is_in(list(wanted))
        frames = [compact(_numbered(rows, keys, splits).filter(of_these)) for rows in slices()]
        frame = pl.concat(frames)
        for part in wanted:
            if len(rows := frame.filter(pl.col("part") == part)):
                yield rows.drop("part")


def _numbered(rows: pl.DataFrame, keys: Sequence[str], splits: Splits) -> pl.DataFrame:
    """The rows with `part`: which part of its group each is in, 0 in a group that is whole."""
    joined = rows.join(splits.parts, on=list(keys), how="left", maintain_order="left")
    count = joined["parts"].fill_null(1).to_numpy()
    part = np.minimum((draw(SEED, joined["uid"]) * count).astype(np.uint32), count - 1)
    return joined.drop("parts").with_columns(part=pl.Series(part, dtype=pl.UInt32))


def _spans(slices: Callable[[], Iterator[pl.DataFrame]], parts: int, most_bytes: float) -> Iterator[range]:
    """Runs of parts whose rows are held at the same time."""
    size = sum(rows.estimated_size() for rows in slices())
    step = max(1, int(parts * most_bytes / max(size, 1)))
    yield from (range(start, min(start + step, parts)) for start in range(0, parts, step))

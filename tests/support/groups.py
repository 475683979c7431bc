"""What the engine does with a Group, as plainly as can be: the reference for tests.

result = run_group(operator, frame)  # frame: uid, shard, row and the operator's inputs
"""

import numpy as np
import polars as pl

from pipeline.operator import Group
from pipeline.uids import draw


def run_group(operator: Group, frame: pl.DataFrame) -> pl.DataFrame:
    """(n, inputs) rows of a whole pool -> (n, writes), in the same order. Groups come together, sorted by
    key, their rows by uid, and in the order of the pool where uids are equal; parts of a group that is too
    large do not meet."""
    keys, inputs = list(operator.keys()), list(dict.fromkeys(["uid", *operator.inputs()]))
    rows = frame.with_row_index("of").sort("uid", "shard", "row")
    several = isinstance(rows.schema[keys[0]], pl.List)
    if several:
        rows = rows.with_columns(pl.col(keys[0]).list.unique()).explode(keys[0])
    rows = rows.drop_nulls(keys).sort(keys, maintain_order=True)
    part = _parts(rows, keys, operator.most_rows())
    parts = [rows.filter(part == number) for number in part.unique().sort()] or [rows]
    found = [operator.group(own.select(inputs)).select(*operator.writes) for own in parts]
    assert [len(result) for result in found] == [len(own) for own in parts]
    result = pl.concat(
        own.select("of", *keys).hstack(result) for own, result in zip(parts, found, strict=True)
    )
    if several:
        result = operator.combine(result.sort("of", *keys).select("of", *operator.writes))
    whole = pl.DataFrame({"of": np.arange(len(frame), dtype=np.uint32)})
    return whole.join(result, on="of", how="left", maintain_order="left").select(*operator.writes)


def _parts(rows: pl.DataFrame, keys: list[str], most: int | None) -> pl.Series:
    """(n,) which part of its group each row is in, by a draw from its uid: groups of more than `most` rows
    have several."""
    sizes = rows.select(pl.len().over(keys)).to_series().to_numpy()
    counts = np.ones(len(rows)) if most is None else np.ceil(sizes / most)
    return pl.Series((draw(0, rows["uid"]) * counts).astype(np.int64))

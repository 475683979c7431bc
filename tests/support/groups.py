"""What the engine does with a Group, as plainly as can be: the reference for tests.

result = run_group(operator, frame)     # frame: uid, shard, row and the operator's inputs
"""

import numpy as np
import polars as pl

from pipeline.operator import Group
from pipeline.uids import draw


def run_group(operator: Group, frame: pl.DataFrame) -> pl.DataFrame:
    """(n, inputs) rows of a whole pool -> (n, writes), in the same order. Groups come together in one call,
    sorted by key, rows by uid, and by shard and row where uids are equal."""
    keys = list(operator.keys())
    rows = frame.select(list(dict.fromkeys(["uid", "shard", "row", *operator.inputs()]))).with_row_index("of")
    several = isinstance(rows.schema[keys[0]], pl.List)
    if several:
        rows = rows.explode(keys[0])
    rows = rows.drop_nulls(keys).sort([*keys, "uid", "shard", "row"])
    parts = [part for whole in _groups(rows, keys) for part in _split(whole, operator.most_rows())]
    rows = pl.concat([rows.clear(), *parts])
    found = operator.group(rows.drop("of", *({"shard", "row"} - set(operator.inputs())))).select(
        *operator.writes
    )
    assert len(found) == len(rows)
    result = pl.concat([rows.select("of", *keys), found], how="horizontal")
    if several:
        result = operator.combine(result.sort("of", *keys).select("of", *operator.writes))
    whole = pl.DataFrame({"of": np.arange(len(frame), dtype=np.uint32)})
    return whole.join(result, on="of", how="left", maintain_order="left").select(*operator.writes)


def _groups(rows: pl.DataFrame, keys: list[str]) -> list[pl.DataFrame]:
    """The rows of each key."""
    return rows.partition_by(keys, maintain_order=True) if len(rows) else []


def _split(group: pl.DataFrame, most: int | None) -> list[pl.DataFrame]:
    """A group in parts of at most about `most` rows, by a draw from each row's uid."""
    parts = 1 if most is None else -(-len(group) // most)
    if parts == 1:
        return [group]
    numbers = pl.Series((draw(0, group["uid"]) * parts).astype(np.int64))
    return [part for number in range(parts) if len(part := group.filter(numbers == number))]

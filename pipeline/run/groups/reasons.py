"""Why a Group has no result for a row: it is in no group, or the Group found nothing and did not say why."""

from collections.abc import Sequence

import polars as pl

from pipeline.run.groups.work import GroupWork
from pipeline.schema import owner


def reasons_of(work: GroupWork, number: int) -> pl.DataFrame:
    """For each row of a run: `inputs`, the reason of an input that has no value, null if none has one; and
    `keys`, why the row is in no group, which is told for every row."""
    keys = work.operator.keys()
    errors = {name: f"{owner(name)}.error" for name in work.reads if owner(name) is not None}
    read = list(dict.fromkeys([*errors.values(), *(keys if len(keys) > 1 else ())]))
    rows = (
        pl.int_range(sum(shard.rows for shard in work.runs[number]), eager=True)
        .to_frame("at")
        .with_columns(nothing=pl.lit(None, pl.String))
    )
    if read:
        rows = rows.hstack(work.columns.read_many([shard.name for shard in work.runs[number]], read))
    inputs = [pl.col(error) for error in dict.fromkeys(errors.values())]
    return rows.select(
        inputs=pl.coalesce(*inputs, "nothing"),
        keys=pl.coalesce(_of_keys(keys, errors), "nothing"),
    )


def _of_keys(keys: Sequence[str], errors: dict[str, str]) -> pl.Expr:
    """Why the key has no value: the reason of a column of it that has none, or that it is missing. A single
    column is the one that has none."""
    lacks = {key: pl.col(key).is_null() if len(keys) > 1 else pl.lit(True) for key in keys}
    told = [pl.when(lacks[key]).then(pl.col(errors[key])) for key in keys if key in errors]
    absent = [pl.when(where).then(pl.lit(key)) for key, where in lacks.items()]
    return pl.coalesce(*told, pl.format("no {}", pl.concat_str(absent, separator=" and ", ignore_nulls=True)))

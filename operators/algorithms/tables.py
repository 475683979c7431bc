"""The table of a Stat, if it is one that an operator can read.

table_of(stats, "leaders", "leaders", ("uid", "leader", "distance"))
"""

from collections.abc import Mapping, Sequence

import polars as pl


def table_of(
    stats: Mapping[str, pl.DataFrame], field: str, name: str, columns: Sequence[str]
) -> pl.DataFrame:
    """The table of the Stat `name`, which an operator's `field` names. Raises ValueError if it lacks one of
    the columns: it is that of another kind of Stat."""
    table = stats[name]
    if not set(columns) <= set(table.columns):
        wanted, found = ", ".join(columns), ", ".join(table.columns)
        raise ValueError(f"{field}: {name} must be a table of {wanted}, got one of {found}")
    return table

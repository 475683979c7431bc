"""Which column of a table holds which part of a sample, and the columns of parquet as texts.

parts = pick(table.schema.names, {"text": "TITLE"})      # {"text": "TITLE", "url": "URL"}
text_parts(batch, parts)                                 # String columns `text` and `url`
"""

from collections.abc import Collection, Mapping, Sequence

import polars as pl
import pyarrow as pa

from pipeline.arrow_columns import texts
from pipeline.errors import ColumnError, ShardError
from pipeline.pool.captions import of_captions
from pipeline.pool.fields import USUAL, Limits, string
from pipeline.pool.text_tables import Name
from pipeline.schema import SIDES

NAMES: Mapping[str, tuple[str, ...]] = {
    "text": ("text", "caption", "TEXT", "alt"),
    "url": ("url", "URL"),
    "uid": ("uid",),
    "key": ("key",),
    **{side: (side, side.upper()) for side in SIDES},
    "status": ("status",),
    "error_message": ("error_message",),
}
NEEDED = ("text",)  # parts of a sample without which a table is no pool
SHOWN = 20  # columns that an error lists


def pick(
    names: Sequence[Name],
    columns: Mapping[str, Name],
    needed: Collection[str] = NEEDED,
    captions: Sequence[Name] = (),
) -> dict[str, Name]:
    """Part of a sample (`text`, `url`, ...) -> column: as `columns` says, else by its usual names. `names`:
    the table's columns. Raises ColumnError if a `needed` part or one of `columns` is missing, and
    ShardError if there are several of one name. With `captions`, which may be missing, no text is needed."""
    picked: dict[str, Name] = {}
    for part, usual in NAMES.items():
        wanted = (columns[part],) if part in columns else usual
        present = [name for name in wanted if name in names]
        if not present and (part in columns or (part in needed and not (captions and part == "text"))):
            raise ColumnError(_missing(f"pool.columns.{part}", wanted, names))
        picked |= {part: present[0]} if present else {}
    for name in (*picked.values(), *places_in(names, captions)):
        if (count := names.count(name)) > 1:
            raise ShardError(f"has {count} columns called {name}, must have one: rename the others")
    if "error_message" not in picked:
        picked.pop("status", None)  # some other status than img2dataset's
    return picked


def places_in(names: Sequence[Name], captions: Sequence[Name]) -> Sequence[Name]:
    """The columns of captions that a table has. One that is missing is a place without a caption."""
    return [place for place in captions if place in names]


def _missing(key: str, wanted: Sequence[Name], names: Sequence[Name]) -> str:
    """The message for a column that is missing. `key`: the recipe's key that names it."""
    listed = ", ".join((string(name) or str(name))[:40] for name in names[:SHOWN]) or "none"
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"no column {' or '.join(map(str, wanted))} ({key}); there are: {listed}{more}"


def text_parts(
    batch: pa.RecordBatch, parts: Mapping[str, Name], limits: Limits = USUAL, captions: Sequence[Name] = ()
) -> pl.DataFrame:
    """See Table.frames. A caption that is a list is its first value, unless columns of captions are named."""
    columns: dict[str, pa.Array] = {}
    troubles: dict[int, str] = {}
    for part, name in parts.items():
        column = batch.column(name)
        columns[part], why = texts(column, str(name), part == "text", part == "uid", limits.text_bytes)
        troubles |= why if part != "text" or not captions else {}
    if troubles:
        columns["trouble"] = pa.array([troubles.get(row) for row in range(batch.num_rows)], pa.string())
    frame = pl.DataFrame(columns)
    return pl.concat([frame, of_captions(batch, captions, limits)], how="horizontal") if captions else frame

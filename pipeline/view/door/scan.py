"""The samples of a pool as one polars LazyFrame: their own columns, the operators' columns, every verdict.

    frame = scan(session, own_columns(session) | operator_columns(session) | verdict_columns(session))
    frame.filter(pl.col("fate") == "dropped").select("uid", "clip.score").collect()

The frame is a source of polars' own (`register_io_source`): polars says which columns a query needs, and only
those are read, a group of shards at a time, in pool order. So a query that reduces its rows takes as much
memory for a billion samples as for a million. Columns come through `session.columns`, and so from wherever
they lie: files, packs, object storage, or a pool that is its own table.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial

import polars as pl
from polars._typing import PolarsDataType
from polars.io.plugins import register_io_source

from pipeline.operator import Writer
from pipeline.ordered_map import threaded_map
from pipeline.plan.session import Session
from pipeline.plan.stored import list_stored
from pipeline.schema import SAMPLE_COLUMNS, owner
from pipeline.view.rows import FATE, FATES, fate_of, verdict
from pipeline.view.rows import verdict_columns as renamed_verdicts

Schema = Mapping[str, PolarsDataType]
TEXTS = (pl.String(), pl.List(pl.String()))
ERROR = "error"  # of a sample in the store: what was missing or wrong as it was read
PLACE: Schema = {"shard": SAMPLE_COLUMNS["shard"], "row": SAMPLE_COLUMNS["row"]}


def own_columns(session: Session) -> dict[str, PolarsDataType]:
    """The columns that samples have by themselves, `shard` and `row` first, with their dtypes: also `error`,
    where the pool was read into the store, and the columns of a DataComp folder that the recipe reads."""
    lacking: Schema = {ERROR: pl.String()} if session.sample_folders else {}
    brought = {name: dtype for name, dtype in session.kind.ready.items() if name in _read_by(session)}
    return {**PLACE, **SAMPLE_COLUMNS, **lacking, **_with_widths(session, brought)}


def operator_columns(session: Session) -> dict[str, PolarsDataType]:
    """`shard`, `row` and the columns of every operator that is computed on every shard, with their
    dtypes."""
    stored = list_stored(session)
    names = {shard.name for shard in session.shards}
    found = dict(PLACE)
    for name in session.recipe.compute:
        operator = session.recipe.operator(name)
        if isinstance(operator, Writer) and names.issubset(stored.parts[session.folder(name)]):
            found |= {f"{name}.{short}": dtype for short, dtype in operator.writes.items()}
            found[f"{name}.error"] = pl.String()
    return _with_widths(session, found)


def verdict_columns(session: Session) -> dict[str, PolarsDataType]:
    """`shard`, `row`, a verdict per rule and `fate`, as in `view.rows`, with their dtypes."""
    return {**PLACE, **{verdict(name): pl.Boolean() for name in session.recipe.keep}, FATE: FATES}


def scan(session: Session, schema: Schema) -> pl.LazyFrame:
    """The pool's samples in order, with the columns of `schema`. A query that asks for verdicts needs the
    decision to be stored."""
    names = list(schema)

    def source(
        columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, _: int | None
    ) -> Iterator[pl.DataFrame]:
        for frame in _frames(session, names if columns is None else columns):
            if rows is not None:
                frame = frame.head(rows)
                rows -= len(frame)
            yield frame if predicate is None else _copied(frame.filter(predicate))
            if rows == 0:
                return

    return register_io_source(source, schema=dict(schema), is_pure=True)


def _copied(frame: pl.DataFrame) -> pl.DataFrame:
    """The same rows. Polars' texts point into the buffers of all rows that were read, and would hold them in
    memory: they are copied, by way of Arrow."""
    texts = [name for name, dtype in frame.schema.items() if dtype in TEXTS]
    oldest = pl.CompatLevel.oldest()
    return frame.with_columns([pl.Series(n, frame[n].to_arrow(compat_level=oldest)) for n in texts])


def _frames(session: Session, names: Sequence[str]) -> Iterator[pl.DataFrame]:
    """The named columns of the pool, some shards at a time, in order."""
    groups = session.columns.groups([shard.name for shard in session.shards])
    yield from threaded_map(partial(_read, session, names), groups)


def _read(session: Session, names: Sequence[str], shards: Sequence[str]) -> pl.DataFrame:
    """The named columns of some shards, one below the other. Reads no table that they are not in."""
    rules = session.recipe.keep
    judged = {FATE, *(verdict(name) for name in rules)}
    frames = list[pl.DataFrame]()
    if own := [name for name in names if name not in judged and name != ERROR]:
        frames.append(session.columns.read_many(shards, own))
    if ERROR in names:
        frames.append(session.columns.samples.read(shards, [ERROR]))
    if not judged.isdisjoint(names) or not names:
        stored = pl.concat([session.store.verdicts(session.decisions, shard) for shard in shards])
        frames.append(stored.select(*renamed_verdicts(rules), fate_of(rules)))
    return pl.concat(frames, how="horizontal").select(names)


def _read_by(session: Session) -> set[str]:
    """Every column that the recipe's rules, exports and operators read."""
    read = set(session.columns_read())
    return read.union(*(entry.operator.inputs() for entry in session.recipe.compute.values()))


def _with_widths(session: Session, columns: Schema) -> dict[str, PolarsDataType]:
    """The same columns. Operators declare embeddings and some lists without their width or inner type: that
    is read from the first shard. A pool without shards has no such columns."""
    wide = [name for name, dtype in columns.items() if isinstance(dtype, type) and dtype.is_nested()]
    known = dict(columns)
    for name in wide:
        del known[name]
    if session.shards and wide:
        first = session.shards[0].name
        for group in _by_owner(wide):
            known |= session.columns.read(first, group).schema
    return {name: known[name] for name in columns if name in known}


def _by_owner(names: Collection[str]) -> list[list[str]]:
    """The columns of each operator."""
    groups: dict[str | None, list[str]] = {}
    for name in names:
        groups.setdefault(owner(name), []).append(name)
    return list(groups.values())

"""`export.table`: one parquet file of the kept samples with every score, to look into a decision with any
tool.

    result = write_table(session)
    pl.scan_parquet("out/kept.parquet").sort("clip.score").select("uid", "caption", "clip.score").head(20)

It has one row per kept sample, in pool order, with these columns:

    uid, key, caption, url   String; caption and url may be null
    width, height            Int32, pixels; null if unknown
    captions                 List(String): all captions, if `pool.caption` says where they are
    shard, row               String, UInt32: the place of the sample in the pool
    clip.score ...           every score, under its full name
    clip.image_embedding     `export.table_embedding`, if the recipe names one

Scores are the columns with one value per row that the recipe's operators write, and those scores of a
DataComp folder that the recipe reads. Other embeddings, and lists, are left out. A score is null for the
shards of which the store lacks it. `export.repeats` is not applied: each sample has one row, and the column
that says how often it repeats is one of the scores.

The note beside it, `kept.parquet.winnow.json`, holds what the bytes depend on: the decision and digests of
the scores. A table with the same note is left alone. A file without a note was not written by Winnow; it is
left alone, too, and is an error.

Memory holds one row group and one shard's columns, however many samples are kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from sys import maxsize

import polars as pl
import pyarrow.parquet as pq
from polars._typing import PolarsDataType

from pipeline.errors import RecipeError
from pipeline.export.exporter import Watch
from pipeline.export.kept import captioned, kept_counts, read_captioned
from pipeline.export.places.file import check_file, is_current, writing_file
from pipeline.export.places.inputs import Inputs, operators_of
from pipeline.export.scores import ScoreColumns
from pipeline.plan.session import Session
from pipeline.pool.table_reader import cut
from pipeline.progress import watched
from pipeline.run.executor import Executor
from pipeline.schema import CAPTIONS_COLUMN, SAMPLE_COLUMNS
from pipeline.storage.store import ROW_GROUP, to_arrow

SOURCES = {  # of the columns that every table has
    "uid": "uid",
    "key": "key",
    "caption": "text",
    "url": "url",
    "width": "width",
    "height": "height",
    "shard": "shard",
    "row": "row",
}
KEY = "export.table"
FORMAT = 1  # raise it when the same decision gives other bytes


@dataclass(frozen=True)
class TableResult:
    """The table and its rows, one per kept sample. `written` is false for a table that was left alone."""

    path: str
    rows: int
    written: bool


class TableExporter:
    """See exporter.Exporter."""

    name = "table"

    def check(self, session: Session) -> None:
        """See exporter.Exporter."""
        if (path := session.recipe.export.table) is not None:
            check_file(path, KEY)

    def write(self, session: Session, executor: Executor, watch: Watch) -> TableResult:
        """See exporter.Exporter."""
        return write_table(session)


def write_table(session: Session) -> TableResult:
    """Write `export.table`. Raises RecipeError if there is no decision yet, and for a path that holds
    something that Winnow did not write."""
    path = session.recipe.export.table
    if path is None:
        raise RecipeError(f"{KEY} is missing: name the parquet file to write")
    rows = sum(kept_counts(session).values())
    scores = ScoreColumns(session)
    embedding = session.recipe.export.table_embedding
    inputs = Inputs(
        session, {*scores.by_operator, *operators_of(session, [embedding, session.recipe.export.caption])}
    )
    brought = list(pool_scores(session))
    about = {"export": "table", "format": FORMAT, **inputs.manifest, "pool_scores": brought, "rows": rows}
    about |= {"embedding": embedding, **session.recipe.export.chosen_caption()}
    check_file(path, KEY)
    if is_current(path, KEY, about, defaults={"embedding": None}):
        return TableResult(path, rows, written=False)
    with writing_file(path, KEY, about, f"{KEY} of {session.recipe.name}") as new:
        _write(new, session, scores)
        inputs.verify(KEY)
    return TableResult(path, rows, written=True)


def _write(path: str, session: Session, scores: ScoreColumns) -> None:
    """Write the table to a local file, in row groups that do not depend on the size of the shards."""
    dtypes = {name: SAMPLE_COLUMNS[source] for name, source in SOURCES.items()}
    schemas = {
        **dtypes,
        **all_captions(session),
        **pool_scores(session),
        **scores.schema,
        **_embedding(session),
    }
    empty = pl.DataFrame(schema=schemas)
    schema = to_arrow(empty).schema
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for group in cut(_kept_frames(session, scores), ROW_GROUP, maxsize):
            writer.write_table(to_arrow(group).cast(schema))


def _kept_frames(session: Session, scores: ScoreColumns) -> Iterator[pl.DataFrame]:
    """The rows of the table, shard by shard."""
    embedding = list(_embedding(session))
    caption = session.recipe.export.caption_column
    sources = [*SOURCES.values(), *all_captions(session), *pool_scores(session), *embedding]
    shards = [shard for shard, kept in kept_counts(session).items() if kept]
    for shard in watched("writing the table", shards, len(shards)):
        keep = session.store.kept(session.decisions, shard)
        table = scores.read(shard, len(keep))
        start = 0
        for read in session.columns.batches(shard, read_captioned(sources, caption), ROW_GROUP):
            frame = captioned(read, sources, caption).select(sources)
            joined = frame.drop(embedding).hstack(table.slice(start, len(frame)))
            joined = joined.hstack(frame.select(embedding))
            yield joined.filter(keep.slice(start, len(frame))).rename({"text": "caption"})
            start += len(frame)


def _embedding(session: Session) -> dict[str, PolarsDataType]:
    """`export.table_embedding` with its width, which the first kept rows tell; empty if there is none."""
    name = session.recipe.export.table_embedding
    if name is None:
        return {}
    counts = kept_counts(session)
    shard = max(counts, key=lambda shard: counts[shard] > 0)  # the first that has any
    return dict(session.columns.read(shard, [name]).schema)


def all_captions(session: Session) -> dict[str, PolarsDataType]:
    """The column of all captions, if the recipe says where they are."""
    return {name: dtype for name, dtype in session.kind.ready.items() if name in CAPTIONS_COLUMN}


def pool_scores(session: Session) -> dict[str, PolarsDataType]:
    """The scores that the pool itself brings along and the recipe reads, by full name. Of others it is not
    known whether the pool has them."""
    read = set(session.columns_read())
    read |= {name for entry in session.recipe.compute.values() for name in entry.operator.inputs()}
    return {n: dtype for n, dtype in session.kind.ready.items() if n in read and not dtype.is_nested()}

"""`winnow report --table FILE.parquet`: a sample of the pool as one table with pictures, for other people's
tools. Embedding Atlas opens it as it is; `image` is what Hugging Face's `datasets` calls an Image, which
other tools read.

    result = write_table(session, "look.parquet", rows=5000)
    embedding-atlas look.parquet --text caption --image image --x projection_x --y projection_y

It has one row per chosen sample, in pool order, with these columns:

    uid, caption, key, url       String; caption and url may be null
    image                        struct of `bytes` (a small JPEG) and `path`, as Hugging Face's Image; null if
                                 there is no picture
    fate                         String: `kept`, `dropped` or `failed`
    rule:NAME                    Boolean, per rule: whether the sample passes; null without a value to judge
    clip.score ...               every score, under its full name; null where the store lacks it
    projection_x, projection_y   Float32: the embedding on the first two principal components of these
                                 samples; null without an embedding. Not there if the recipe has none
    width, height                Int32, pixels of the sample's picture
    shard, row                   String, UInt32: the place of the sample in the pool

The samples are those with the lowest draws (`uids.draw`), so equal runs choose equal samples. Memory holds
their embeddings, one shard's columns and one row group of pictures.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.decide.decide import decide
from pipeline.errors import RecipeError, brief
from pipeline.export.places.file import check_new_file, writing_file
from pipeline.export.scores import ScoreColumns
from pipeline.export.table import pool_scores
from pipeline.operator import Writer
from pipeline.ordered_map import threaded_map
from pipeline.plan.session import Session
from pipeline.progress import begun, watched
from pipeline.schema import SAMPLE_COLUMNS
from pipeline.storage.store import to_arrow
from pipeline.uids import draw
from pipeline.view.pictures import COLUMNS, Cost, looks
from pipeline.view.rows import FATE, fate_of, verdict, verdict_columns

KEY = "--table"
SUFFIX = ".parquet"
ROWS = 10_000  # by default: at 6 KB a picture, a table of 60 MB
SIDE = 160  # pixels of a picture's longer side
ROW_GROUP = 256  # rows whose pictures are in memory at a time
X, Y = "projection_x", "projection_y"
FIRST = {"uid": "uid", "caption": "text", "key": "key", "url": "url"}  # column: column of the sample
LAST = ("width", "height", "shard", "row")
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
FEATURES = {"info": {"features": {"image": {"_type": "Image"}}}}  # for Hugging Face's `datasets`


@dataclass(frozen=True)
class TableResult:
    """The table that was written. `embedding`: the column that was projected, None if there is none."""

    path: str
    rows: int
    embedding: str | None


def write_table(
    session: Session,
    path: str,
    rows: int = ROWS,
    seed: int = 0,
    embedding: str | None = None,
    side: int = SIDE,
    cost: Cost | None = None,
) -> TableResult:
    """Write the table of at most `rows` samples. The decision is made if it is not stored.

    embedding  the column to project; by default that of the first index, else the first that is computed
    side       most pixels of a picture's longer side
    cost       what the pictures cost is added to it

    Raises RecipeError for an embedding that is not the recipe's, or a path that must not be written."""
    check(session, path)
    column = embedding_column(session, embedding)
    assert decide(session)
    chosen = choose(session, rows, seed)
    projected = _projected(session, chosen, column)
    with writing_file(path, KEY, {"export": "view", "rows": len(chosen)}) as local:
        tick = begun("writing pictures", len(chosen))
        for written in _write(local, session, projected, side, cost if cost is not None else Cost()):
            tick(written)
    return TableResult(path, len(chosen), column)


def check(session: Session, path: str) -> None:
    """Raises RecipeError if the table must not be written to a path. For before any work."""
    if not path.lower().endswith(SUFFIX):
        raise RecipeError(f"{KEY} must end in {SUFFIX}, got {brief(path)}")
    check_new_file(session, path, KEY)


def embedding_column(session: Session, wanted: str | None = None) -> str | None:
    """The embedding to project, see `write_table`. Raises RecipeError."""
    stored = [
        f"{name}.{short}"
        for name in session.recipe.compute
        if isinstance(operator := session.recipe.operator(name), Writer)
        for short, dtype in operator.writes.items()
        if dtype == pl.Array
    ]
    read = set(session.columns_read())
    stored += [name for name, dtype in session.kind.ready.items() if dtype == pl.Array and name in read]
    if wanted is not None and wanted not in stored:
        known = ", ".join(stored) or "none"
        raise RecipeError(f"embedding: {wanted} is not an embedding of the recipe; there are: {known}")
    indexes = [index.embedding for index in session.recipe.export.every_index().values()]
    return wanted or next(iter([*indexes, *stored]), None)


# --- which samples --------------------------------------------------------------------------------


def choose(session: Session, count: int, seed: int) -> pl.DataFrame:
    """(at most count, 3) `shard`, `row`, `uid` of the samples with the lowest draws, in pool order. Reads the
    pool's uids, some shards at a time."""

    def few(shards: Sequence[str]) -> pl.DataFrame:
        frame = session.columns.read_many(shards, ["shard", "row", "uid"])
        return _lowest(frame.with_columns(pl.Series("draw", draw(seed, frame["uid"]), pl.Float64)), count)

    schema = {name: SAMPLE_COLUMNS[name] for name in ("shard", "row", "uid")}
    held = pl.DataFrame(schema={**schema, "draw": pl.Float64})
    names = [shard.name for shard in session.shards]
    groups = list(session.columns.groups(names))
    for frame in watched("choosing samples", threaded_map(few, groups), len(groups)):
        held = _lowest(pl.concat([held, frame]), count)
    order = pl.Series(names, dtype=pl.String)
    placed = held.with_columns(
        at=held["shard"].replace_strict(order, range(len(order)), return_dtype=pl.UInt32)
    )
    return placed.sort("at", "row").select(*schema)


def _lowest(frame: pl.DataFrame, count: int) -> pl.DataFrame:
    """The rows with the lowest draws."""
    return frame.sort("draw", "shard", "row").head(count)


# --- the projection -------------------------------------------------------------------------------


def _projected(session: Session, chosen: pl.DataFrame, column: str | None) -> pl.DataFrame:
    """The chosen samples with X and Y, if the recipe has an embedding that is computed."""
    if column is None or chosen.is_empty():
        return chosen
    parts = []
    for shard, rows in _by_shard(chosen):
        parts.append(session.columns.rows_at(shard, rows, [column])[column])
    vectors = pl.concat(parts)
    with np.errstate(over="ignore"):
        numbers = vectors.drop_nulls().to_numpy().astype(np.float32)
    finite = np.isfinite(numbers).all(axis=1)  # a model may give NaN, and float64 may be too large
    there = vectors.is_not_null().to_numpy(writable=True)
    there[there] = finite
    plane = np.full((len(vectors), 2), np.nan, np.float32)
    plane[there] = principal_plane(numbers[finite])
    columns = [pl.Series(name, plane[:, axis]).fill_nan(None) for axis, name in enumerate((X, Y))]
    return chosen.with_columns(columns)


def principal_plane(vectors: np.ndarray) -> np.ndarray:
    """(n, d) float -> (n, 2) float32: the coordinates on the two principal components, centred. Each
    component's largest entry is positive, so that the plane is not mirrored from run to run. Of fewer than
    two dimensions, or of equal vectors, what is missing is 0."""
    plane = np.zeros((len(vectors), 2), np.float32)
    if not len(vectors):
        return plane
    centred = vectors - vectors.mean(axis=0, dtype=np.float64)
    _, components = np.linalg.eigh(centred.T @ centred)
    for axis, component in enumerate(components.T[::-1][:2]):
        sign = np.sign(component[np.abs(component).argmax()]) or 1.0
        plane[:, axis] = centred @ (sign * component)
    return plane


# --- the file -------------------------------------------------------------------------------------


def _write(path: str, session: Session, chosen: pl.DataFrame, side: int, cost: Cost) -> Iterator[int]:
    """Write the table to a local file, a row group at a time; yields the rows of each."""
    scores = ScoreColumns(session)
    schema = _schema(session, scores, X in chosen.columns)
    plane = [name for name in (X, Y) if name in chosen.columns]
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for shard, rows in _by_shard(chosen):
            values = _values(session, scores, shard, rows)
            values = values.hstack(chosen.filter(pl.col("shard") == shard).select(plane))
            samples = session.columns.rows_at(shard, rows, COLUMNS)
            for start in range(0, len(rows), ROW_GROUP):
                pictures = _pictures(session, shard, samples[start : start + ROW_GROUP], side, cost)
                table = to_arrow(values[start : start + ROW_GROUP]).append_column("image", pictures)
                writer.write_table(table.select(schema.names).cast(schema))
                yield len(table)


def _schema(session: Session, scores: ScoreColumns, projected: bool) -> pa.Schema:
    """The columns of the table, in order."""
    own = {name: SAMPLE_COLUMNS[source] for name, source in FIRST.items()}
    verdicts = {verdict(name): pl.Boolean() for name in session.recipe.keep}
    plane = dict.fromkeys((X, Y), pl.Float32()) if projected else {}
    rest = {**verdicts, **pool_scores(session), **scores.schema, **plane}
    last = {name: SAMPLE_COLUMNS[name] for name in LAST}
    frame = pl.DataFrame(schema={**own, FATE: pl.String(), **rest, **last})
    schema = to_arrow(frame).schema.insert(2, pa.field("image", IMAGE))
    return schema.with_metadata({"huggingface": orjson.dumps(FEATURES)})


def _by_shard(chosen: pl.DataFrame) -> Iterator[tuple[str, list[int]]]:
    """The chosen rows of each shard, in pool order."""
    for (shard,), rows in chosen.group_by("shard", maintain_order=True):
        yield str(shard), rows["row"].to_list()


def _values(session: Session, scores: ScoreColumns, shard: str, rows: Sequence[int]) -> pl.DataFrame:
    """The columns of the table for some rows of a shard, but for pictures and projections."""
    sources = dict.fromkeys([*FIRST.values(), *pool_scores(session), *LAST])
    own = session.columns.rows_at(shard, rows, list(sources)).rename({"text": "caption"})
    verdicts = session.store.verdicts(session.decisions, shard)
    rules = session.recipe.keep
    judged = verdicts[rows].select(*verdict_columns(rules), fate_of(rules).cast(pl.String))
    measured = scores.read(shard, len(verdicts))
    return own.hstack(judged).hstack(measured[rows] if measured.width else [])


def _pictures(session: Session, shard: str, samples: pl.DataFrame, side: int, cost: Cost) -> pa.Array:
    """A small picture per sample of a shard, null if there is none. `samples`: with COLUMNS."""
    seen = looks(session, shard, samples.to_dicts(), [], cost, side)
    found = [look.picture and {"bytes": look.picture.data, "path": None} for look in seen]
    return pa.array(found, IMAGE)

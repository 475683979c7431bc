"""What is in the columns of a pool: type, values that are missing and why, spread, frequent values.

    profiled = profile(session)
    profiled.columns["clip.score"].quantiles["50%"]

One pass over the shards that have all columns. Rows, missing values, least and most are counted exactly.
Quantiles and frequent values are those of the SAMPLED rows whose draw from (seed, uid) is smallest, so they
are the same on every run, and exact if the pool has no more rows. A list stands for its length.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import polars as pl

from pipeline.decide.counts import NO_VALUE
from pipeline.errors import RecipeError, unknown
from pipeline.operator import Writer
from pipeline.ordered_map import threaded_map
from pipeline.plan.session import Session
from pipeline.plan.stored import list_stored
from pipeline.progress import watched
from pipeline.schema import SIDES, owner
from pipeline.storage import layout
from pipeline.uids import draw

SAMPLED = 100_000  # rows
SEED = 0
OWN = ("text", "url", "image_format", *SIDES, "image_length")  # columns of a sample that people ask for
PERCENT = (1, 5, 10, 25, 50, 75, 90, 95, 99)
FREQUENT = 20  # values of a text, and reasons
SHOWN = 400  # characters by which texts are told apart
MOST_REASONS = 1000  # that are told apart
OTHER = "(other reasons)"
NUMBER, LENGTH, TEXT, TRUTH, VECTOR, BYTES = "number", "length", "text", "true or false", "vector", "bytes"
COUNTED = (TEXT, TRUTH, BYTES)  # kinds whose frequent values are shown
DRAW = "draw"


@dataclass(frozen=True)
class ColumnProfile:
    """One column.

    dtype      as polars names it
    kind       what the figures are of: `number`, `length` (of lists), `text`, `true or false`, `vector`
    rows       of the pool
    nulls      rows without a value; NaN counts as none. None for vectors that are not read
    reasons    why, most frequent first, as the operator says
    least      the smallest number, and `most` the largest; None without numbers
    quantiles  `1%` ... `99%`, of the sampled rows
    frequent   value -> sampled rows that have it, most frequent first, of texts and truth values
    """

    column: str
    dtype: str
    kind: str
    rows: int
    nulls: int | None
    reasons: Mapping[str, int]
    least: float | None
    most: float | None
    quantiles: Mapping[str, float]
    frequent: Mapping[str, int]

    @property
    def all_differ(self) -> bool:
        """Whether each of the sampled rows has another text."""
        return self.kind in (TEXT, BYTES) and len(self.frequent) > 1 and max(self.frequent.values()) == 1


@dataclass(frozen=True)
class Profile:
    """All columns of a pool that are stored.

    shards       that have all of them, of `of_shards`
    sampled      rows that quantiles and frequent values are of; they are exact if these are all `rows`
    not_computed operators of the recipe without a stored column
    """

    shards: int
    of_shards: int
    rows: int
    sampled: int
    not_computed: Sequence[str]
    columns: Mapping[str, ColumnProfile]


def profile(session: Session, only: Sequence[str] = ()) -> Profile:
    """The profile of the columns that are stored, or of those in `only`. Raises RecipeError if no shard was
    read, or if one of `only` is not stored."""
    stored = stored_columns(session)
    for column in only:
        _check_stored(column, stored)
    names = list(only) or stored.columns
    groups = list(session.columns.groups(stored.shards))
    parts = threaded_map(partial(_part, session, names), groups)
    whole = _Part({}, pl.DataFrame(), {}, 0)
    for part in watched("reading columns", parts, len(groups)):
        whole = whole.merged(part)
    columns = {name: _profile(name, whole) for name in names}
    return Profile(
        len(stored.shards),
        len(session.shards),
        whole.rows,
        len(whole.sample),
        stored.missing,
        columns,
    )


class StoredColumns(NamedTuple):
    """The names of the columns that are stored, the shards that have all of them, and the operators that have
    none."""

    columns: list[str]
    shards: list[str]
    missing: list[str]


def stored_columns(session: Session) -> StoredColumns:
    """See StoredColumns. Raises RecipeError if no shard was read."""
    stored = list_stored(session)
    columns = [*OWN, *session.kind.ready]
    shards = set(stored.parts[layout.SAMPLES])
    missing = []
    for name in session.recipe.compute:
        operator = session.recipe.operator(name)
        if not isinstance(operator, Writer):
            continue
        parts = stored.parts[session.folder(name)]
        if not parts:
            missing.append(name)
            continue
        shards &= set(parts)
        columns += [f"{name}.{short}" for short in operator.writes]
    names = [shard.name for shard in session.shards if shard.name in shards]
    if not names:
        raise RecipeError("columns: no shard has columns yet; run `winnow compute` first")
    return StoredColumns(columns, names, missing)


def _check_stored(column: str, stored: StoredColumns) -> None:
    """Raises RecipeError if a column is not stored."""
    if column in stored.columns:
        return
    if (operator := owner(column)) in stored.missing:
        raise RecipeError(f"columns: {operator} is not computed yet; run `winnow compute` first")
    raise RecipeError(f"columns: {unknown(column, 'a column of the pool', stored.columns)}")


# --- one group of shards ---------------------------------------------------------------------------


@dataclass
class _Count:
    """Of one column: its type, and figures that are exact."""

    dtype: str
    nulls: int | None = 0
    reasons: Counter[str] = field(default_factory=Counter)
    least: float | None = None
    most: float | None = None

    def add(self, other: "_Count") -> None:
        """Count another group of shards. Of very many reasons the rarer ones become one."""
        self.nulls = None if self.nulls is None or other.nulls is None else self.nulls + other.nulls
        self.reasons.update(other.reasons)
        if len(self.reasons) > MOST_REASONS:
            frequent = Counter(dict(self.reasons.most_common(MOST_REASONS // 2)))
            frequent[OTHER] += self.reasons.total() - frequent.total()
            self.reasons = frequent
        self.least = min((n for n in (self.least, other.least) if n is not None), default=None)
        self.most = max((n for n in (self.most, other.most) if n is not None), default=None)


class _Part(NamedTuple):
    """What is known of some shards: counts by column, and the rows that are drawn, with their draws."""

    counts: dict[str, _Count]
    sample: pl.DataFrame
    kinds: dict[str, str]
    rows: int

    def merged(self, other: "_Part") -> "_Part":
        """Of both. The rows that are drawn are as many as before at most."""
        if not self.counts:
            return other
        for name, count in self.counts.items():
            count.add(other.counts[name])
        sample = _drawn(pl.concat([self.sample, other.sample], how="vertical_relaxed"))
        return _Part(self.counts, sample, self.kinds, self.rows + other.rows)


def _part(session: Session, columns: Sequence[str], shards: Sequence[str]) -> _Part:
    """Of some shards. Vectors, which are most of the bytes, are read only if nothing else is asked for."""
    vectors = {name for name in columns if is_vector(session, name)}
    read = list(columns) if len(columns) == 1 else [name for name in columns if name not in vectors]
    errors = sorted({f"{operator}.error" for name in read if (operator := owner(name)) is not None})
    frame = session.columns.read_many(shards, ["uid", *read, *errors])
    dtypes = frame.schema
    shown = pl.col(pl.Binary).bin.encode("hex"), pl.col(pl.Duration).dt.to_string()  # digests, as texts
    frame = frame.with_columns(*shown)
    kinds = {name: VECTOR if name in vectors else kind_of(frame.schema[name]) for name in columns}
    counts = {
        name: _count(frame, name, kinds[name], dtypes[name]) if name in read else _Count("vector", None)
        for name in columns
    }
    figures = [figure(name, kinds[name]) for name in read]
    sample = frame.select(pl.Series(DRAW, draw(SEED, frame["uid"])), *figures)
    return _Part(counts, _drawn(sample), kinds, len(frame))


def is_vector(session: Session, column: str) -> bool:
    """Whether a column holds arrays of numbers, by what its operator or the kind of the pool declares."""
    operator = owner(column)
    if operator is None:
        return session.kind.ready.get(column) == pl.Array
    writer = session.recipe.operator(operator)
    assert isinstance(writer, Writer)
    dtype = writer.writes[column.removeprefix(f"{operator}.")]
    return dtype == pl.Array


def kind_of(dtype: pl.DataType) -> str:
    """What the figures of a column are of."""
    if dtype == pl.List:
        return LENGTH
    if dtype == pl.Boolean:
        return TRUTH
    if dtype == pl.Binary:
        return BYTES
    return NUMBER if dtype.is_numeric() else TEXT


def figure(name: str, kind: str) -> pl.Expr:
    """What a column is summed up by: a number without NaN, the length of a list, the beginning of a text,
    or of bytes in hexadecimal digits; of a vector, whether there is one."""
    column = pl.col(name)
    if kind == LENGTH:
        return column.list.len().cast(pl.Float64).alias(name)
    if kind == NUMBER:
        return column.cast(pl.Float64).fill_nan(None)
    if kind == VECTOR:
        return pl.when(column.is_not_null()).then(pl.lit(VECTOR)).alias(name)
    if kind == BYTES:
        return column.bin.encode("hex").str.slice(0, SHOWN)
    return column.cast(pl.String).str.slice(0, SHOWN)


def _count(frame: pl.DataFrame, name: str, kind: str, dtype: pl.DataType) -> _Count:
    """The exact figures of a column, which the store holds as `dtype`."""
    values = frame.select(figure(name, kind)).to_series()
    count = _Count(str(dtype), values.null_count())
    operator = owner(name)
    if count.nulls and operator is not None:
        reasons = frame[f"{operator}.error"].filter(values.is_null()).fill_null(NO_VALUE)
        reasons = reasons.str.split(": ").list.first()  # as the funnel counts them
        count.reasons.update(dict(reasons.value_counts().iter_rows()))
    if kind in (NUMBER, LENGTH):
        count.least, count.most = values.min(), values.max()  # type: ignore[assignment]
    return count


def _drawn(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with the smallest draws."""
    return rows.sort(DRAW, maintain_order=True).head(SAMPLED)


def _profile(name: str, whole: _Part) -> ColumnProfile:
    """One column of the whole pool."""
    count, kind = whole.counts[name], whole.kinds[name]
    values = pl.Series([]) if kind == VECTOR else whole.sample[name].drop_nulls()
    quantiles = (
        {f"{p}%": values.quantile(p / 100, "nearest") for p in PERCENT} if kind in (NUMBER, LENGTH) else {}
    )
    return ColumnProfile(
        name,
        count.dtype,
        kind,
        whole.rows,
        count.nulls,
        dict(count.reasons.most_common(FREQUENT)),
        count.least,
        count.most,
        {name: value for name, value in quantiles.items() if value is not None},
        frequent(values) if kind in COUNTED else {},
    )


def frequent(values: pl.Series) -> dict[str, int]:
    """The most frequent of some texts; of equally frequent ones the first by code point."""
    counts = (
        values.rename("value").value_counts(name="count").sort(["count", "value"], descending=[True, False])
    )
    return dict(counts.head(FREQUENT).iter_rows())

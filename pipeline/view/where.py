"""Which samples to look at: a condition in words, and a choice among those that it is true of.

    condition = parse('dropped only by masked.score and caption.words < 4', session)
    total, places = count_and_choose(session, condition, 60, sort="clip.score", descending=True)

    kept, dropped, failed         what became of a sample, as the funnel counts it
    passes RULE, dropped by RULE  the rule's verdict; `no value for RULE`
    dropped only by RULE          it passes all other rules
    dropped first by RULE         the first rule that it fails, by which the funnel counts it
    failed at RULE                the first rule that finds no value to judge, at which the funnel counts it
    COLUMN < 4                    also <=, >, >=, ==, != and texts in quotes
    COLUMN contains "x"           of a text, or of a list of texts: one of its texts is "x"
    COLUMN is missing             also `is not missing`
    and, or, not, ( )

A sample without a value is not smaller, larger or equal to anything: `not COLUMN < 4` is true of it. A name
with a blank in it, or one that is also a word of this grammar, stands in quotes.
"""

from dataclasses import dataclass

import polars as pl
from polars._typing import PolarsDataType

from pipeline.decide.lookup import Place
from pipeline.errors import RecipeError, unknown
from pipeline.operator import Writer
from pipeline.plan.session import Session
from pipeline.plan.stored import require
from pipeline.progress import begun
from pipeline.recipe.check import column_types
from pipeline.schema import owner
from pipeline.uids import draw
from pipeline.view.grammar import WHERE, Parser, is_number, without_nan
from pipeline.view.rows import count as rows_of
from pipeline.view.rows import frames

MOST = 10_000  # characters of a condition


@dataclass(frozen=True)
class Condition:
    """A condition. `columns`: the names that it reads; `expr`: whether it is true of a row of `rows.frames`,
    never null."""

    text: str
    columns: tuple[str, ...]
    expr: pl.Expr


EVERY = Condition("", (), pl.lit(True))  # true of every sample


def parse(text: str, session: Session, key: str = WHERE) -> Condition:
    """A condition over a session's columns and rules. Raises RecipeError, which says what is allowed; `key`:
    what the condition is called there."""
    if len(text) > MOST:
        raise RecipeError(f"{key}: a condition has at most {MOST:,} characters, this one {len(text):,}")
    parser = Parser(text, session.recipe.keep, _types(session), key)
    expr = parser.condition()
    return Condition(text, tuple(dict.fromkeys(parser.columns)), expr)


def check_column(name: str, session: Session, key: str = WHERE) -> PolarsDataType:
    """The type of a column of the recipe. Raises RecipeError if it has none of this name."""
    types = _types(session)
    if name not in types:
        raise RecipeError(f"{key}: {unknown(name, 'a column of the recipe', types)}")
    return types[name]


def count_and_choose(
    session: Session,
    condition: Condition,
    count: int,
    sort: str | None = None,
    descending: bool = False,
    seed: int = 0,
) -> tuple[int, list[Place]]:
    """How many samples a condition is true of, and (shard, row) of at most `count` of them, the lowest value
    of the column `sort` first, or the highest if `descending`; samples without a value come last. Without
    `sort`, and among equal values, the seeded draw of the uid decides, so that the same samples are chosen
    every time. The decision must be stored. However large the pool, only `count` rows are held. Raises
    RecipeError if a column is not computed."""
    if sort is not None:
        _check_sortable(sort, check_column(sort, session, "--sort"))
    columns = tuple(dict.fromkeys((*condition.columns, *([sort] if sort else []))))
    require(session, dict.fromkeys(o for column in columns if (o := owner(column)) in session.recipe.compute))
    best: pl.DataFrame | None = None
    total = 0
    tick = begun("choosing samples", rows_of(session))
    for frame in frames(session, ["uid", *columns], tick):
        found = frame.filter(condition.expr)
        total += len(found)
        value = pl.lit(0) if sort is None else without_nan(pl.col(sort), found.schema[sort])
        found = found.select("shard", "row", value=value, draw=pl.Series(draw(seed, found["uid"])))
        best = _first(found if best is None else pl.concat([best, found]), count, descending)
    return total, [] if best is None else list(best.select("shard", "row").iter_rows())


def _first(rows: pl.DataFrame, count: int, descending: bool) -> pl.DataFrame:
    """The first rows by value, then by draw, then as they come."""
    ordered = rows.sort(
        "value", "draw", descending=[descending, False], nulls_last=[True, True], maintain_order=True
    )
    return ordered.head(count)


def _check_sortable(name: str, dtype: PolarsDataType) -> None:
    """Raises RecipeError if the values of a column have no order."""
    if not (is_number(dtype) or dtype in (pl.String, pl.Boolean)):
        raise RecipeError(f"--sort: {name} holds {dtype}; name a column of numbers or texts")


def _types(session: Session) -> dict[str, PolarsDataType]:
    """Every column that a condition may name, with its type."""
    recipe = session.recipe
    writers = [name for name in recipe.compute if isinstance(recipe.operator(name), Writer)]
    return {**column_types(recipe), **{f"{name}.error": pl.String for name in writers}}

"""The scores that exports write beside the samples: the columns of operators with one value per row.

Embeddings and lists are left out.
"""

import polars as pl
from polars._typing import PolarsDataType

from pipeline.operator import Writer
from pipeline.plan.session import Session


class ScoreColumns:
    """Every score of a recipe, by full name. Travels to workers."""

    def __init__(self, session: Session) -> None:
        self.columns = session.columns
        self.by_operator = {
            name: scores
            for name in session.recipe.compute
            if isinstance(operator := session.recipe.operator(name), Writer)
            and (scores := _scores(name, operator))
        }

    @property
    def schema(self) -> dict[str, PolarsDataType]:
        """The dtype of each score, in the order of `read`."""
        return {name: dtype for scores in self.by_operator.values() for name, dtype in scores.items()}

    def read(self, shard: str, rows: int) -> pl.DataFrame:
        """(rows, scores) of a shard of so many rows. If the store lacks an operator's columns for this shard,
        its scores are null."""
        frames = list[pl.DataFrame]()
        for scores in self.by_operator.values():
            try:
                frames.append(self.columns.read(shard, list(scores)))
            except FileNotFoundError:
                frames.append(
                    pl.DataFrame({n: pl.repeat(None, rows, dtype=t, eager=True) for n, t in scores.items()})
                )
        return pl.concat(frames, how="horizontal") if frames else pl.DataFrame()


def _scores(name: str, operator: Writer) -> dict[str, PolarsDataType]:
    """Full name -> dtype of the columns with one value per row."""
    return {f"{name}.{short}": dtype for short, dtype in operator.writes.items() if not dtype.is_nested()}

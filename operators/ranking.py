"""What copies are ranked by: a score that only samples within some bounds have.

    caption:  {use: caption.Caption}
    clip:     {use: clip.ClipScore, model: ViT-B-32, pretrained: openai}
    digest:   {use: duplicates.ImageDigest}
    eligible: {use: ranking.Eligible, by: clip.score,
               bounds: {caption.language: {among: [en]}, caption.words: {min: 3, max: 60}}}
    copies:   {use: duplicates.Exact, key: digest.digest, best: eligible.score}
    keep:
      caption.language: {among: [en]}
      caption.words:    {min: 3}
      long:             {column: caption.words, max: 60}
      copies.rank:      {max: 1}

Operators that choose one of several copies rank all samples of the pool. If the best copy of a picture has a
caption in another language, and a rule drops it, then no copy of that picture is kept. Ranked by
`eligible.score`, each copy within the bounds comes before each that is not, so the one that stays is one that
the other rules keep, if there is one. Give the bounds here that the rules have. A share, such as `top: 0.3`,
is known only after all is computed: let `by` be its column.

Columns
    score   Float64  the score of a sample within all bounds; null for others, and without a score
    within  Boolean  whether it is within all bounds; null if values are missing, and the others within
Errors: none of its own.
Source: common practice: duplicates are removed among the samples that the other filters keep.
Differs: the others stay in the pool and have ranks, behind those.
"""

from collections.abc import Iterator, Mapping
from functools import reduce
from operator import and_
from typing import Annotated, Any, ClassVar, Self

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pipeline.operator import Numbers, Operator, Role, Score
from pipeline.schema import comparable

Finite = Annotated[float, Field(allow_inf_nan=False, strict=True)]


class Bound(BaseModel):
    """What a value must be: `min` and `max`, or one of them, or `among` a list of texts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min: Finite | None = None
    max: Finite | None = None
    among: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        """Numbers or texts, and some value between the numbers."""
        numbers = (self.min, self.max) != (None, None)
        if numbers == (self.among is not None) or self.among == ():
            raise ValueError("must have min, max or both of them; or among, with a text or more")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"must have a min that is not above max, got {self.min:g} and {self.max:g}")
        return self

    def holds(self, values: pl.Series) -> pl.Series:
        """(n,) Boolean: which values are within, null for a missing one and NaN. Compared as a rule does it:
        numbers of 32 bits with the bound in 32 bits."""
        if self.among is not None:
            return values.is_in(list(self.among))
        values = comparable(values)
        least = values >= self.min if self.min is not None else None
        most = values <= self.max if self.max is not None else None
        return reduce(and_, (side for side in (least, most) if side is not None))

    def __str__(self) -> str:
        """The bound in words."""
        if self.among is not None:
            return "in " + ", ".join(self.among)
        bounds = [(">=", self.min), ("<=", self.max)]
        return " and ".join(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None)


class Eligible(Score):
    """A score that only samples within some bounds have, so that they come first in a ranking by it.

    Use it as `best` of `duplicates.Exact` and `perceptual.Neighbours`: the copy that stays is then one that
    the other rules keep.

    by      a column of numbers that copies are ranked by, such as clip.score, or caption.side for the size
    bounds  columns, each with `min` and `max`, or one of them, or with `among` and a list of texts

    Cost: very cheap.
    """

    by: Numbers
    bounds: Annotated[dict[str, Bound], Role("column")]

    writes: ClassVar[Mapping[str, Any]] = {"score": pl.Float64, "within": pl.Boolean}

    @field_validator("bounds")
    @classmethod
    def _not_empty(cls, bounds: dict[str, Bound]) -> dict[str, Bound]:
        """Refuse bounds of nothing."""
        if not bounds:
            raise ValueError("must have a bound of some column, such as {caption.words: {min: 3}}")
        return bounds

    def unfit(self, columns: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
        """See Operator: each bound is one of numbers or of texts, as its column is."""
        yield from super().unfit(columns)
        for column, bound in self.bounds.items():
            dtype = columns.get(column)
            if dtype is None:
                continue
            if bound.among is not None and dtype != pl.String:
                yield "bounds", column, "texts, since its bound is `among`"
            if bound.among is None and not (dtype.is_numeric() or dtype == pl.Boolean):
                yield "bounds", column, "numbers, since its bound is `min` or `max`"

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n,) values -> (n,) scores, and which rows are within."""
        holds = [bound.holds(batch[column]) for column, bound in self.bounds.items()]
        within = pl.Series("within", reduce(and_, holds), pl.Boolean)
        value = batch[self.by].cast(pl.Float64).fill_nan(None)
        return pl.select(score=pl.when(within).then(value), within=within)

    def evidence(
        self, row: pl.DataFrame, stats: Mapping[str, pl.DataFrame], sources: Mapping[str, Operator]
    ) -> pl.DataFrame:
        """`column`, `value`, `bound`, `within`: which bounds the sample meets."""
        lines = [
            (column, str(row[column][0]), str(bound), bound.holds(row[column]).item() is True)
            for column, bound in self.bounds.items()
        ]
        return pl.DataFrame(lines, ["column", "value", "bound", "within"], orient="row")

"""Rules: one column, one bound. And the draw that a `chance` rule compares its column with.

A rule is data. `resolve`d once over the pool (a fraction becomes a cut), it gives each row a verdict:
True it passes, False it does not, null where the column has no value; `missing` says what null means.
"""

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import polars as pl
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WrapValidator,
    field_validator,
    model_validator,
)

from pipeline.uids import draw


def _not_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"must be a number, got {value}")
    return value


def _share_or_samples(value: Any, share: Callable[[Any], float]) -> float | int:
    """`0.3` is a share; `3840000 samples` is a number of samples, kept as an int."""
    if isinstance(value, str) and (found := re.fullmatch(r"([1-9][\d_,]*) samples?", value)):
        return int(found[1].replace(",", "").replace("_", ""))
    return share(value)


_Share = Annotated[float, BeforeValidator(_not_boolean), Field(gt=0, le=1)]
Share = Annotated[_Share, WrapValidator(_share_or_samples)]
Finite = Annotated[float, BeforeValidator(_not_boolean), Field(allow_inf_nan=False)]
BOUNDS = ("min", "max", "top", "bottom", "among", "chance")


class Rule(BaseModel):
    """One line of a recipe's `keep`. Its key is the column unless `column` names another one.

    min, max    keep values >= / <= the bound
    top, bottom keep the highest / lowest of the values that exist: a share (0.3), or `3840000 samples`
    ties        of the values equal to that cut, keep all (`keep`), or by uid as many as asked for (`uid`);
                `datacomp`: the cut that its baselines make, see `rank_from_top`
    among       keep rows whose value is one of these (texts, such as languages)
    chance      the column is a probability: keep a row with it, by a draw that depends on (seed, uid) alone
    missing     what happens to rows without a value: `drop` (default) or `keep`
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    column: str
    min: Finite | None = None
    max: Finite | None = None
    top: Share | None = None
    bottom: Share | None = None
    among: tuple[str, ...] | None = None
    chance: bool | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    ties: Literal["keep", "uid", "datacomp"] = "keep"
    missing: Literal["drop", "keep"] = "drop"

    @field_validator("chance")
    @classmethod
    def _chance_is_true(cls, value: bool | None) -> bool | None:
        if value is False:
            raise ValueError("must be true (leave the rule out to switch it off)")
        return value

    @model_validator(mode="after")
    def _one_bound(self) -> "Rule":
        given = [bound for bound in BOUNDS if getattr(self, bound) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"must have exactly one of {', '.join(BOUNDS)}, got {found}")
        if "seed" in self.model_fields_set and self.chance is None:
            raise ValueError("has a seed, which only a chance rule uses")
        if "ties" in self.model_fields_set and not self.needs_cut:
            raise ValueError("has ties, which only top and bottom use")
        if self.ties == "datacomp" and not (isinstance(self.top, float) and self.top < 1):
            raise ValueError(
                "has ties: datacomp, which is for `top` with a share below 1 only, as in its baselines"
            )
        return self

    @property
    def bound(self) -> str:
        """Which of the bounds this rule sets."""
        return next(bound for bound in BOUNDS if getattr(self, bound) is not None)

    @property
    def needs_cut(self) -> bool:
        """Whether the bound is a share of the pool that `decide.cuts` must turn into a value."""
        return self.bound in ("top", "bottom")

    @property
    def needs_uid(self) -> bool:
        """Whether a verdict depends on the uid."""
        return self.bound == "chance" or self.ties == "uid"

    def describe(self, cut: float | None = None) -> str:
        """The bound in words: `>= 0.281 (top 30%)`."""
        match self.bound:
            case "min":
                return f">= {self.min:g}"
            case "max":
                return f"<= {self.max:g}"
            case "top" | "bottom" as side:
                share = f"{side} {_amount(getattr(self, side))}{_TIES[self.ties]}"
                sign = ">=" if side == "top" else "<="
                return share if cut is None else f"{sign} {cut:.6g} ({share})"
            case "among":
                return "in " + ", ".join(self.among or ())
        return f"draw(seed {self.seed}, uid) < value"

    def verdict(self, values: pl.Series, uids: pl.Series, cut: "Cut | None" = None) -> pl.Series:
        """Boolean per row, null where the value is null or NaN. `cut` is what top or bottom came to; `uids`
        may be empty where the rule does not need them."""
        if values.dtype.is_float():
            values = values.fill_nan(None)
        if values.dtype == pl.Boolean:
            values = values.cast(pl.UInt8)
        match self.bound:
            case "min":
                return values >= self.min
            case "max":
                return values <= self.max
            case "top" | "bottom" as side:
                assert cut is not None
                passes = values >= cut.value if side == "top" else values <= cut.value
                return passes if cut.uid is None else passes & ((values != cut.value) | (uids <= cut.uid))
            case "among":
                return values.is_in(list(self.among or ()))
        return pl.Series(draw(self.seed, uids)) < values.cast(pl.Float64)


_TIES = {"keep": "", "uid": ", ties by uid", "datacomp": ", as DataComp"}


class Cut(NamedTuple):
    """What a share came to: the last value that is kept; with `ties: uid` also the last uid of those that
    have it, where not all of them are kept."""

    value: float
    uid: str | None = None


def _amount(asked: float | int) -> str:
    return f"{asked:,} samples" if isinstance(asked, int) else f"{100 * asked:g}%"

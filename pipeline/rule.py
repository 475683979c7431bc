"""Rules: one column, one bound.

    rule = Rule(column="clip.score", top=0.3)
    rule.verdict(values, uids, Cut(0.281))     # (n,) Boolean

A rule is data and reads nothing but its column. It gives each row a verdict: True if the row passes, False if
not, null if the column has no value. `missing` says what to do with null. A share of the pool (`top: 0.3`)
must first become a value, the cut: `decide.cuts` finds it.
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

from pipeline.schema import comparable
from pipeline.uids import draw


def _not_boolean(value: Any) -> Any:
    """Refuse true and false, which pydantic would take for 1 and 0."""
    if isinstance(value, bool):
        raise ValueError(f"must be a number, got {value}")
    return value


def _share_or_samples(value: Any, share: Callable[[Any], float]) -> float | int:
    """`0.3` is a share, a float; `3840000 samples` is a number of samples, an int."""
    if isinstance(value, str) and (match := re.fullmatch(r"([1-9][\d_,]*) samples?", value)):
        return int(match[1].replace(",", "").replace("_", ""))
    return share(value)


_Share = Annotated[float, BeforeValidator(_not_boolean), Field(gt=0, le=1)]
Share = Annotated[_Share, WrapValidator(_share_or_samples)]
Finite = Annotated[float, BeforeValidator(_not_boolean), Field(allow_inf_nan=False)]
BOUNDS = ("min", "max", "top", "bottom", "among", "chance")


class Rule(BaseModel):
    """One line of a recipe's `keep`: a column and exactly one bound. All rules are applied to all samples,
    and `keep` is true for a sample that passes every rule.

        keep:
          clip.score:      {top: 0.3}                             # the line's name is the column
          caption.words:   {min: 3, missing: keep}
          balanced:        {column: balance.probability, chance: true, seed: 1}

    A line's name has letters, digits, blanks and any of `_ . - + :`. `--set keep.NAME=null` leaves one out.

    column      the column to compare; by default the name of the line
    min, max    keep values >= / <= this number
    top, bottom keep the highest / lowest values: a share in (0, 1] of the samples that have a value, or a
                number of samples, written `3840000 samples`
    of          of `top` and `bottom`: which samples count. `all` (default): those of the pool; `remaining`:
                those that pass every rule without `of: remaining`
    among       keep texts that are in this list: [en, de]
    chance      true: the column is a probability, and a sample is kept with it, by a draw that depends on its
                uid and `seed` alone
    seed        of `chance`: a whole number >= 0; default 0
    ties        of `top` and `bottom`: which of the values equal to the cut are kept. `keep` (default): all;
                `uid`: those with the lowest uids, so that exactly as many samples remain as were asked for
                (samples that share a uid are kept or dropped together);
                `datacomp`: as its baselines cut, for `top` with a share (`decide.cuts.rank_from_top`)
    missing     `drop` (default) or `keep` the samples without a value
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
    of: Literal["all", "remaining"] = "all"
    ties: Literal["keep", "uid", "datacomp"] = "keep"
    missing: Literal["drop", "keep"] = "drop"

    @field_validator("chance")
    @classmethod
    def _chance_is_true(cls, value: bool | None) -> bool | None:
        """`chance: false` would be a rule without a bound."""
        if value is False:
            raise ValueError("must be true (leave the rule out to switch it off)")
        return value

    @model_validator(mode="after")
    def _one_bound(self) -> "Rule":
        """Exactly one bound, and no key that only another bound uses."""
        given = [bound for bound in BOUNDS if getattr(self, bound) is not None]
        if len(given) != 1:
            names = " and ".join(given) or "none (null in place of the whole rule switches it off)"
            more = "; give the other a rule of its own, under another name with `column`" if given else ""
            raise ValueError(f"must have exactly one of {', '.join(BOUNDS)}, got {names}{more}")
        if "seed" in self.model_fields_set and self.chance is None:
            raise ValueError("has a seed, which only a chance rule uses")
        for key in ("of", "ties"):
            if key in self.model_fields_set and not self.needs_cut:
                raise ValueError(f"has {key}, which only top and bottom use")
        if self.ties == "datacomp" and not (isinstance(self.top, float) and self.top < 1):
            raise ValueError(
                "has ties: datacomp, which is for `top` with a share below 1 only, as in its baselines"
            )
        if self.ties == "datacomp" and self.of == "remaining":
            raise ValueError("has ties: datacomp, which cuts a share of all samples, and of: remaining")
        return self

    @property
    def bound(self) -> str:
        """The name of the bound that this rule sets."""
        return next(bound for bound in BOUNDS if getattr(self, bound) is not None)

    @property
    def needs_cut(self) -> bool:
        """Whether the bound is a share or a number of samples, which `decide.cuts` must turn into a value."""
        return self.bound in ("top", "bottom")

    @property
    def of_remaining(self) -> bool:
        """Whether the share is one of the samples that other rules keep."""
        return self.of == "remaining"

    @property
    def identity(self) -> dict[str, Any]:
        """What a decision's key covers. `of` came later: a rule without it has the key that it always had."""
        return self.model_dump(mode="json", exclude=None if self.of_remaining else {"of"})

    @property
    def needs_uid(self) -> bool:
        """Whether a verdict depends on the uid."""
        return self.bound == "chance" or self.ties == "uid"

    def describe(self, cut: float | None = None) -> str:
        """The bound in words: `>= 0.281 (top 30%)`, or `top 30%` without a cut."""
        match self.bound:
            case "min":
                return f">= {self.min:g}"
            case "max":
                return f"<= {self.max:g}"
            case "top" | "bottom" as side:
                share = f"{side} {_amount(getattr(self, side))}{_OF[self.of]}{_TIES[self.ties]}"
                sign = ">=" if side == "top" else "<="
                return share if cut is None else f"{sign} {cut:.6g} ({share})"
            case "among":
                return "in " + ", ".join(self.among or ())
        return f"draw(seed {self.seed}, uid) < value"

    def verdict(self, values: pl.Series, uids: pl.Series, cut: "Cut | None" = None) -> pl.Series:
        """(n,) Boolean: whether each value passes; null if it is null or NaN. `uids`: (n,) String, or empty
        unless `needs_uid`. `cut`: what the share of `top` or `bottom` became."""
        values = comparable(values)
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


_OF = {"all": "", "remaining": " of what remains"}
_TIES = {"keep": "", "uid": ", ties by uid", "datacomp": ", as DataComp"}


class Cut(NamedTuple):
    """The value that a share became: `value` is the last one that is kept. `uid`, with `ties: uid` only, is
    the last uid that is kept among the rows of that value; None if all of them are."""

    value: float
    uid: str | None = None


def _amount(bound: float | int) -> str:
    """A share as 30%, a number of samples as 3,840,000 samples."""
    return f"{bound:,} samples" if isinstance(bound, int) else f"{100 * bound:g}%"

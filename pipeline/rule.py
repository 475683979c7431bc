"""Rules: one column, one bound. And the draw that a `chance` rule compares its column with.

A rule is data. `resolve`d once over the pool (a fraction becomes a cut), it gives each row a verdict:
True it passes, False it does not, null where the column has no value; `missing` says what null means.
"""

import re
from binascii import unhexlify
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
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
        """Boolean per row, null where the value is null or NaN. `cut` is what top or bottom came to; `uids` may be
        empty where the rule does not need them."""
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


def _mix(state: np.ndarray) -> np.ndarray:
    """splitmix64's finaliser: a bijection of uint64 that passes PractRand (Steele et al. 2014)."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = state ^ (state >> np.uint64(31))
    return mixed


def uid_halves(uids: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """(n,) String of 32 hex digits -> their upper and lower 64 bits, two (n,) uint64 arrays."""
    digits = uids.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    words = np.frombuffer(unhexlify(digits.buffers()[2]) if len(digits) else b"", ">u8").astype(np.uint64)
    return words[0::2], words[1::2]


def search_uids(rows: np.ndarray, high: np.ndarray, low: np.ndarray, side: str) -> np.ndarray:
    """(m,) how many of the (n,) sorted rows of u8,u8 come before each uid, its equals with them for side
    `right`. Rows may be a mapped file: about 2 log n of them are read."""
    first, past = np.zeros(len(high), np.int64), np.full(len(high), len(rows), np.int64)
    while (apart := first < past).any():
        middle = np.where(apart, (first + past) // 2, 0)
        found = rows[middle]
        equal, less = found["f0"] == high, found["f0"] < high
        before = less | (equal & ((found["f1"] <= low) if side == "right" else (found["f1"] < low)))
        first = np.where(apart & before, middle + 1, first)
        past = np.where(apart & ~before, middle, past)
    return first


def first_unsorted(rows: np.ndarray) -> str | None:
    """Of (n,) rows of u8,u8 the first uid that comes after a larger one; None where they are sorted."""
    high, low = rows["f0"], rows["f1"]
    wrong = (high[:-1] > high[1:]) | ((high[:-1] == high[1:]) & (low[:-1] > low[1:]))
    if not wrong.any():
        return None
    place = int(wrong.argmax()) + 1
    return f"{int(high[place]):016x}{int(low[place]):016x}"


def draw(seed: int, uids: pl.Series) -> np.ndarray:
    """(n,) float64 uniform in [0, 1), a pure function of (seed, uid): the same on every machine."""
    high, low = uid_halves(uids)
    golden = np.uint64(0x9E3779B97F4A7C15)
    with np.errstate(over="ignore"):
        state = _mix(np.full(len(uids), seed, np.uint64) + golden)
        state = _mix((state ^ high) + golden)
        state = _mix((state ^ low) + golden)
    return (state >> np.uint64(11)) * 2.0**-53


def ordered_bits(values: np.ndarray) -> np.ndarray:
    """float32/float64/int -> uint64 whose order is the values' order (IEEE 754 total order, -0 = 0)."""
    numbers = values.astype(np.float64) + 0.0
    bits = numbers.view(np.int64)
    return np.where(bits < 0, ~bits, bits ^ np.int64(-(2**63))).view(np.uint64)


def from_ordered_bits(bits: int) -> float:
    """The float64 that `ordered_bits` maps to `bits`."""
    raw = bits ^ (1 << 63) if bits >> 63 else ~bits & (2**64 - 1)
    return float(np.uint64(raw).view(np.float64))


def rank_from_top(rule: Rule, count: int, rows: int = 0) -> int:
    """How many of the `count` values that exist are asked for: ceil(share * count), at least 1, or all where
    more samples are asked for than there are.

    With `ties: datacomp` it is int(share * rows) + 1 of all rows, those without a value last, so perhaps more
    than there are values: its cut is element int(len * fraction), from 0, of the scores in descending order
    (`baselines/apply_filter.py`, get_threshold)."""
    asked = rule.top if rule.top is not None else rule.bottom
    assert asked is not None
    if rule.ties == "datacomp":
        return int(rows * asked) + 1
    return min(asked, count) if isinstance(asked, int) else max(1, int(np.ceil(np.round(asked * count, 9))))

"""What the class of a plugin declares, looked at before any work. A slip in it is common, and would show
late, or as an error in code that is not its author's.

    check_class(operator, "compute.concrete: mine.Concrete")      # RecipeError with what to write instead
"""

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from pipeline.errors import RecipeError, brief, guess
from pipeline.operator import (
    BytesScore,
    Group,
    ImageScore,
    Operator,
    Score,
    Stat,
    SummaryGroup,
    Writer,
)
from pipeline.schema import is_storable

_MUST_DEFINE: Mapping[type[Operator], tuple[str, ...]] = {
    Score: ("score",),
    ImageScore: ("score",),
    BytesScore: ("score",),
    SummaryGroup: ("keys", "partial", "merge", "of_summary"),
    Group: ("keys", "group"),
    Stat: ("partial", "merge"),
}
_POLARS: Mapping[Any, str] = {float: "pl.Float32", int: "pl.Int64", str: "pl.String", bool: "pl.Boolean"}
_RESERVED = "error"  # the column that says why a row has no result; `score` may return it


def check_class(operator: Operator, who: str) -> None:
    """Raises RecipeError if the operator's class lacks what an operator must have. `who`: where the recipe
    names it, and as what."""
    if wrong := next(_mistakes(operator), None):
        raise RecipeError(f"{who} {wrong}")


def _mistakes(operator: Operator) -> Iterator[str]:
    cls = type(operator)
    needs: Any = operator.needs
    if isinstance(needs, str):
        yield f'must give `needs` as a tuple, got the text {brief(needs)}: write needs = ("{needs}",)'
    elif not (isinstance(needs, tuple | list) and all(isinstance(column, str) for column in needs)):
        yield f'must give `needs` as a tuple of columns, such as needs = ("text",), got {brief(needs)}'
    if isinstance(operator, Writer):
        yield from _wrong_columns(operator.writes)
    base = next(base for base in _MUST_DEFINE if isinstance(operator, base))
    works_ahead = isinstance(operator, ImageScore) and (
        type(operator).works_ahead is not ImageScore.works_ahead  # `complete` is called in place of `score`
    )
    for method in ("complete",) if works_ahead else _MUST_DEFINE[base]:
        if getattr(cls, method) is getattr(base, method):
            own = [name for name in vars(cls) if not name.startswith("_") and callable(getattr(cls, name))]
            article = "an" if base.__name__[0] in "AEIO" else "a"
            yield f"is {article} {base.__name__} and must define {method}(){guess(method, own)}"


def _wrong_columns(writes: Any) -> Iterator[str]:
    """What is wrong with `writes`."""
    example = 'such as writes = {"score": pl.Float32}'
    if not isinstance(writes, Mapping):
        yield f"must give `writes` as a mapping of columns to polars types, {example}, got {brief(writes)}"
        return
    if not writes:
        yield f"must say in `writes` which columns it adds, {example}"
    for column, dtype in writes.items():
        if not isinstance(column, str) or column in ("", _RESERVED):
            yield f"cannot call a column of `writes` {brief(column)}; `{_RESERVED}` is there without being named"
        if not (
            isinstance(dtype, pl.DataType) or (isinstance(dtype, type) and issubclass(dtype, pl.DataType))
        ):
            ours = _POLARS.get(dtype, "pl.Float32") if isinstance(dtype, type) else "pl.Float32"
            yield f"must give writes[{brief(column)}] as a polars type such as {ours}, got {brief(dtype)}"
        elif not is_storable(dtype):
            yield (
                f"cannot store writes[{brief(column)}] as {dtype}: numbers of 64 bits at most, texts (pl.String), "
                "bytes (pl.Binary), and lists of them can be stored"
            )

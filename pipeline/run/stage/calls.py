"""The calls of an operator in a stage: it is set up, called with a batch, and its result is checked.

An operator that raises loses the rows at fault only: it is called with half of the batch at a time if it has
run out of memory, else row by row.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import numpy as np
import polars as pl
from pydantic import ValidationError

from pipeline.errors import OperatorError, is_fault, place, worded
from pipeline.operator import BytesScore, Device, ImageScore, Operator, Score, Writer
from pipeline.schema import owner

# The errors of torch, NumPy, FAISS, ONNX Runtime and cuBLAS, in this order, when memory is used up
OUT_OF_MEMORY = re.compile(
    r"^OutOfMemoryError|^MemoryError|^_ArrayMemoryError|Failed to allocate memory|CUBLAS_STATUS_ALLOC_FAILED"
)
NOT_A_FIELD = (
    "a method may set private attributes only, whose names begin with _: declare it as "
    "_words: Any = PrivateAttr(None), and set self._words"
)
SYSTEMATIC = 16  # rows: a batch of at least as many that all fail is the operator's fault, not the data's
Images = Sequence[np.ndarray | None] | Sequence[memoryview | None]  # pixels, or encoded
Written = TypeVar("Written", bound=Writer)


class _Tables(dict[str, pl.DataFrame]):
    """The Stats that an operator reads."""

    def __missing__(self, name: str) -> pl.DataFrame:
        raise KeyError(
            f"{name} is not among the Stats that fields of type Table name: {', '.join(self) or '-'}"
        )


def set_up(name: str, operator: Written, stats: Mapping[str, pl.DataFrame], device: Device) -> Written:
    """A copy of an operator that is ready for use. `stats`: the tables that it reads, and others. Raises
    OperatorError."""
    ready = operator.model_copy()
    with setting_up(name, ready):
        ready.setup(_Tables({need: stats[need] for need in ready.inputs() if need in stats}), device)
    return ready


@contextmanager
def setting_up(name: str, operator: Operator) -> Iterator[None]:
    """Within the block an operator is set up, or asked what it can do. Raises OperatorError if it raises."""
    try:
        yield
    except BaseException as error:
        if not is_fault(error):
            raise
        frozen = isinstance(error, ValidationError) and error.errors()[0]["type"] == "frozen_instance"
        why = NOT_A_FIELD if frozen else worded(error)
        raise OperatorError(f"{name} cannot be set up: {why}{where(operator, error)}") from error


def score(
    name: str,
    operator: Writer,
    batch: pl.DataFrame,
    images: Images,
    halved: Callable[[int], None] = lambda rows: None,
    raised: list[str] | None = None,
    reasons: Sequence[str | None] | None = None,
) -> pl.DataFrame:
    """An operator's columns for a batch, by full name, `error` last. If the operator runs out of memory, it
    gets half of the batch at a time, and `halved` is told of how many rows that is, if each row could be
    computed: one that no memory holds says nothing of the others. If it raises otherwise, it runs row by row,
    so that only the rows at fault are null. One that lacks an input has that input's reason, and is not the
    operator's fault; `raised` gets the error of each other one. `reasons`: by row, why there is no image, for
    an operator that sees images. Raises OperatorError."""
    result, batch_reason, where = _attempt(name, operator, batch, images)
    if result is not None:
        return result
    raised = [] if raised is None else raised
    if OUT_OF_MEMORY.search(batch_reason) and len(batch) > 1:
        half = (len(batch) + 1) // 2
        before = len(raised)
        parts = [
            score(name, operator, batch[i : i + half], images[i : i + half], halved, raised, some)
            for i in (0, half)
            for some in (reasons[i : i + half] if reasons is not None else None,)
        ]
        alone = sum(bool(OUT_OF_MEMORY.search(reason)) for reason in raised[before:])
        if len(batch) >= SYSTEMATIC and alone == len(batch):
            raise OperatorError(f"{name} fails on every row of a batch: {batch_reason}{where}")
        if not alone:
            halved(half)
        return pl.concat(parts)
    attempts = [_attempt(name, operator, batch[i : i + 1], images[i : i + 1]) for i in range(len(batch))]
    lacking = _reasons_of_inputs(operator, batch, reasons)
    tried = [attempt for attempt, lack in zip(attempts, lacking, strict=True) if lack is None]
    raised.extend(f"{why}{at}" for row, why, at in tried if row is None)
    if len(tried) >= SYSTEMATIC and all(row is None for row, _, _ in tried):
        raise OperatorError(f"{name} fails on every row of a batch: {batch_reason}{where}")
    empty, reason, where = _attempt(name, operator, batch.clear(), [])  # has the columns' types
    if empty is None:
        raise OperatorError(f"{name} fails even on an empty batch: {reason}{where}")
    rows = [
        pl.DataFrame({f"{name}.error": [lack or why]}) if row is None else row
        for (row, why, _), lack in zip(attempts, lacking, strict=True)
    ]
    for row in rows:
        check_alike(empty, row)
    return pl.concat([empty, *rows], how="diagonal")


def check_alike(first: pl.DataFrame, other: pl.DataFrame) -> None:
    """Two results of an operator have columns of the same types: it may have left a part of one open, as
    `pl.Array` leaves its width. Raises OperatorError."""
    for column in first.columns:
        if column in other.columns and (got := other[column].dtype) != (before := first[column].dtype):
            raise OperatorError(
                f"{column} was {before} for some rows and is {got} for others: it must be one type"
            )


def _attempt(
    name: str, operator: Writer, batch: pl.DataFrame, images: Images
) -> tuple[pl.DataFrame | None, str, str]:
    """(checked result, "", "") or, if the operator raises, (None, its error on one line, where it is)."""
    try:
        result = _call(operator, batch, images)
    except OperatorError:
        raise
    except BaseException as error:
        if not is_fault(error):
            raise
        return None, with_columns(operator, error), where(operator, error)
    return checked(name, operator, result, len(batch)), "", ""


def with_columns(operator: Operator, error: BaseException) -> str:
    """An error on one line; of a column that was not found, with those that the operator is given."""
    if not isinstance(error, pl.exceptions.ColumnNotFoundError):
        return worded(error)
    read = ", ".join(operator.inputs()) or "nothing"
    return f"{worded(error)}; `needs` and fields name what it reads, which is {read}"


def where(operator: Operator, error: BaseException) -> str:
    """In which line of a plugin's file an error is, in words."""
    at = place(error, type(operator).__module__)
    return f" ({at[0]}, line {at[1]})" if at else ""


def _call(operator: Writer, batch: pl.DataFrame, images: Images) -> pl.DataFrame:
    """Call `score` with the columns that the operator declares."""
    inputs = inputs_of(operator, batch)
    if isinstance(operator, ImageScore | BytesScore):
        return operator.score(inputs, cast(Any, images))
    assert isinstance(operator, Score)
    return operator.score(inputs)


def inputs_of(operator: Writer, batch: pl.DataFrame) -> pl.DataFrame:
    """The columns that an operator declares, and none besides."""
    return batch[[c for c in operator.inputs() if c in batch.columns] or batch.columns[:1]]


def checked(
    name: str, operator: Writer, result: pl.DataFrame, rows: int, method: str = "score"
) -> pl.DataFrame:
    """The result of `score`, if it is what the operator declares: its columns by full name, in declared
    order, `error` last. `method`: the name of the method, for errors. Raises OperatorError."""
    if not isinstance(result, pl.DataFrame):
        raise OperatorError(f"{name}: {method}() must return a polars DataFrame, got {type(result).__name__}")
    if len(result) != rows:
        raise OperatorError(f"{name}: {method}() got {rows} rows and returned {len(result)}")
    extra = set(result.columns) - set(operator.writes) - {"error"}
    missing = set(operator.writes) - set(result.columns)
    if extra or missing:
        raise OperatorError(
            f"{name}: {method}() must return {sorted(operator.writes)}; "
            f"missing {sorted(missing)}, extra {sorted(extra)}"
        )
    for column, dtype in operator.writes.items():
        if result[column].dtype != dtype:
            raise OperatorError(
                f"{name}.{column} must be {dtype}, got {result[column].dtype}: "
                "cast it, or make the frame with schema=dict(self.writes)"
            )
        _check_array(f"{name}.{column}", result[column].dtype)
    named = [result[column].alias(f"{name}.{column}") for column in operator.writes]
    reasons = result["error"] if "error" in result.columns else pl.Series([None] * rows, dtype=pl.String)
    try:
        reasons = reasons.cast(pl.String)
    except pl.exceptions.PolarsError:
        raise OperatorError(f"{name}.error must be String, got {reasons.dtype}") from None
    return pl.DataFrame([*named, reasons.alias(f"{name}.error")])


def _check_array(column: str, dtype: pl.DataType) -> None:
    """An Array is a vector of numbers. Raises OperatorError for another one."""
    if isinstance(dtype, pl.Array) and not (
        len(dtype.shape) == 1 and dtype.size and dtype.inner.is_numeric()
    ):
        raise OperatorError(f"{column} must hold vectors of numbers, one or more, got {dtype}")


def with_reasons(
    name: str,
    operator: Writer,
    result: pl.DataFrame,
    batch: pl.DataFrame,
    reasons: Sequence[str | None] | None,
) -> pl.DataFrame:
    """Fill in `<name>.error` of rows without a result that have no reason yet: with the image's reason,
    else with the reason of an input. `reasons`: by row, None for an operator that sees no images."""
    error = f"{name}.error"
    absent = [_absent(result, f"{name}.{column}") for column in operator.writes]
    empty = result.select(pl.any_horizontal(absent)).to_series()
    if not empty.any():
        return result
    reason = _coalesced(batch, reasons, [pl.col(column) for column in _inherited(operator, batch)])
    return result.with_columns(
        pl.when(pl.col(error).is_null() & empty).then(reason).otherwise(pl.col(error)).alias(error)
    )


def _reasons_of_inputs(
    operator: Writer, batch: pl.DataFrame, reasons: Sequence[str | None] | None
) -> list[str | None]:
    """By row, why it lacks its image, or a column that the operator reads; None if it lacks none."""
    inherited = []
    for column in _inherited(operator, batch):
        read = [c for c in operator.inputs() if f"{owner(c)}.error" == column and c in batch.columns]
        absent = pl.any_horizontal(pl.lit(value=False), *(_absent(batch, c) for c in read))
        inherited.append(pl.when(absent).then(pl.col(column)))
    return _coalesced(batch, reasons, inherited).to_list()


def _inherited(operator: Writer, batch: pl.DataFrame) -> list[str]:
    """The columns of reasons of the operators that an operator reads."""
    return [f"{source}.error" for source in operator.owners() if f"{source}.error" in batch.columns]


def _coalesced(
    batch: pl.DataFrame, reasons: Sequence[str | None] | None, inherited: Sequence[pl.Expr]
) -> pl.Series:
    """By row, the first reason that there is: the image's, then those of inputs."""
    image = pl.Series("image", reasons if reasons is not None else [None] * len(batch), pl.String)
    return batch.with_columns(image).select(pl.coalesce(pl.col("image"), *inherited)).to_series()


def _absent(frame: pl.DataFrame, column: str) -> pl.Expr:
    """Where a column has no value: null, or NaN."""
    is_null = pl.col(column).is_null()
    return is_null | pl.col(column).is_nan() if frame.schema[column].is_float() else is_null

"""One stage of a pass: some operators run on a batch, in order, on the same decoded images.

Used alike by the plain loop and by the Ray actors, which is why both give equal columns. A row that an
operator cannot handle becomes null with a reason; an operator that breaks its contract, or fails on
every row by itself, stops the pass with an OperatorError.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from pipeline.errors import OperatorError, worded
from pipeline.operator import Device, ImageScore, Score, Writer
from pipeline.recipe.sections import Entry
from pipeline.run.decode import Decoder, pixel_slices

PIXEL_BUDGET = 64_000_000  # decoded pixels held at a time (192 MB), over the one image in hand
SYSTEMATIC = 16  # a batch of this many rows that all fail is the operator's fault, not the data's
Images = Sequence[np.ndarray | None]


@dataclass
class Tally:
    """What was done: seconds (of one worker), rows, and rows without a result, by operator; `decode` and
    `read` count as operators."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    rows: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)

    def __iadd__(self, other: "Tally") -> "Tally":
        for name, seconds in other.seconds.items():
            self.seconds[name] += seconds
        self.rows.update(other.rows)
        self.failed.update(other.failed)
        return self

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """As plain data; `Tally.of` is the way back."""
        return {"seconds": dict(self.seconds), "rows": dict(self.rows), "failed": dict(self.failed)}

    @classmethod
    def of(cls, data: Mapping[str, Mapping[str, Any]]) -> "Tally":
        """From plain data."""
        tally = cls(rows=Counter(data.get("rows", {})), failed=Counter(data.get("failed", {})))
        tally.seconds.update(data.get("seconds", {}))
        return tally

    def add(self, name: str, started: float, rows: int, failed: int = 0) -> None:
        """Count one call that began at `started` (time.perf_counter)."""
        self.seconds[name] += time.perf_counter() - started
        self.rows[name] += rows
        self.failed[name] += failed


class StageRunner:
    """The operators of a stage, set up once per worker."""

    def __init__(
        self, entries: Mapping[str, Entry], stats: Mapping[str, pl.DataFrame], device: Device, batch_size: int
    ) -> None:
        self.operators: dict[str, Writer] = {}
        for name, entry in entries.items():
            operator = entry.operator.model_copy()
            assert isinstance(operator, Score | ImageScore)
            try:
                operator.setup({need: stats[need] for need in operator.inputs() if need in stats}, device)
            except Exception as error:
                raise OperatorError(f"{name} cannot be set up: {worded(error)}") from error
            self.operators[name] = operator
        self.decoder = Decoder(device.threads)
        self.batch_size = batch_size

    @property
    def sees_images(self) -> bool:
        """Whether any operator here needs pixels."""
        return any(isinstance(operator, ImageScore) for operator in self.operators.values())

    def run(
        self, batch: pl.DataFrame, data: Sequence[bytes | memoryview | None] | None
    ) -> tuple[pl.DataFrame, Tally]:
        """`batch` with the columns of every operator added. `data[i]` is row i's encoded image."""
        tally, parts = Tally(), []
        pixels = (
            (batch["width"].cast(pl.Int64) * batch["height"]).fill_null(0).to_list()
            if self.sees_images
            else [0] * len(batch)
        )
        for start, stop in pixel_slices(pixels, self.batch_size, PIXEL_BUDGET) or [(0, 0)]:
            part = batch.slice(start, stop - start)
            parts.append(self._run_slice(part, data[start:stop] if data is not None else None, tally))
        return pl.concat(parts, rechunk=True), tally

    def _run_slice(
        self, batch: pl.DataFrame, data: Sequence[bytes | memoryview | None] | None, tally: Tally
    ) -> pl.DataFrame:
        images: list[np.ndarray | None] = []
        reasons: list[str | None] = [None] * len(batch)
        if self.sees_images:
            started = time.perf_counter()
            decoded = self.decoder(data if data is not None else [None] * len(batch))
            images, reasons = [pixels for pixels, _ in decoded], [reason for _, reason in decoded]
            tally.add("decode", started, len(batch), sum(image is None for image in images))
        for name, operator in self.operators.items():
            started = time.perf_counter()
            result = score(name, operator, batch, images)
            result = explained(
                name, operator, result, batch, reasons if isinstance(operator, ImageScore) else None
            )
            tally.add(name, started, len(batch), len(result) - result[f"{name}.error"].null_count())
            batch = batch.hstack(result)
        return batch


def score(name: str, operator: Writer, batch: pl.DataFrame, images: Images) -> pl.DataFrame:
    """Run one operator; should it raise, run it row by row, so that only the rows at fault are lost."""
    result, first = _attempt(name, operator, batch, images)
    if result is not None:
        return result
    tries = [_attempt(name, operator, batch[i : i + 1], images[i : i + 1]) for i in range(len(batch))]
    if len(tries) >= SYSTEMATIC and all(row is None for row, _ in tries):
        raise OperatorError(f"{name} fails on every row of a batch: {first}")
    empty, why = _attempt(name, operator, batch.clear(), [])  # carries the columns' types
    if empty is None:
        raise OperatorError(f"{name} fails even on an empty batch: {why}")
    rows = [pl.DataFrame({f"{name}.error": [why]}) if row is None else row for row, why in tries]
    return pl.concat([empty, *rows], how="diagonal")


def _attempt(
    name: str, operator: Writer, batch: pl.DataFrame, images: Images
) -> tuple[pl.DataFrame | None, str]:
    """(checked result, "") or (None, what it raised)."""
    try:
        result = _call(operator, batch, images)
    except OperatorError:
        raise
    except Exception as error:
        return None, worded(error)
    return checked(name, operator, result, len(batch)), ""


def _call(operator: Writer, batch: pl.DataFrame, images: Images) -> pl.DataFrame:
    wanted = batch.select([c for c in operator.inputs() if c in batch.columns] or batch.columns[:1])
    if isinstance(operator, ImageScore):
        return operator.score(wanted, images)
    assert isinstance(operator, Score)
    return operator.score(wanted)


def checked(name: str, operator: Writer, result: pl.DataFrame, rows: int) -> pl.DataFrame:
    """The result, if it is what the operator declares; columns in declared order, `error` last."""
    if not isinstance(result, pl.DataFrame):
        raise OperatorError(f"{name}: score() must return a polars DataFrame, got {type(result).__name__}")
    if len(result) != rows:
        raise OperatorError(f"{name}: score() got {rows} rows and returned {len(result)}")
    extra = set(result.columns) - set(operator.writes) - {"error"}
    missing = set(operator.writes) - set(result.columns)
    if extra or missing:
        raise OperatorError(
            f"{name}: score() must return {sorted(operator.writes)}; "
            f"missing {sorted(missing)}, extra {sorted(extra)}"
        )
    for column, dtype in operator.writes.items():
        if result[column].dtype != dtype:
            raise OperatorError(f"{name}.{column} must be {dtype}, got {result[column].dtype}")
    if "error" not in result.columns:
        result = result.with_columns(error=pl.lit(None, pl.String))
    return result.select(*operator.writes, pl.col("error").cast(pl.String)).rename(
        lambda column: f"{name}.{column}"
    )


def explained(
    name: str,
    operator: Writer,
    result: pl.DataFrame,
    batch: pl.DataFrame,
    reasons: Sequence[str | None] | None,
) -> pl.DataFrame:
    """Fill in `<name>.error` for rows without any result: the image's reason, else that of an input."""
    error = f"{name}.error"
    columns = [f"{name}.{column}" for column in operator.writes]
    inherited = [pl.col(f"{owner}.error") for owner in operator.owners() if f"{owner}.error" in batch.columns]
    if reasons is None and not inherited:
        return result
    image = pl.Series("image", reasons if reasons is not None else [None] * len(batch), pl.String)
    empty = result.select(pl.any_horizontal(pl.col(c).is_null() for c in columns)).to_series()
    reason = batch.with_columns(image).select(pl.coalesce(pl.col("image"), *inherited)).to_series()
    return result.with_columns(
        pl.when(pl.col(error).is_null() & empty).then(reason).otherwise(pl.col(error)).alias(error)
    )

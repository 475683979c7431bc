"""The middle of a batch's life: the operators of one stage add their columns to it.

A stage is a group of operators that share workers. They run in order, so one may read a column of another,
and all of them see the same decoded images. Large batches are worked on in slices, to bound the decoded
pixels.

The plain loop and the actors of Ray use the same StageRunner, so both give equal columns. If an operator
raises on a row, that row is null in its columns, with a reason. If an operator breaks its contract, or
fails on every single row of a batch, an OperatorError stops the pass.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import polars as pl

from pipeline.errors import OperatorError, place, worded
from pipeline.operator import BytesScore, Device, ImageScore, Score, Writer
from pipeline.recipe.limits import DEFAULTS, Limits
from pipeline.recipe.sections import Entry
from pipeline.run.decode import NO_IMAGE, Decoder, pixel_slices

ALONE = (
    16_000_000  # pixels of a picture that makes a slice of its own: decoding it takes several times as much
)
PIXEL_BUDGET = 64_000_000  # pixels of a slice (192 MB), unless its one image has more
SYSTEMATIC = 16  # rows: a batch of at least as many that all fail is the operator's fault, not the data's
Images = Sequence[np.ndarray | None] | Sequence[memoryview | None]  # pixels, or encoded
Data = Sequence[bytes | memoryview | None]


@dataclass
class Tally:
    """The work done so far, by operator: seconds of the workers, rows, and rows without a result. `decode`
    and `read` count as operators."""

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
        """As plain data, which `Tally.of` reads."""
        return {"seconds": dict(self.seconds), "rows": dict(self.rows), "failed": dict(self.failed)}

    @classmethod
    def of(cls, data: Mapping[str, Mapping[str, Any]]) -> "Tally":
        """The tally that `as_dict` gave."""
        tally = cls(rows=Counter(data.get("rows", {})), failed=Counter(data.get("failed", {})))
        tally.seconds.update(data.get("seconds", {}))
        return tally

    def add_call(self, name: str, started: float, rows: int, failed: int = 0) -> None:
        """Count one call of an operator on `rows` rows, which began at `started` (time.perf_counter) and has
        just ended."""
        self.seconds[name] += time.perf_counter() - started
        self.rows[name] += rows
        self.failed[name] += failed


class StageRunner:
    """The operators of a stage, set up once per worker. Raises OperatorError if one cannot be set up.

    entries     the stage's operators, by name, in the order in which they run
    stats       the tables of the Stats that they read, by name
    batch_size  rows of a slice, at most
    limits      bounds on the images that are decoded
    """

    def __init__(
        self,
        entries: Mapping[str, Entry],
        stats: Mapping[str, pl.DataFrame],
        device: Device,
        batch_size: int,
        limits: Limits = DEFAULTS,
    ) -> None:
        self.operators: dict[str, Writer] = {}
        for name, entry in entries.items():
            operator = entry.operator.model_copy()
            assert isinstance(operator, Score | ImageScore | BytesScore)
            try:
                operator.setup({need: stats[need] for need in operator.inputs() if need in stats}, device)
            except (Exception, SystemExit) as error:
                raise OperatorError(
                    f"{name} cannot be set up: {worded(error)}{_where(operator, error)}"
                ) from error
            self.operators[name] = operator
        self.decoder = Decoder(device.threads, limits)
        self.batch_size = batch_size

    @property
    def sees_images(self) -> bool:
        """Whether any operator of the stage needs pixels."""
        return any(isinstance(operator, ImageScore) for operator in self.operators.values())

    def run(
        self,
        batch: pl.DataFrame,
        data: Data | None,
        done: Callable[[int], None] = lambda rows: None,
    ) -> tuple[pl.DataFrame, Tally]:
        """The batch with the columns of every operator added, and a tally of the work. `data[i]` is the
        encoded image of row i, None without one; `data` is None if the pass reads no images. `done` is called
        with the rows of each slice. Raises OperatorError."""
        tally = Tally()
        slices: list[pl.DataFrame] = []
        pixels = (
            (batch["width"].cast(pl.Int64) * batch["height"]).fill_null(0).to_list()
            if self.sees_images
            else [0] * len(batch)
        )
        pixels = [PIXEL_BUDGET if size > ALONE else size for size in pixels]
        for start, stop in pixel_slices(pixels, self.batch_size, PIXEL_BUDGET) or [(0, 0)]:
            rows = batch.slice(start, stop - start)
            slices.append(self._run_slice(rows, data[start:stop] if data is not None else None, tally))
            done(stop - start)
        return pl.concat(slices, rechunk=True), tally

    def _run_slice(self, batch: pl.DataFrame, data: Data | None, tally: Tally) -> pl.DataFrame:
        """Decode the images of some rows and run every operator on them; adds the work to `tally`."""
        images: list[np.ndarray | None] = []
        reasons: list[str | None] = [None] * len(batch)
        data = data if data is not None else [None] * len(batch)
        if self.sees_images:
            started = time.perf_counter()
            decoded = self.decoder(data)
            images = [pixels for pixels, _ in decoded]
            reasons = [reason for _, reason in decoded]
            tally.add_call("decode", started, len(batch), sum(image is None for image in images))
        for name, operator in self.operators.items():
            started = time.perf_counter()
            result = score(
                name, operator, batch, _views(data) if isinstance(operator, BytesScore) else images
            )
            result = with_reasons(name, operator, result, batch, _reasons(operator, data, reasons))
            tally.add_call(name, started, len(batch), len(result) - result[f"{name}.error"].null_count())
            batch = batch.hstack(result)
        return batch


def _views(data: Data) -> Sequence[memoryview | None]:
    """The same bytes, read-only. Arrow's are of signed bytes, which equal no bytes."""
    return [None if item is None else memoryview(item).cast("B").toreadonly() for item in data]


def _reasons(operator: Writer, data: Data, undecoded: Sequence[str | None]) -> Sequence[str | None] | None:
    """By row, why an operator was given no image: `undecoded` if it sees pixels. None for an operator that
    reads columns only."""
    if isinstance(operator, BytesScore):
        return [NO_IMAGE if item is None else None for item in data]
    return undecoded if isinstance(operator, ImageScore) else None


def score(name: str, operator: Writer, batch: pl.DataFrame, images: Images) -> pl.DataFrame:
    """An operator's columns for a batch, by full name, `error` last. If the operator raises on the whole
    batch, it runs row by row, so that only the rows at fault are null. Raises OperatorError."""
    result, batch_reason, where = _attempt(name, operator, batch, images)
    if result is not None:
        return result
    attempts = [_attempt(name, operator, batch[i : i + 1], images[i : i + 1]) for i in range(len(batch))]
    if len(attempts) >= SYSTEMATIC and all(row is None for row, _, _ in attempts):
        raise OperatorError(f"{name} fails on every row of a batch: {batch_reason}{where}")
    empty, reason, where = _attempt(name, operator, batch.clear(), [])  # has the columns' types
    if empty is None:
        raise OperatorError(f"{name} fails even on an empty batch: {reason}{where}")
    rows = [pl.DataFrame({f"{name}.error": [why]}) if row is None else row for row, why, _ in attempts]
    return pl.concat([empty, *rows], how="diagonal")


def _attempt(
    name: str, operator: Writer, batch: pl.DataFrame, images: Images
) -> tuple[pl.DataFrame | None, str, str]:
    """(checked result, "", "") or, if the operator raises, (None, its error on one line, where it is)."""
    try:
        result = _call(operator, batch, images)
    except OperatorError:
        raise
    except (Exception, SystemExit) as error:
        return None, worded(error), _where(operator, error)
    return checked(name, operator, result, len(batch)), "", ""


def _where(operator: Writer, error: BaseException) -> str:
    """In which line of a plugin's file an error is, in words."""
    at = place(error, type(operator).__module__)
    return f" ({at[0]}, line {at[1]})" if at else ""


def _call(operator: Writer, batch: pl.DataFrame, images: Images) -> pl.DataFrame:
    """Call `score` with the columns that the operator declares, and none besides."""
    inputs = batch.select([c for c in operator.inputs() if c in batch.columns] or batch.columns[:1])
    if isinstance(operator, ImageScore | BytesScore):
        return operator.score(inputs, cast(Any, images))
    assert isinstance(operator, Score)
    return operator.score(inputs)


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
            raise OperatorError(f"{name}.{column} must be {dtype}, got {result[column].dtype}")
    if "error" not in result.columns:
        result = result.with_columns(error=pl.lit(None, pl.String))
    return result.select(*operator.writes, pl.col("error").cast(pl.String)).rename(
        lambda column: f"{name}.{column}"
    )


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

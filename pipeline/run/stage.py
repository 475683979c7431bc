"""The middle of a batch's life: the operators of one stage add their columns to it.

A stage is a group of operators that share workers. They run in order, so one may read a column of another,
and all of them see the same decoded images. Large batches are worked on in slices, to bound the decoded
pixels.

Several batches may be in one StageRunner at a time, each on a thread: while one is computed, the next are
decoded and prepared, and the one before is packed and handed on. `AHEAD` bounds the decoded pixels that wait.
An operator computes one slice at a time, whatever the number of threads.

The plain loop and the actors of Ray use the same StageRunner, so both give equal columns. If an operator
raises on a row, that row is null in its columns, with a reason. If an operator breaks its contract, or
fails on every single row of a batch, an OperatorError stops the pass.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import polars as pl

from pipeline.errors import OperatorError, place, worded
from pipeline.operator import BytesScore, Device, ImageScore, Operator, Score, Writer
from pipeline.progress import Tally
from pipeline.recipe.limits import DEFAULTS, Limits
from pipeline.recipe.sections import Entry
from pipeline.run.decode import NO_IMAGE, Decoder, pixel_slices

ALONE = (
    16_000_000  # pixels of a picture that makes a slice of its own: decoding it takes several times as much
)
PIXEL_BUDGET = 64_000_000  # pixels of a slice (192 MB), unless its one image has more
AHEAD = 2  # slices that are decoded and prepared while one is computed
IN_FLIGHT = AHEAD + 2  # batches of a runner at a time: one is computed, one is packed and handed on
SYSTEMATIC = 16  # rows: a batch of at least as many that all fail is the operator's fault, not the data's
Images = Sequence[np.ndarray | None] | Sequence[memoryview | None]  # pixels, or encoded
Data = Sequence[bytes | memoryview | None]
Written = TypeVar("Written", bound=Writer)


class Stopped(Exception):
    """The pass has ended early: the batch is not computed any more."""


class Prepared(NamedTuple):
    """What `prepare` of an operator gave, or what it raised."""

    value: Any = None
    error: Exception | None = None


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
            assert isinstance(entry.operator, Score | ImageScore | BytesScore)
            self.operators[name] = set_up(name, entry.operator, stats, device)
        there = [op.device_decoder() for op in self.operators.values() if isinstance(op, ImageScore)]
        self.decoder = Decoder(device.threads, limits, there[0] if there and all(there) else None)
        self.batch_size = batch_size
        self._slices = threading.Semaphore(1 + AHEAD)  # decoded and not yet computed
        self._computing = threading.Lock()
        self._stopped = threading.Event()

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
        with the rows of each slice, on the calling thread. Several threads may call this at a time. Raises
        OperatorError, and Stopped after `stop`."""
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

    def stop(self) -> None:
        """Let no further slice be computed, so that threads that wait here end soon."""
        self._stopped.set()

    def _run_slice(self, batch: pl.DataFrame, data: Data | None, tally: Tally) -> pl.DataFrame:
        """Decode the images of some rows and run every operator on them; adds the work to `tally`."""
        data = data if data is not None else [None] * len(batch)
        with self._slices:
            images: list[np.ndarray | None] = []
            reasons: list[str | None] = [None] * len(batch)
            ahead: dict[str, Prepared] = {}
            if self.sees_images:
                images, reasons = self._decode(data, tally)
                ahead = self._prepare(batch, images, tally)
            with self._computing:
                for name, operator in self.operators.items():
                    if self._stopped.is_set():
                        raise Stopped
                    started = time.perf_counter()
                    given = _views(data) if isinstance(operator, BytesScore) else images
                    result = score(name, operator, batch, given, ahead.get(name))
                    result = with_reasons(name, operator, result, batch, _reasons(operator, data, reasons))
                    failed = len(result) - result[f"{name}.error"].null_count()
                    tally.add_call(name, started, len(batch), failed)
                    batch = batch.hstack(result)
        return batch

    def _decode(self, data: Data, tally: Tally) -> tuple[list[np.ndarray | None], list[str | None]]:
        """The images, and the reason of each that cannot be decoded; adds the work to `tally`."""
        decoded, started = self.decoder.timed(data)
        images = [pixels for pixels, _ in decoded]
        tally.add_call("decode", started, len(data), sum(image is None for image in images))
        return images, [reason for _, reason in decoded]

    def _prepare(self, batch: pl.DataFrame, images: Images, tally: Tally) -> dict[str, Prepared]:
        """What operators prepare ahead, by name; adds the work to `tally`."""
        ahead: dict[str, Prepared] = {}
        for name, operator in self.operators.items():
            if not isinstance(operator, ImageScore) or set(operator.owners()) & self.operators.keys():
                continue
            started = time.perf_counter()
            try:
                value = operator.prepare(_inputs(operator, batch), cast(Any, images))
            except Exception as error:
                ahead[name] = Prepared(error=error)
            else:
                if value is not None:
                    ahead[name] = Prepared(value)
            tally.add_time(name, started)
        return ahead


def _views(data: Data) -> Sequence[memoryview | None]:
    """The same bytes, read-only. Arrow's are of signed bytes, which equal no bytes."""
    return [None if item is None else memoryview(item).cast("B").toreadonly() for item in data]


def _reasons(operator: Writer, data: Data, undecoded: Sequence[str | None]) -> Sequence[str | None] | None:
    """By row, why an operator was given no image: `undecoded` if it sees pixels. None for an operator that
    reads columns only."""
    if isinstance(operator, BytesScore):
        return [NO_IMAGE if item is None else None for item in data]
    return undecoded if isinstance(operator, ImageScore) else None


def set_up(name: str, operator: Written, stats: Mapping[str, pl.DataFrame], device: Device) -> Written:
    """A copy of an operator that is ready for use. `stats`: the tables that it reads, and others. Raises
    OperatorError."""
    ready = operator.model_copy()
    try:
        ready.setup({need: stats[need] for need in ready.inputs() if need in stats}, device)
    except (Exception, SystemExit) as error:
        raise OperatorError(f"{name} cannot be set up: {worded(error)}{where(ready, error)}") from error
    return ready


def score(
    name: str, operator: Writer, batch: pl.DataFrame, images: Images, prepared: Prepared | None = None
) -> pl.DataFrame:
    """An operator's columns for a batch, by full name, `error` last. If the operator raises on the whole
    batch, it runs row by row, so that only the rows at fault are null. Raises OperatorError."""
    result, batch_reason, where = _attempt(name, operator, batch, images, prepared)
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
    name: str, operator: Writer, batch: pl.DataFrame, images: Images, prepared: Prepared | None = None
) -> tuple[pl.DataFrame | None, str, str]:
    """(checked result, "", "") or, if the operator raises, (None, its error on one line, where it is)."""
    try:
        result = _call(operator, batch, images, prepared)
    except OperatorError:
        raise
    except (Exception, SystemExit) as error:
        return None, worded(error), where(operator, error)
    return checked(name, operator, result, len(batch)), "", ""


def where(operator: Operator, error: BaseException) -> str:
    """In which line of a plugin's file an error is, in words."""
    at = place(error, type(operator).__module__)
    return f" ({at[0]}, line {at[1]})" if at else ""


def _call(operator: Writer, batch: pl.DataFrame, images: Images, prepared: Prepared | None) -> pl.DataFrame:
    """Call `score`, or `complete` if the batch is prepared, with the columns that the operator declares."""
    inputs = _inputs(operator, batch)
    if isinstance(operator, BytesScore):
        return operator.score(inputs, cast(Any, images))
    if not isinstance(operator, ImageScore):
        assert isinstance(operator, Score)
        return operator.score(inputs)
    if prepared is None:
        return operator.score(inputs, cast(Any, images))
    if prepared.error is not None:
        raise prepared.error
    return operator.complete(inputs, prepared.value)


def _inputs(operator: Writer, batch: pl.DataFrame) -> pl.DataFrame:
    """The columns that an operator declares, and none besides."""
    return batch.select([c for c in operator.inputs() if c in batch.columns] or batch.columns[:1])


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

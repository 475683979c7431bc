"""The middle of a batch's life: the operators of one stage add their columns to it.

A stage is a group of operators that share workers. They run in order, so one may read a column of another,
and all of them see the same decoded images. Large batches are worked on in slices, to bound the decoded
pixels. If all operators that see them work ahead, a slice has as many rows as they were given, and its
pictures are decoded and prepared part by part: a network then runs on full batches, however large they are.

Several batches may be in one StageRunner at a time, each on a thread: while one is computed, the next are
decoded, prepared and launched, and the one before is packed and handed on. `AHEAD` bounds the decoded pixels
that wait. An operator computes one slice at a time, whatever the number of threads. An operator that runs out
of memory gets the same rows in smaller slices, so that no batch is lost.

The plain loop and the actors of Ray use the same StageRunner, so both give equal columns. If an operator
raises on a row, that row is null in its columns, with a reason. If an operator breaks its contract, or
fails on every single row of a batch, an OperatorError stops the pass.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import polars as pl

from pipeline.errors import OperatorError
from pipeline.operator import BytesScore, Device, DeviceDecoder, ImageScore, Score, Writer
from pipeline.progress import Tally
from pipeline.recipe.limits import DEFAULTS, Limits
from pipeline.recipe.sections import Entry
from pipeline.run.decode import NO_IMAGE
from pipeline.run.stage.ahead import Ahead
from pipeline.run.stage.calls import SYSTEMATIC, Images, check_alike, score, set_up, setting_up, with_reasons
from pipeline.run.stage.decoder import Decoder, pixel_slices

ALONE = (
    16_000_000  # pixels of a picture that makes a slice of its own: decoding it takes several times as much
)
PIXEL_BUDGET = 64_000_000  # pixels of a slice (192 MB), unless its one image has more
ON_GPU = 4  # times as many on a GPU's worker: a network that gets few rows at a time runs for nothing
PART_BUDGET = 16_000_000  # pixels of a part of a slice that the CPU decodes: freed memory serves the next one
AHEAD = 2  # slices that are decoded and prepared while one is computed
IN_FLIGHT = AHEAD + 2  # batches of a runner at a time: one is computed, one is packed and handed on
LOG = logging.getLogger("winnow.run")
Data = Sequence[bytes | memoryview | None]


class Stopped(Exception):
    """The pass has ended early: the batch is not computed any more."""


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
        self.ahead: dict[str, ImageScore] = {}
        there: list[DeviceDecoder | None] = []
        for name, operator in self.operators.items():
            if isinstance(operator, ImageScore):
                with setting_up(name, operator):
                    there.append(operator.device_decoder())
                    if not set(operator.owners()) & self.operators.keys() and operator.works_ahead():
                        self.ahead[name] = operator
        self.decoder = Decoder(device.threads, limits, there[0] if there and all(there) else None)
        self.batch_size = batch_size
        self.pixels_of_slice = PIXEL_BUDGET * (ON_GPU if device.name != "cpu" else 1)
        self._first: dict[str, pl.DataFrame] = {}  # the columns of each operator's first result
        self._slices = threading.Semaphore(1 + AHEAD)  # decoded and not yet computed
        self._computing = threading.Lock()
        self._stopped = threading.Event()

    @property
    def sees_images(self) -> bool:
        """Whether any operator of the stage needs pixels."""
        return any(isinstance(operator, ImageScore) for operator in self.operators.values())

    @property
    def in_parts(self) -> bool:
        """Whether pictures are seen by operators alone that need not those of a whole slice at once."""
        seeing = {name for name, operator in self.operators.items() if isinstance(operator, ImageScore)}
        return bool(seeing) and seeing <= self.ahead.keys()

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
        pixels = [self.pixels_of_slice if size > ALONE else size for size in pixels]
        weights = [0] * len(batch) if self.in_parts else pixels
        rows = self.batch_size
        halved = partial(self._halved, rows=(rows + 1) // 2)
        for start, stop in pixel_slices(weights, rows, self.pixels_of_slice) or [(0, 0)]:
            some = data[start:stop] if data is not None else [None] * (stop - start)
            ahead = Ahead(self.ahead, tally, halved)
            slices.append(self._run_slice(batch[start:stop], pixels[start:stop], some, ahead))
            done(stop - start)
        return pl.concat(slices, rechunk=True) if len(slices) > 1 else slices[0], tally

    def stop(self) -> None:
        """Let no further slice be computed, so that threads that wait here end soon."""
        self._stopped.set()

    def _halved(self, name: str, rows: int) -> None:
        """Make slices smaller from now on: an operator has run out of memory."""
        if rows < self.batch_size:
            self.batch_size = rows
            LOG.warning(
                "%s: out of memory, continues with %d rows at a time (run.%s.batch_size)", name, rows, name
            )

    def _run_slice(
        self, batch: pl.DataFrame, pixels: Sequence[int], data: Data, ahead: Ahead
    ) -> pl.DataFrame:
        """Decode the images of some rows and run every operator on them; adds the work to the tally of
        `ahead`."""
        tally = ahead.tally
        with self._slices:
            budget = PIXEL_BUDGET if self.decoder.there else PART_BUDGET
            whole = [(0, len(batch))]
            parts = pixel_slices(pixels, len(batch), budget) or whole if self.in_parts else whole
            images: Images = [None] * len(batch)
            reasons: list[str | None] = [None] * len(batch)
            if self.sees_images:
                for start, stop in parts:
                    images, reasons[start:stop] = self._decode(data[start:stop], tally)
                    ahead.prepare(batch[start:stop], images)
                    images = [] if self.in_parts else images  # gone before the next are decoded
                ahead.launch(batch)
            with self._computing:
                for name, operator in self.operators.items():
                    if self._stopped.is_set():
                        raise Stopped
                    started = time.perf_counter()
                    lacks = _reasons(operator, data, reasons)
                    result = ahead.complete(name, batch)
                    if result is None and self.in_parts and isinstance(operator, ImageScore):
                        result = self._part_by_part(name, batch, data, parts)
                    elif result is None:
                        given = _views(data) if isinstance(operator, BytesScore) else images
                        halved = partial(self._halved, name)
                        result = score(name, operator, batch, given, halved, reasons=lacks)
                    check_alike(self._first.setdefault(name, result.clear()), result)
                    result = with_reasons(name, operator, result, batch, lacks)
                    failed = len(result) - result[f"{name}.error"].null_count()
                    tally.add_call(name, started, len(batch), failed)
                    batch = batch.hstack(result)
        return batch

    def _part_by_part(
        self, name: str, batch: pl.DataFrame, data: Data, parts: Sequence[tuple[int, int]]
    ) -> pl.DataFrame:
        """An operator's columns for a slice; its pictures, which are gone, are decoded again. Raises
        OperatorError, also if the operator raises on every row of all parts, each of which may be small."""
        found: list[pl.DataFrame] = []
        raised: list[str] = []
        seen = 0
        for start, stop in parts:
            decoded = self.decoder(data[start:stop])
            images = [pixels for pixels, _ in decoded]
            reasons = [reason for _, reason in decoded]
            halved = partial(self._halved, name)
            rows = batch[start:stop]
            found.append(score(name, self.operators[name], rows, images, halved, raised, reasons))
            check_alike(found[0], found[-1])
            seen += reasons.count(None)
        if len(raised) == seen >= SYSTEMATIC:
            raise OperatorError(f"{name} fails on every row of a batch: {raised[0]}")
        return pl.concat(found)

    def _decode(self, data: Data, tally: Tally) -> tuple[list[np.ndarray | None], list[str | None]]:
        """The images, and the reason of each that cannot be decoded; adds the work to `tally`."""
        decoded, seconds = self.decoder.timed(data)
        images = [pixels for pixels, _ in decoded]
        started = time.perf_counter() - seconds
        tally.add_call("decode", started, len(data), sum(image is None for image in images))
        return images, [reason for _, reason in decoded]


def _views(data: Data) -> Sequence[memoryview | None]:
    """The same bytes, read-only. Arrow's are of signed bytes, which equal no bytes."""
    return [None if item is None else memoryview(item).cast("B").toreadonly() for item in data]


def _reasons(operator: Writer, data: Data, undecoded: Sequence[str | None]) -> Sequence[str | None] | None:
    """By row, why an operator was given no image: `undecoded` if it sees pixels. None for an operator that
    reads columns only."""
    if isinstance(operator, BytesScore):
        return [NO_IMAGE if item is None else None for item in data]
    return undecoded if isinstance(operator, ImageScore) else None

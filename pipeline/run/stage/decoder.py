"""Batches of encoded images to pixels, on threads or on a device (decode.py decodes one).

decoder = Decoder(threads=4)
for pixels, reason in decoder([jpeg, png, None]):  # one of the two is None
    ...
"""

import ctypes
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pipeline.operator import DeviceDecoder
from pipeline.recipe.limits import DEFAULTS, Limits
from pipeline.run.decode import AT_ONCE, Data, Decoded, Room, decode, fits_device

MAPPED = 16 << 20  # bytes: a larger block is asked of the system, and given back when it is freed
KEPT = 64 << 20  # bytes of smaller blocks that are freed and kept for the next pictures, at most
HEAPS = 1  # that threads share; each heap of a thread's own would keep as much
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of glibc's malloc.h
RUN = 4  # images that a thread takes at a time, at most


def pixel_slices(pixels: Sequence[int], rows: int, budget: int) -> list[tuple[int, int]]:
    """Cut rows 0..n into runs [start, stop) of at most `rows` rows and `budget` pixels, so that decoded
    images stay bounded. A single image may have more. `pixels[i]` is an upper bound for row i, 0 if
    unknown."""
    cuts: list[tuple[int, int]] = []
    start = total = 0
    for row, size in enumerate(pixels):
        if row > start and (row - start >= rows or total + size > budget):
            cuts.append((start, row))
            start = row
            total = 0
        total += size
    return [*cuts, (start, len(pixels))] if len(pixels) > start else cuts


def _set_up_memory() -> None:
    """Tell glibc which freed memory this process keeps. By default it keeps more large blocks the more it has
    seen, and pictures of several formats leave holes between them that add up to hundreds of MB. Of the
    memory of small blocks it keeps 128 KiB, so that each picture asks the system for its memory anew: a fifth
    of the time of decoding. A CPU's forward pass has blocks of 10 MB (ViT-B-32): given back each time,
    they would take a tenth of it. Other C libraries have no such settings."""
    if (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(M_MMAP_THRESHOLD, MAPPED)
        mallopt(M_TRIM_THRESHOLD, KEPT)
        mallopt(M_ARENA_MAX, HEAPS)


class _Quiet:
    """Within the context, no warning of Pillow's is shown. Python's filters belong to the process, so the
    first thread that comes sets them, and the last one that goes puts them back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._filters = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._filters.__exit__(None, None, None)


class Decoder:
    """Decodes batches on threads. `decoded` counts the images, so that a test can see each decoded once.
    Several threads may call it: the images of the batch that came first are decoded first, and no thread is
    idle while it ends.

    `there`: a decoder on a device, which then decodes the JPEGs that it takes, of one batch at a time. Every
    picture is on the device; limits and reasons are the same.
    """

    _quiet = _Quiet()

    def __init__(self, threads: int, limits: Limits = DEFAULTS, there: DeviceDecoder | None = None) -> None:
        self.threads = threads
        self.pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self.limits = limits
        self.room = Room(AT_ONCE)
        self.decoded = 0
        self.there = there
        self._turn = threading.Lock()  # on the device, and without other threads
        _set_up_memory()

    def __call__(self, data: Sequence[Data | None]) -> list[Decoded]:
        """(pixels, None) or (None, reason) per image, in order: see `decode`."""
        return self.timed(data)[0]

    def timed(self, data: Sequence[Data | None]) -> tuple[list[Decoded], float]:
        """The same, and the seconds that it takes all threads, without waiting for other batches."""
        with self._quiet:
            self.decoded += sum(item is not None for item in data)
            if self.pool is not None and self.there is None:
                runs = list(self.pool.map(self._decode_run, self._runs(data)))
                return [one for run, _ in runs for one in run], sum(took for _, took in runs) / self.threads
            with self._turn:
                started = time.perf_counter()
                found = self._decode_there(data, self.there) if self.there else self._decode_run(data)[0]
                return found, time.perf_counter() - started

    def _runs(self, data: Sequence[Data | None]) -> list[Sequence[Data | None]]:
        """The images, a few at a time, so that handing them to a thread costs little; at least two runs per
        thread, if there are so many images."""
        size = max(1, min(RUN, len(data) // (2 * self.threads)))
        return [data[start : start + size] for start in range(0, len(data), size)]

    def _decode_run(self, data: Sequence[Data | None]) -> tuple[list[Decoded], float]:
        """See `decode`; and the seconds that it took."""
        started = time.perf_counter()
        return [self._decode(item) for item in data], time.perf_counter() - started

    def _map(self, function: Callable[[Data | None], Any], data: Sequence[Data | None]) -> Iterator[Any]:
        """`map` on the threads."""
        return (self.pool.map if self.pool else map)(function, data)

    def _decode(self, data: Data | None) -> Decoded:
        """See `decode`."""
        return decode(data, self.limits, self.room)

    def _decode_there(self, data: Sequence[Data | None], there: DeviceDecoder) -> list[Decoded]:
        """Decode on the device what it takes, and on the CPU what it does not."""
        jpegs = {row: bytes(data[row] or b"") for row, fits in enumerate(self._map(self._fits, data)) if fits}
        found: dict[int, Decoded] = {
            row: (picture, None)
            for row, picture in zip(jpegs, there.decode(list(jpegs.values())), strict=True)
            if picture is not None
        }
        others = [row for row in range(len(data)) if row not in found]
        found.update(zip(others, self._map(self._decode, [data[row] for row in others]), strict=True))
        put = [row for row in others if found[row][0] is not None]
        pictures = there.put([found[row][0] for row in put])
        found.update((row, (picture, None)) for row, picture in zip(put, pictures, strict=True))
        return [found[row] for row in range(len(data))]

    def _fits(self, data: Data | None) -> bool:
        """Whether a device may decode an image."""
        return fits_device(data, self.limits)

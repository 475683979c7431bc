"""What a batch of pictures and captions is on its way through a CLIP on a device: see model.py."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple


class Ready(NamedTuple):
    """Pictures of some rows, of the size that the network takes, on the device.

    rows    how many rows these are, those without a picture included
    seen    the rows with a picture
    pixels  (len(seen), s, s, 3) uint8, or None if there are none
    """

    rows: int
    seen: list[int]
    pixels: Any | None


class Launched(NamedTuple):
    """A batch on its way through the device.

    seen           the rows with a picture
    images, texts  (n, d) float32 in the host's memory, or None if there are none; valid after `done`
    cut            which captions have more tokens than fit
    done           events of the device, all of which must have come
    held           what the device may still read
    """

    seen: list[int]
    images: Any | None
    texts: Any | None
    cut: list[bool]
    done: list[Any]
    held: tuple[Any, ...]


def joined(parts: Sequence[Ready]) -> tuple[list[int], list[Any]]:
    """The rows with a picture, counted over all parts of a batch, and the pixels of each part with any."""
    starts = accumulate((part.rows for part in parts), initial=0)
    seen = [start + row for start, part in zip(starts, parts, strict=False) for row in part.seen]
    return seen, [part.pixels for part in parts if part.pixels is not None]

"""Encoded bytes to pixels: RGB, bounded, on threads, with a reason where it fails."""

import io
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

MAX_PIXELS = 89_478_485  # Pillow's own bound against decompression bombs: 256 MiB of RGB


def decode(data: bytes | memoryview | None) -> tuple[np.ndarray | None, str | None]:
    """(pixels, None) or (None, reason). Pixels are (h, w, 3) uint8 RGB as Pillow's convert("RGB") gives
    them: JPEG goes through libjpeg-turbo directly, whatever that refuses goes through Pillow."""
    if data is None:
        return None, "no image"
    import simplejpeg

    if bytes(data[:2]) == b"\xff\xd8":
        try:
            height, width, space, _ = simplejpeg.decode_jpeg_header(data)
            if width * height <= MAX_PIXELS and space in ("YCbCr", "RGB", "Gray"):
                return _locked(simplejpeg.decode_jpeg(data, "RGB")), None
        except ValueError:
            pass  # Pillow decides, and words the reason
    return _decode_with_pillow(data)


def _decode_with_pillow(data: bytes | memoryview) -> tuple[np.ndarray | None, str | None]:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP")) as image:
            if image.width * image.height > MAX_PIXELS:
                return None, f"image too large: {image.width} x {image.height}, at most {MAX_PIXELS} pixels"
            return _locked(np.asarray(image.convert("RGB"))), None
    except Image.DecompressionBombError:
        return None, f"image too large: over {MAX_PIXELS} pixels"
    except Exception as error:  # Pillow's decoders raise nearly anything on garbage
        return None, f"image cannot be decoded: {_first_line(error)}"


def _locked(pixels: np.ndarray) -> np.ndarray:
    """Read-only: several operators see the same array."""
    pixels.flags.writeable = False
    return pixels


def _first_line(error: Exception) -> str:
    text = str(error).split("\n")[0] or type(error).__name__
    return "unknown format" if "cannot identify image file" in text else text


def pixel_slices(pixels: Sequence[int], rows: int, budget: int) -> list[tuple[int, int]]:
    """Cut rows 0..n into [start, stop) runs of at most `rows` rows and about `budget` pixels, so that
    decoded images stay bounded. `pixels[i]` is an upper bound or 0 where unknown."""
    cuts, start, total = [], 0, 0
    for row, size in enumerate(pixels):
        if row > start and (row - start >= rows or total + size > budget):
            cuts.append((start, row))
            start, total = row, 0
        total += size
    return [*cuts, (start, len(pixels))] if len(pixels) > start else cuts


class Decoder:
    """Decodes a batch on threads. Counts what it decoded, so that a test can see it happen once."""

    def __init__(self, threads: int) -> None:
        self.pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self.decoded = 0

    def __call__(
        self, data: Sequence[bytes | memoryview | None]
    ) -> list[tuple[np.ndarray | None, str | None]]:
        self.decoded += sum(item is not None for item in data)
        with warnings.catch_warnings():  # Pillow's, on odd files; here, since filters are not per thread
            warnings.simplefilter("ignore")
            return list(self.pool.map(decode, data) if self.pool else map(decode, data))

"""Encoded images to RGB pixels: on threads, of bounded size, with a reason for each image that fails.

decoder = Decoder(threads=4)
for pixels, reason in decoder([jpeg, png, None]):  # one of the two is None
    ...
"""

import io
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

MAX_PIXELS = 89_478_485  # Pillow's own bound against decompression bombs: 256 MiB of RGB


def decode(data: bytes | memoryview | None) -> tuple[np.ndarray | None, str | None]:
    """(pixels, None) or (None, reason). Pixels are (h, w, 3) uint8 RGB, read-only, as Pillow's convert("RGB")
    gives them. libjpeg-turbo decodes JPEG; Pillow decodes PNG, WebP and whatever libjpeg-turbo refuses."""
    if data is None:
        return None, "no image"
    import simplejpeg

    if bytes(data[:2]) == b"\xff\xd8":
        try:
            height, width, space, _ = simplejpeg.decode_jpeg_header(data)
            if width * height <= MAX_PIXELS and space in ("YCbCr", "RGB", "Gray"):
                return _read_only(simplejpeg.decode_jpeg(data, "RGB")), None
        except ValueError:
            pass  # Pillow decides, and words the reason
    return _decode_with_pillow(data)


def _decode_with_pillow(data: bytes | memoryview) -> tuple[np.ndarray | None, str | None]:
    """See `decode`."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP")) as image:
            if image.width * image.height > MAX_PIXELS:
                return None, f"image too large: {image.width} x {image.height}, at most {MAX_PIXELS} pixels"
            return _read_only(np.asarray(image.convert("RGB"))), None
    except Image.DecompressionBombError:
        return None, f"image too large: over {MAX_PIXELS} pixels"
    except Exception as error:  # Pillow's decoders raise nearly anything on garbage
        return None, f"image cannot be decoded: {_first_line(error)}"


def _read_only(pixels: np.ndarray) -> np.ndarray:
    """The same array, locked: several operators see it."""
    pixels.flags.writeable = False
    return pixels


def _first_line(error: Exception) -> str:
    """The first line of Pillow's message, or the error's type without one."""
    text = str(error).split("\n")[0] or type(error).__name__
    return "unknown format" if "cannot identify image file" in text else text


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


class Decoder:
    """Decodes batches on threads. `decoded` counts the images, so that a test can see each decoded once."""

    def __init__(self, threads: int) -> None:
        self.pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self.decoded = 0

    def __call__(
        self, data: Sequence[bytes | memoryview | None]
    ) -> list[tuple[np.ndarray | None, str | None]]:
        """(pixels, None) or (None, reason) per image, in order: see `decode`."""
        self.decoded += sum(item is not None for item in data)
        with warnings.catch_warnings():  # Pillow's, on odd files; here, since filters are not per thread
            warnings.simplefilter("ignore")
            return list(self.pool.map(decode, data) if self.pool else map(decode, data))

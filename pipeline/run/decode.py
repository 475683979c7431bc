"""One encoded image to RGB pixels, of bounded size, or the reason why it cannot be.

    pixels, reason = decode(jpeg)      # one of the two is None

JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF and, with pillow-heif, HEIC are told by their first bytes, whatever the
file is called. Of an animation or of several pages the first is read, of HEIC's the one it calls the primary.
The bounds of `recipe.limits` are checked on headers; libheif refuses a picture larger than its header says.
"""

import io
import re
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from pipeline.pool.fields import HEIC, picture_formats
from pipeline.pool.jpeg_header import usual_jpeg_size
from pipeline.recipe.limits import DEFAULTS, Limits

NO_IMAGE = "no image"  # the reason of a row that has none
MIB = 1 << 20
# Bytes of memory per pixel while a picture is decoded to RGB, as measured; the last for all other formats
COST = {"JPEG": 9, "JPEG CMYK": 12, "WEBP": 16, "AVIF": 10, "HEIF": 14, "": 8}
AT_ONCE = 256 * MIB  # estimated memory of the pictures that threads decode at the same time
STRIP = 256  # rows that are copied at a time: a copy of all would be one too many
MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")  # of a JPEG, with a length or the end
NO_HEIC = "HEIC is read by pillow-heif, which is not installed: pip install 'winnow-curation[heic]'"
START_OF_SCAN, START, END = b"\xff\xda", b"\xff\xd8", b"\xff\xd9"
TILE_WIDTH, TILE_LENGTH, BITS_PER_SAMPLE = 322, 323, 258  # tags of TIFF


Data = bytes | memoryview
Decoded = tuple[Any, str | None]  # (pixels, None) or (None, reason)


class Refused(Exception):
    """A picture that is beyond a limit; the message is the reason."""


def decode(
    data: Data | None, limits: Limits = DEFAULTS, room: "Room | None" = None
) -> tuple[np.ndarray | None, str | None]:
    """(pixels, None) or (None, reason). Pixels are (h, w, 3) uint8 RGB, read-only, as Pillow's convert("RGB")
    gives them. libjpeg-turbo decodes JPEG; Pillow decodes other formats and whatever libjpeg-turbo refuses.
    `room`: shared with the threads that decode other pictures."""
    if data is None:
        return None, NO_IMAGE
    room = room or Room(AT_ONCE)
    data = memoryview(data).cast("B")  # Arrow's are of signed bytes, which equal no bytes
    try:
        pixels = _decode_jpeg(data, limits, room) if data[:2] == START else None
        return _read_only(_decode_with_pillow(data, limits, room) if pixels is None else pixels), None
    except Refused as refused:
        return None, str(refused)
    except Exception as error:  # Pillow's decoders raise nearly anything on garbage
        return None, _reason(error, data, limits)


def _decode_jpeg(data: Data, limits: Limits, room: "Room") -> np.ndarray | None:
    """The pixels of a JPEG; None if Pillow must decide, and word the reason. Raises Refused."""
    import simplejpeg

    try:
        if (size := usual_jpeg_size(data)) is None:
            size, space = _jpeg_header(data, limits)
            if space not in ("YCbCr", "RGB", "Gray"):
                return None
        with room.taken(_jpeg_memory(size, data, limits)):
            pixels: np.ndarray = simplejpeg.decode_jpeg(data, "RGB")
            return pixels
    except ValueError:
        return None


def fits_device(data: Data | None, limits: Limits) -> bool:
    """Whether an image is a JPEG within the limits, in colours that a device takes."""
    data = memoryview(data or b"").cast("B")  # as in `decode`
    if data[:2] != START:
        return False
    try:
        size, space = _jpeg_header(data, limits)
        _jpeg_memory(size, data, limits)
    except (ValueError, Refused):
        return False
    return space in ("YCbCr", "Gray")


def _jpeg_header(data: Data, limits: Limits) -> tuple[tuple[int, int], str]:
    """((width, height), colours) of a JPEG, as libjpeg reads them. Raises ValueError if simplejpeg cannot,
    and Refused for too many scans."""
    import simplejpeg

    _check_scans(data, limits)
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
    except KeyError as unnamed:  # colours sampled 4:4:1, for which simplejpeg has no name
        raise ValueError("an unknown sampling of colours") from unnamed
    return (width, height), space


def _jpeg_memory(size: tuple[int, int], data: Data, limits: Limits) -> int:
    """Bytes that decoding a JPEG takes. Raises Refused."""
    width, height = size
    return _checked(width, height, COST["JPEG"] * width * height, len(data), limits)


def _decode_with_pillow(data: Data, limits: Limits, room: "Room") -> np.ndarray:
    """The pixels of a picture of any format. Raises Refused, and whatever Pillow does."""
    from PIL import Image

    try:
        image: Any = Image.open(io.BytesIO(data), formats=picture_formats())
    except Image.DecompressionBombError as error:
        pixels = next(iter(re.findall(r"\d+", str(error))), "more")
        raise Refused(
            f"image too large: {pixels} pixels, at most {limits.image_pixels} (limits.image_pixels)"
        ) from None
    with image, room.taken(_checked(image.width, image.height, _cost(image), len(data), limits)):
        return _to_array(image)


def _to_array(image: Any) -> np.ndarray:
    """(h, w, 3) uint8 of an opened picture, with as few copies as can be. The picture is closed."""
    if image.mode == "RGB":
        image.load()
        rgb = image
    else:
        rgb = image.convert("RGB")
        image.close()
    pixels = np.empty((rgb.height, rgb.width, 3), np.uint8)
    for top in range(0, rgb.height, STRIP):
        pixels[top : top + STRIP] = np.asarray(rgb.crop((0, top, rgb.width, min(top + STRIP, rgb.height))))
    return pixels


def _cost(image: Any) -> int:
    """Bytes that decoding a picture takes, by the header that Pillow has read."""
    kind = "JPEG" if image.format == "MPO" else image.format
    kind = f"{kind} CMYK" if f"{kind} {image.mode}" in COST else kind
    pixels = image.width * image.height
    cost: int = COST.get(kind, COST[""]) * pixels
    if kind == "TIFF":  # libtiff holds a whole tile or strip, and a tile may be larger than the picture
        tags = image.tag_v2
        tile = tags.get(TILE_WIDTH, 0) * tags.get(TILE_LENGTH, 0)
        cost += max(pixels, tile) * -(-sum(tags.get(BITS_PER_SAMPLE, (8,))) // 8)
    return cost


def _checked(width: int, height: int, cost: int, size: int, limits: Limits) -> int:
    """The estimated bytes of memory `cost` of a picture in a file of `size` bytes. Raises Refused if they or
    the pixels are too many."""
    if width * height > limits.image_pixels:
        raise Refused(
            f"image too large: {width} x {height}, at most {limits.image_pixels} pixels (limits.image_pixels)"
        )
    allowed = limits.image_memory * max(MIB, size)
    if cost > allowed:
        raise Refused(
            f"image too large for its file: {width} x {height} in {size} bytes would take "
            f"{-(-cost // MIB)} MiB, at most {allowed // MIB} (limits.image_memory)"
        )
    return cost


def _check_scans(data: Data, limits: Limits) -> None:
    """Raises Refused for a JPEG with too many scans: each of them visits every block."""
    most = limits.image_scans
    if len(re.findall(START_OF_SCAN, data)) <= most:
        return  # as nearly always; thumbnails in the header are counted here, but not below
    found, at = 0, 2
    while (marker := MARKER.search(data, at)) and marker[0] != END:
        found += marker[0] == START_OF_SCAN
        at = marker.end()
        if marker[0] != START and at + 2 <= len(data):
            at += max(struct.unpack_from(">H", data, at)[0], 2)
        if found > most:
            raise Refused(f"image has too many scans: over {most} (limits.image_scans)")


def _read_only(pixels: np.ndarray) -> np.ndarray:
    """The same array, locked: several operators see it."""
    pixels.flags.writeable = False
    return pixels


def _reason(error: Exception, data: Data, limits: Limits) -> str:
    """Why a picture could not be decoded. Of a JPEG that looked like one with a single scan, the scans are
    counted now: libjpeg ends at the second one, and says no more than that the data are broken."""
    try:
        if data[:2] == START:
            _check_scans(data, limits)
    except Refused as refused:
        return str(refused)
    return f"image cannot be decoded: {_first_line(error, data)}"


def _first_line(error: Exception, data: Data) -> str:
    """The first line of Pillow's message, or the error's type without one."""
    text = str(error).split("\n")[0] or type(error).__name__
    if "cannot identify image file" not in text:
        return text
    heic = data[4:8] == b"ftyp" and data[8:12] in HEIC and "HEIF" not in picture_formats()
    return NO_HEIC if heic else "unknown format"


class Room:
    """Memory that threads share. A picture that needs more than there is waits for others to be done; one
    that needs more than all of it runs alone."""

    def __init__(self, size: int) -> None:
        self._size = self._free = size
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, cost: int) -> Iterator[None]:
        """Within the context, `cost` bytes are taken."""
        cost = min(cost, self._size)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= cost)
            self._free -= cost
        try:
            yield
        finally:
            with self._changed:
                self._free += cost
                self._changed.notify_all()

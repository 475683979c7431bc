"""Fields of a sample that come from untrusted bytes: JSON objects, strings, and the format and size of a
picture; and the limits that they are read within (`pool.limits`).

Parsing never raises; bad values become None.
"""

import io
import json
import math
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath
from typing import Any

import orjson
import polars as pl
import simplejpeg

from pipeline.bounds import Bounds
from pipeline.pool.jpeg_header import usual_jpeg_size

BAD_JSON = "json cannot be parsed"
NO_CAPTION = "no caption"
REPLACED = "\ufffd"  # what takes the place of bytes that are no character
NOT_UTF_8 = "the caption has U+FFFD, where bytes are not UTF-8"
MOST_PIXELS = (1 << 31) - 1  # of a side: an int32
_SURROGATE = re.compile("[\ud800-\udfff]")


SIGNATURES = {  # first bytes of a picture -> its suffix
    b"\xff\xd8": "jpg",
    b"\x89PNG": "png",
    b"GIF8": "gif",
    b"BM": "bmp",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
}
HEIC = b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"
BRANDS = {b"avif": "avif", b"avis": "avif"} | dict.fromkeys(HEIC, "heic")
UNKNOWN_IMAGE = "img"  # the suffix of bytes that are no known picture
# In open_clip's order: the picture that is scored is the one trained on
OPEN_CLIP = ("jpg", "png", "jpeg", "webp")
IMAGES = (*OPEN_CLIP, "jfif", "jpe", "gif", "bmp", "tiff", "tif", "avif", "heic", "heif")
PILLOW_FORMATS = ("PNG", "WEBP", "JPEG", "GIF", "BMP", "TIFF", "AVIF")  # Pillow reads them by itself
UNWRITTEN = ("jfif", "jpe", "heif")  # suffixes that are read, and that no export writes


def image_suffix(start: bytes, path: str) -> str:
    """The suffix that suits a picture, by its first 16 bytes; if they are unknown, by its path."""
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "webp"
    if start[4:8] == b"ftyp":
        return BRANDS.get(start[8:12], UNKNOWN_IMAGE)
    known = next((suffix for signature, suffix in SIGNATURES.items() if start.startswith(signature)), None)
    named = PurePosixPath(path).suffix[1:].lower()
    return known or (named if named in IMAGES and named not in UNWRITTEN else UNKNOWN_IMAGE)


@cache
def picture_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read here. HEIF is one if pillow-heif is installed; it gets one
    thread per picture, since pictures are decoded on threads, and leaves what is beside the picture alone."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return PILLOW_FORMATS
    register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)
    return (*PILLOW_FORMATS, "HEIF")


@dataclass(frozen=True)
class Limits(Bounds):
    """What a sample may have beside the bounds of files, so that a few bytes of a pool cannot fill the
    memory: `limits` of a recipe, whose defaults (recipe/limits.py) are the same.

    json_bytes     of a json: what it parses to takes up to forty times as many
    sample_files   files of a sample of a tar
    join_bytes     of a tar, held to find the files of a sample if it is not sorted by key
    """

    json_bytes: int = 4 << 20
    sample_files: int = 4096
    join_bytes: int = 64 << 20

    @property
    def line_bytes(self) -> int:
        """Of a line of a text table, 16 MiB by default."""
        return 4 * max(self.json_bytes, self.text_bytes)


USUAL = Limits()


def parse(data: bytes | memoryview, most: int = USUAL.json_bytes) -> tuple[dict[str, Any], str | None]:
    """(the JSON object, None), or ({}, why there is none). `most`: bytes that it may have."""
    if len(data) > most:
        return {}, f"{BAD_JSON}: {over(len(data), most, 'json_bytes')}"
    try:
        record = orjson.loads(data)
    except orjson.JSONDecodeError:
        try:  # Python's own json writes NaN and lone surrogates, and many pools were written with it
            record = json.loads(str(data, "utf-8-sig", "replace"))
        except ValueError as error:
            return {}, f"{BAD_JSON}: {str(error)[:100]}"
        except RecursionError:
            return {}, f"{BAD_JSON}: nested too deeply"
    return (record, None) if isinstance(record, dict) else ({}, f"{BAD_JSON}: not an object")


def over(size: int, most: int, limit: str) -> str:
    """The words for something of `size` bytes that is larger than a limit."""
    return f"it has {size:,} bytes, allowed are {most:,} (limits.{limit})"


def escaped(name: str) -> str:
    """A name with valid characters only: bytes that are not UTF-8, which are surrogates in it, become
    %XX."""
    if name.isascii():
        return name
    return _SURROGATE.sub(lambda match: percent(match.group()), name)


def percent(character: str) -> str:
    """The bytes of a character as %XX; those of a surrogate are what a file system that is not UTF-8 has."""
    try:
        data = character.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        data = character.encode("utf-8", "surrogatepass")
    return "".join(f"%{byte:02X}" for byte in data)


def first_string(value: object) -> str | None:
    """The first of a list of captions, or the value itself; as `string` gives it."""
    return string(value[0]) if isinstance(value, list) and value else string(value)


def number_or_string(value: object) -> str | None:
    """As `first_string`, and numbers as text. NaN and infinity, objects and Booleans count as missing."""
    if type(value) is int or type(value) is float and math.isfinite(value):
        return str(value)
    return first_string(value)


def string(value: object) -> str | None:
    """A string that UTF-8 can hold: lone surrogates become U+FFFD. None if the value is not a string."""
    if not isinstance(value, str):
        return None
    return (
        value
        if value.isascii()
        else value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    )


def pixels(value: object) -> int | None:
    """A side in pixels; None if the value cannot be one."""
    return value if type(value) is int and 0 < value <= MOST_PIXELS else None


def pixels_of(column: str) -> pl.Expr:
    """A column of sides in pixels, Int32; null if a value cannot be one. Numbers may come as text."""
    side = pl.col(column).cast(pl.Float64, strict=False)
    return pl.when(side.is_between(1, MOST_PIXELS)).then(side).cast(pl.Int32).alias(column)


def image_size(data: bytes | memoryview) -> tuple[int | None, int | None]:
    """(width, height) in pixels from the header of an encoded image; (None, None) if it cannot be read."""
    is_jpeg = data[:2] == b"\xff\xd8"
    if is_jpeg and (usual := usual_jpeg_size(data)):
        return usual
    for read in (_jpeg_size, _pillow_size) if is_jpeg else (_pillow_size,):
        try:
            width, height = read(data)
        except Exception:  # noqa: BLE001, S112 - these libraries raise nearly anything on garbage
            continue
        return pixels(width), pixels(height)
    return None, None


def _jpeg_size(data: bytes | memoryview) -> tuple[int, int]:
    height, width, *_ = simplejpeg.decode_jpeg_header(data, strict=False)
    return width, height


def _pillow_size(data: bytes | memoryview) -> tuple[int, int]:
    """The size as Image.open finds it, but without its bound on pixels, so that the size of a decompression
    bomb is recorded."""
    from PIL import Image

    Image.init()
    for name in picture_formats():
        factory, accepts = Image.OPEN[name]
        if accepts is None or accepts(bytes(data[:16])) is True:
            with suppress(SyntaxError), factory(io.BytesIO(data), "") as image:  # AVIF and HEIC share a brand
                return image.size
    raise ValueError("unknown format")

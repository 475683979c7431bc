"""One sample of a WebDataset tar: which members belong to it, and the row that describes it.

Consecutive members with the same name up to the first dot of the basename are a sample, as in the
webdataset library. Differs: the library raises on a repeated suffix; here a new sample begins. The library
takes `v1.5_cat.jpg` for sample `v1`; here a key ends at the last dot, unless a member close by has a suffix
without dots (`v1.jpg`).

The contents of a sample are untrusted: nothing in them raises. If something is missing or broken, `error`
says so.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import simplejpeg

from pipeline.pool.fields import BAD_JSON, NO_CAPTION, parse, pixels, string
from pipeline.pool.tar import MAX_MEMBER, Member
from pipeline.uids import sample_uid

NO_IMAGE = "no image member"
NO_JSON = "no json"
LARGE = f"larger than {MAX_MEMBER >> 20} MiB"
LARGE_IMAGE = f"image member {LARGE}"
# The first four in open_clip's order: the picture that is scored is the one trained on
IMAGES = (
    *("jpg", "png", "jpeg", "webp"),
    *("jfif", "jpe", "gif", "bmp", "tiff", "tif", "avif", "heic", "heif"),
)
LOOK_AHEAD = 256  # members with one stem after which their keys are settled
LOOK_AHEAD_BYTES = 64 << 20
META = re.compile(r"__[^/]*__($|/)")  # names of members by which webdataset describes the tar itself
PILLOW_FORMATS = ("PNG", "WEBP", "JPEG", "GIF", "BMP", "TIFF", "AVIF")


Named = tuple[str, str, Member]  # key, suffix as written, member
Ranges = tuple[int | None, int, int | None, int | None]  # offset, length, image_offset, image_length


class Sample(NamedTuple):
    """Consecutive members with one key, by suffix (in lower case, dots included)."""

    key: str
    members: dict[str, Member]


def group(members: Iterable[Member]) -> Iterator[Sample]:
    """Put members together to samples. A suffix that is repeated under a key begins another sample."""
    key = ""
    fields = dict[str, Member]()
    for name, suffix, member in _keyed(members):
        suffix = suffix.lower()
        if name != key or suffix in fields:
            if fields:
                yield Sample(key, fields)
            key = name
            fields = {}
        fields[suffix] = member
    if fields:
        yield Sample(key, fields)


def split_name(name: str) -> tuple[str, str] | None:
    """(key, suffix) at the first dot of the basename; None for names that webdataset passes over too."""
    folder, slash, base = name.rpartition("/")
    stem, dot, suffix = base.partition(".")
    if not stem or not dot or (name.startswith("__") and META.match(name)):
        return None
    return folder + slash + stem, suffix


def _keyed(members: Iterable[Member]) -> Iterator[Named]:
    """Each member with its key. The first members of a run with one stem are held until their keys are
    settled.

    A member with a negative offset stands for the one that is cut at a break in the tar.
    """
    stem = None
    plain: bool | None = None  # whether keys of this stem end at the first dot; None: not settled yet
    usual: bool | None = None  # the same of the stem before
    held: list[Named] = []
    for member in members:
        parts = split_name(member.name)
        if member.offset < 0 and usual and plain is None and (not parts or parts[0] == stem):
            yield from held  # the tar breaks off before this stem is settled: take it like the one before
            held = []
            plain = True
        if parts is None:
            continue
        item = (*parts, member)
        if item[0] != stem:
            yield from map(_at_last_dot, held)
            stem = item[0]
            usual = plain
            plain = None
            held = []
        if plain is None:
            held.append(item)
            plain = _settled(held)
            if plain is not None:
                yield from held if plain else map(_at_last_dot, held)
                held = []
        else:
            yield item if plain else _at_last_dot(item)
    yield from map(_at_last_dot, held)


def _settled(held: list[Named]) -> bool | None:
    """True once a suffix without dots has come, False if none has come for too long, else None."""
    if "." not in held[-1][1]:
        return True
    full = len(held) >= LOOK_AHEAD or sum(item[2].size for item in held) >= LOOK_AHEAD_BYTES
    return False if full else None


def _at_last_dot(item: Named) -> Named:
    """The same member with a key that ends at the last dot."""
    key, _, suffix = f"{item[0]}.{item[1]}".rpartition(".")
    return key, suffix, item[2]


def tar_ranges(members: Sequence[Member], image: Member | None) -> Ranges:
    """Where a sample and its image lie in their tar."""
    start = members[0].header_offset
    length = members[-1].end - start
    return (start, length, image.offset, image.size) if image else (start, length, None, None)


def describe(
    sample: Sample,
    shard: str,
    row: int,
    occurrence: int,
    ranges: Callable[[Sequence[Member], Member | None], Ranges] = tar_ranges,
) -> tuple[Any, ...]:
    """The sample's row: one value per field of SAMPLE_SCHEMA, then the encoded image or None.

    `occurrence` counts the earlier samples of the shard with the same key.
    """
    members = list(sample.members.values())
    suffix = next((name for name in IMAGES if name in sample.members), None)
    image = sample.members[suffix] if suffix else None
    data = image.data if image else None
    record, trouble = _record(sample.members.get("json"))
    text = _text(sample.members.get("txt"), record)
    url = string(record.get("url"))
    missing = None if data is not None else LARGE_IMAGE if image else NO_IMAGE
    reasons = (missing, NO_CAPTION if text is None else None, trouble)
    return (
        shard,
        row,
        sample_uid(record.get("uid"), text, url, shard, sample.key, occurrence),
        sample.key,
        text,
        url,
        *(image_size(data) if data is not None else (None, None)),
        pixels(record.get("original_width")),
        pixels(record.get("original_height")),
        *ranges(members, image),
        suffix,
        "; ".join(filter(None, reasons)) or None,
        data,
    )


def _record(member: Member | None) -> tuple[dict[str, Any], str | None]:
    """(the object in the json member, None), or ({}, why there is none)."""
    if member is None:
        return {}, NO_JSON
    if member.data is None:
        return {}, f"{BAD_JSON}: {LARGE}"
    return parse(member.data)


def _text(member: Member | None, record: dict[str, Any]) -> str | None:
    """The caption: the txt member, else `caption` or `text` of the json."""
    if member is not None and member.data is not None:
        return str(member.data, "utf-8", "replace")
    caption = string(record.get("caption"))
    return caption if caption is not None else string(record.get("text"))


def image_size(data: bytes | memoryview) -> tuple[int | None, int | None]:
    """(width, height) in pixels from the header of an encoded image; (None, None) if it cannot be read."""
    for read in (_jpeg_size, _pillow_size) if data[:2] == b"\xff\xd8" else (_pillow_size,):
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
    for name in PILLOW_FORMATS:
        factory, accepts = Image.OPEN[name]
        if accepts is None or accepts(bytes(data[:16])) is True:
            with factory(io.BytesIO(data), "") as image:
                return image.size
    raise ValueError("unknown format")

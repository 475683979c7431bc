"""One sample of a WebDataset tar: which members belong to it, and the row that describes it.

Members with the same name up to the first dot of the basename, one after the other, are a sample, as
the webdataset library has it. Differs: it raises on a repeated suffix, here a new sample begins; it
takes `v1.5_cat.jpg` for sample `v1`, here the key is the name without its last suffix where nothing
near has a suffix without dots (`v1.jpg`) to say otherwise.

What a sample holds is untrusted: nothing in it raises. What is missing or broken is a reason in `error`.
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

NO_IMAGE, NO_JSON = "no image member", "no json"
LARGE = f"larger than {MAX_MEMBER >> 20} MiB"
LARGE_IMAGE = f"image member {LARGE}"
IMAGES = (
    "jpg",
    "png",
    "jpeg",
    "webp",
)  # open_clip's order: the picture scored is the one trained on
LOOK_AHEAD = 256  # members after which names without a plain suffix are settled
LOOK_AHEAD_BYTES = 64 << 20
META = re.compile(r"__[^/]*__($|/)")  # webdataset's members about the tar, not in it
PILLOW_FORMATS = ("PNG", "WEBP", "JPEG", "GIF", "BMP", "TIFF")


Named = tuple[str, str, Member]  # key, suffix as written, member
Ranges = tuple[int | None, int, int | None, int | None]  # offset, length, image_offset, image_length


class Sample(NamedTuple):
    """Members with one key, one after the other, by suffix (lower case, dots included)."""

    key: str
    members: dict[str, Member]


def group(members: Iterable[Member]) -> Iterator[Sample]:
    """Put members together to samples; a suffix that comes again under a key begins another sample."""
    key, fields = "", dict[str, Member]()
    for name, suffix, member in _keyed(members):
        suffix = suffix.lower()
        if name != key or suffix in fields:
            if fields:
                yield Sample(key, fields)
            key, fields = name, {}
        fields[suffix] = member
    if fields:
        yield Sample(key, fields)


def split_name(name: str) -> tuple[str, str] | None:
    """(key, suffix) at the first dot of the basename, None for what webdataset passes over too."""
    folder, slash, base = name.rpartition("/")
    stem, dot, suffix = base.partition(".")
    if not stem or not dot or (name.startswith("__") and META.match(name)):
        return None
    return folder + slash + stem, suffix


def _keyed(members: Iterable[Member]) -> Iterator[Named]:
    """Name each member's key. The first of a run with one stem are held until a suffix settles it.

    A member with a negative offset stands for what a break in the tar has taken.
    """
    stem, plain, usual = None, None, None  # whether keys end at the first dot; None: not settled
    held: list[Named] = []
    for member in members:
        parts = split_name(member.name)
        if member.offset < 0 and usual and plain is None and (not parts or parts[0] == stem):
            yield from held  # the tar breaks before this run is settled: take it as the one before
            held, plain = [], True
        if parts is None:
            continue
        item = (*parts, member)
        if item[0] != stem:
            yield from map(_at_last_dot, held)
            stem, plain, usual, held = item[0], None, plain, []
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
    """True once a plain suffix came, False where none came for too long, None before."""
    if "." not in held[-1][1]:
        return True
    full = len(held) >= LOOK_AHEAD or sum(item[2].size for item in held) >= LOOK_AHEAD_BYTES
    return False if full else None


def _at_last_dot(item: Named) -> Named:
    key, _, suffix = f"{item[0]}.{item[1]}".rpartition(".")
    return key, suffix, item[2]


def in_tar(members: Sequence[Member], image: Member | None) -> Ranges:
    """Where a sample and its image lie in their tar."""
    start = members[0].header_offset
    length = members[-1].end - start
    return (start, length, image.offset, image.size) if image else (start, length, None, None)


def describe(
    sample: Sample,
    shard: str,
    row: int,
    occurrence: int,
    ranges: Callable[[Sequence[Member], Member | None], Ranges] = in_tar,
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
    """(the json member's object, why there is none)."""
    if member is None:
        return {}, NO_JSON
    if member.data is None:
        return {}, f"{BAD_JSON}: {LARGE}"
    return parse(member.data)


def _text(member: Member | None, record: dict[str, Any]) -> str | None:
    if member is not None and member.data is not None:
        return str(member.data, "utf-8", "replace")
    caption = string(record.get("caption"))
    return caption if caption is not None else string(record.get("text"))


def image_size(data: bytes | memoryview) -> tuple[int | None, int | None]:
    """(width, height) in pixels as the encoded image's header states; (None, None) if unreadable."""
    for read in (_jpeg_size, _pillow_size) if data[:2] == b"\xff\xd8" else (_pillow_size,):
        try:
            width, height = read(data)
        except Exception:  # noqa: BLE001, S112 - on garbage these libraries raise nearly anything
            continue
        return pixels(width), pixels(height)
    return None, None


def _jpeg_size(data: bytes | memoryview) -> tuple[int, int]:
    height, width, *_ = simplejpeg.decode_jpeg_header(data, strict=False)
    return width, height


def _pillow_size(data: bytes | memoryview) -> tuple[int, int]:
    """What Image.open finds, less its bound on pixels: the size of a bomb is worth recording."""
    from PIL import Image

    Image.init()
    for name in PILLOW_FORMATS:
        factory, accepts = Image.OPEN[name]
        if accepts is None or accepts(bytes(data[:16])) is True:
            with factory(io.BytesIO(data), "") as image:
                return image.size
    raise ValueError("unknown format")

"""One sample of a WebDataset tar: which members belong to it, and the row that describes it.

Consecutive members with the same name up to the first dot of the basename are a sample, as in the
webdataset library. Differs: the library raises on a repeated suffix; here a new sample begins. The library
takes `v1.5_cat.jpg` for sample `v1`; here a key ends at the last dot, unless a member close by has a suffix
without dots (`v1.jpg`). Beside `IMG.1.jpg` and `IMG.1.txt`, `IMG.1.thumb.jpg` is one more file of `IMG.1`:
it has no caption of its own, and what comes after the key begins with a letter.

Captions are UTF-8, and are kept as they are, byte order mark and NUL included, since open_clip trains on
them so. Bytes that are not UTF-8 become U+FFFD; a caption in UTF-16 counts as missing. Of a list of captions
in the json, the first is taken, unless the recipe says where captions are (`pool.caption`): then all are.

The contents of a sample are untrusted: nothing in them raises. If something is missing or broken, `error`
says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from pipeline.pool.captions import KEY, TXT, Captions, captions_of, uid_text
from pipeline.pool.fields import (
    BAD_JSON,
    IMAGES,
    NO_CAPTION,
    NOT_UTF_8,
    REPLACED,
    USUAL,
    Limits,
    escaped,
    first_string,
    image_size,
    over,
    parse,
    pixels,
    string,
)
from pipeline.pool.tar import MAX_MEMBER, Member
from pipeline.uids import sample_uid

NO_IMAGE = "no image member"
NO_JSON = "no json"
LARGE = f"larger than {MAX_MEMBER >> 20} MiB"
UTF_16 = b"\xff\xfe", b"\xfe\xff"  # byte order marks, which are never UTF-8
LARGE_IMAGE = f"image member {LARGE}"
LOOK_AHEAD = 256  # members with one stem after which their keys are settled
LOOK_AHEAD_BYTES = 64 << 20
CAPTIONS = ("txt", "json")  # suffixes of members that may hold the caption
META = re.compile(r"__[^/]*__($|/)")  # names of members by which webdataset describes the tar itself

Named = tuple[str, str, Member]  # key, suffix as written, member
Ranges = tuple[int | None, int, int | None, int | None]  # offset, length, image_offset, image_length


class Sample(NamedTuple):
    """The members with one key, by suffix (in lower case, dots included). `trouble`: what is wrong with it as
    a whole."""

    key: str
    members: dict[str, Member]
    trouble: str = ""


def group(members: Iterable[Member]) -> Iterator[Sample]:
    """Put consecutive members together to samples. A suffix that is repeated under a key begins another
    sample."""
    key = ""
    fields = dict[str, Member]()
    for name, suffix, member in keyed(members):
        suffix = suffix.lower()
        if name != key or suffix in fields:
            if fields:
                yield Sample(escaped(key), fields)
            key = name
            fields = {}
        fields[suffix] = member
    if fields:
        yield Sample(escaped(key), fields)


def split_name(name: str) -> tuple[str, str] | None:
    """(key, suffix) at the first dot of the basename; None for names that webdataset passes over too."""
    folder, slash, base = name.rpartition("/")
    stem, dot, suffix = base.partition(".")
    if not stem or not dot or (name.startswith("__") and META.match(name)):
        return None
    return folder + slash + stem, suffix


def keyed(members: Iterable[Member], is_key: Callable[[str], bool] = lambda stem: False) -> Iterator[Named]:
    """Each member with its key. The first members of a run with one stem are held until their keys are
    settled. `is_key`: whether a sample with that key came before.

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
            if held:
                yield from _at_last_dots(held)
            stem = item[0]
            usual = plain
            plain = True if "." in item[1] and is_key(stem) else None
            held = []
        if plain:
            yield item
            continue
        if plain is False and held and not _is_family(held, item):
            yield from _at_last_dots(held)
            held = []
        held.append(item)
        if plain is None:
            plain = _settled(held)
        if plain:
            yield from held
        elif plain is False and len(held) >= LOOK_AHEAD:
            yield from _at_last_dots(held)
        else:
            continue
        held = []
    yield from _at_last_dots(held)


def _settled(held: list[Named]) -> bool | None:
    """True once a suffix without dots has come, False if none has come for too long, else None."""
    if "." not in held[-1][1]:
        return True
    full = len(held) >= LOOK_AHEAD or sum(item[2].size for item in held) >= LOOK_AHEAD_BYTES
    return False if full else None


def _is_family(held: list[Named], item: Named) -> bool:
    """Whether an item's key goes on where the first held one's ends, or is the same."""
    first = _at_last_dot(held[0])[0]
    key = _at_last_dot(item)[0]
    return key == first or key.startswith(f"{first}.")


def _at_last_dots(held: list[Named]) -> Iterator[Named]:
    """The same members of one stem with keys that end at the last dot. A key without a caption that goes on
    after another key is one more file of that one's."""
    items = [_at_last_dot(item) for item in held]
    keys = {key for key, _, _ in items}
    if len(keys) < 2:
        yield from items
        return
    captioned = {key for key, suffix, _ in items if suffix.lower() in CAPTIONS}
    for key, suffix, member in items:
        owner, more = (key, "") if key in captioned else _owner(key, keys)
        yield owner, f"{more}{suffix}", member


def _owner(key: str, keys: Collection[str]) -> tuple[str, str]:
    """(the key that this one goes on after, the rest with a dot), or (the key itself, "")."""
    more = ""
    shorter = key
    while "." in shorter.rpartition("/")[2]:
        shorter, _, part = shorter.rpartition(".")
        more = f"{part}.{more}"
        if shorter in keys and part[:1].isalpha():
            return shorter, more
    return key, ""


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
    limits: Limits = USUAL,
    places: Sequence[str] = (),
) -> tuple[Any, ...]:
    """The sample's row: one value per field of SAMPLE_SCHEMA, the captions if the recipe names `places` for
    them (`txt`, `json.KEY`), then the encoded image or None.

    `occurrence` counts the earlier samples of the shard with the same key. With any places, the uid is that
    of a recipe without them, if that finds a text (`uid_text`).
    """
    members = list(sample.members.values())
    suffix = _image_suffix(sample)
    image = sample.members[suffix] if suffix else None
    data = image.data if image and not sample.trouble else None
    record, no_record = _record(sample.members.get("json"), limits)
    text, no_text = _text(sample.members.get(TXT), record, limits)
    url = string(record.get("url"))
    usual = text
    captions: list[str] = []
    if places:
        captions, no_text = _chosen(sample, record, places, limits)
        text = next(iter(captions), None)
    named = uid_text(usual, text) if places else text
    uid = sample_uid(record.get("uid"), named, url, shard, sample.key, occurrence)
    replaced = NOT_UTF_8 if text and REPLACED in text else None
    no_image = None if data is not None else (image.trouble or LARGE_IMAGE) if image else NO_IMAGE
    return (
        shard,
        row,
        uid,
        sample.key,
        text,
        url,
        *(image_size(data) if data is not None else (None, None)),
        pixels(record.get("original_width")),
        pixels(record.get("original_height")),
        *ranges(members, image),
        suffix,
        sample.trouble or "; ".join(filter(None, (no_image, no_text, replaced, no_record))) or None,
        *([captions] if places else []),
        data,
    )


def _image_suffix(sample: Sample) -> str | None:
    """The suffix of the image member: the first of IMAGES that has contents, else the first that is there."""
    first = None
    for name in IMAGES:
        if (member := sample.members.get(name)) is not None:
            if not member.trouble:
                return name
            first = first or name
    return first


def _record(member: Member | None, limits: Limits) -> tuple[dict[str, Any], str | None]:
    """(the object in the json member, None), or ({}, why there is none)."""
    if member is None:
        return {}, NO_JSON
    if member.data is None:
        return {}, f"{BAD_JSON}: {member.trouble or LARGE}"
    return parse(member.data, limits.json_bytes)


def _text(member: Member | None, record: dict[str, Any], limits: Limits) -> tuple[str | None, str | None]:
    """(the caption, None), or (None, why there is none): the txt member, else `caption` or `text` of the
    json."""
    text, fault = _txt(member, limits)
    if text is not None:
        return text, None
    if member is not None and member.data is not None:
        return None, f"{NO_CAPTION}: it {fault}"
    text = first_string(record.get("caption"))
    text = text if text is not None else first_string(record.get("text"))
    if text is None:
        return None, NO_CAPTION + (f": {fault}" if fault else "")
    size = len(text) if text.isascii() else len(text.encode())
    if size > limits.caption_bytes:
        return None, f"{NO_CAPTION}: {over(size, limits.caption_bytes, 'caption_bytes')}"
    return text, None


def _txt(member: Member | None, limits: Limits) -> tuple[str | None, str | None]:
    """(the text of the txt member, None), or (None, why it cannot be read, or None if there is none)."""
    if member is None:
        return None, None
    if member.data is None:
        return None, member.trouble or LARGE
    if member.size > limits.caption_bytes:
        return None, over(member.size, limits.caption_bytes, "caption_bytes").removeprefix("it ")
    if member.data[:2] in UTF_16 and member.size > 1:
        return None, "is UTF-16, and captions are UTF-8"
    return str(member.data, "utf-8", "replace"), None


def _chosen(sample: Sample, record: dict[str, Any], places: Sequence[str], limits: Limits) -> Captions:
    """The captions at the places that the recipe names."""
    txt = _txt(sample.members.get(TXT), limits)
    found = ((p, *txt) if p == TXT else (p, record.get(p.removeprefix(KEY)), None) for p in places)
    return captions_of(found, limits)

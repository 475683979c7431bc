"""Pictures of chosen samples, small enough for a page, from wherever the pool lies.

    cost = Cost()
    for row, look in zip(rows, looks(session, "00017", rows, [], cost, 256)):
        look.picture or look.why

Every picture is decoded as operators get it, within the recipe's limits, and encoded by us: no byte of the
pool gets into a page. One that cannot be read or decoded has a reason instead. Samples of tars are fetched
by their byte ranges, neighbours together; the cost is counted.
"""

import io
import warnings
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline.errors import ShardError, WinnowError, worded
from pipeline.plan.session import Session
from pipeline.pool.fetching import Fetch
from pipeline.pool.fields import first_string, parse, string
from pipeline.pool.kinds.kind import MEMBER_COLUMNS, Fields, MembersOf
from pipeline.pool.shards import Shard
from pipeline.progress import Tick, nobody
from pipeline.run.decode import Room, decode
from pipeline.storage.retry import from_storage

COLUMNS = (*MEMBER_COLUMNS, "image_format", "text")  # of a sample, which `looks` needs
QUALITY = 82  # of a JPEG
MOST_CAPTIONS = 20  # of a sample
NO_PICTURES = "the pool has no pictures"
NO_PICTURE = "no image"

Pixels = np.ndarray  # (h, w, 3) uint8
Paint = Callable[[Pixels], Pixels | None]  # a picture -> another way to see it, if there is one


@dataclass
class Cost:
    """What pictures cost: requests to other storage, or reads of local files; the bytes that came; and how
    many pictures were made."""

    requests: int = 0
    bytes: int = 0
    pictures: int = 0

    @property
    def told(self) -> str:
        """The cost in words, as commands say it."""
        requests = "1 request" if self.requests == 1 else f"{self.requests:,} requests"
        return f"pictures: {self.pictures:,}, {requests}, {self.bytes / 1e6:,.1f} MB"

    def add(self, other: "Cost") -> None:
        """Add what other pictures cost."""
        self.requests += other.requests
        self.bytes += other.bytes
        self.pictures += other.pictures


@dataclass(frozen=True)
class Picture:
    """A small picture of one sample.

    data           a JPEG
    width, height  pixels
    scale          its width divided by that of the sample's picture
    """

    data: bytes
    width: int
    height: int
    scale: float

    @property
    def uri(self) -> str:
        """The picture inside an address, as a page holds it."""
        return f"data:image/jpeg;base64,{b64encode(self.data).decode()}"


@dataclass(frozen=True)
class Look:
    """What a sample's files show: its picture, or why there is none; the picture as an operator sees it, if
    that was asked for and differs; and its captions."""

    picture: Picture | None = None
    why: str | None = None
    painted: Picture | None = None
    captions: tuple[str, ...] = ()


@contextmanager
def without_warnings() -> Iterator[None]:
    """Within the block, Pillow does not warn of odd files. For one thread at a time, as filters are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def looks(
    session: Session,
    shard: str,
    rows: Sequence[Mapping[str, Any]],
    paints: Sequence[Paint],
    cost: Cost,
    side: int,
    room: Room | None = None,
    done: Tick = nobody,
) -> list[Look]:
    """A look for each sample of a shard. `rows`: with COLUMNS; `paints`: for each of them, or none at all;
    `side`: most pixels of a picture's longer side; `room`: shared with threads that look at other shards,
    whose caller has silenced Pillow's warnings; `done` is called as samples are done, whatever becomes of
    them. Adds to `cost`. Never raises because of a sample or a shard."""
    captions = [(row["text"],) if row["text"] is not None else () for row in rows]
    found = [Look(why=NO_PICTURES, captions=own) for own in captions]
    where = next((known for known in session.shards if known.name == shard), None)
    left = len(rows)
    if not session.kind.has_images or where is None:
        done(left)
        return found
    fetch = Fetch([(r["offset"], r["length"]) for r in rows if r["offset"] is not None and r["length"]])
    try:
        with nullcontext() if room else without_warnings():
            for at, look in _looks(session, where, rows, paints, side, fetch, room):
                found[at] = look
                left -= 1
                done(1)
    except Exception as error:
        if not (isinstance(error, ShardError) or from_storage(error)):
            raise
        found = [Look(why=_reason(error), captions=own) for own in captions]
    done(left)
    cost.requests += fetch.requests
    cost.bytes += fetch.bytes
    cost.pictures += sum(look.picture is not None for look in found)
    return found


def _looks(
    session: Session,
    shard: Shard,
    rows: Sequence[Mapping[str, Any]],
    paints: Sequence[Paint],
    side: int,
    fetch: Fetch,
    room: Room | None,
) -> Iterator[tuple[int, Look]]:
    """The place of each sample in `rows` and its look, in the order of the shard. Raises ShardError, and what
    storage raises, if the shard is gone, or is not the one that was read."""
    with session.kind.members(shard, fetch) as members_of:
        for at in sorted(range(len(rows)), key=lambda at: rows[at]["row"]):
            paint = paints[at] if paints else None
            yield at, _look(session, members_of, rows[at], paint, side, room)


def _look(
    session: Session,
    members_of: MembersOf,
    row: Mapping[str, Any],
    paint: Paint | None,
    side: int,
    room: Room | None,
) -> Look:
    """What the files of one sample show. Raises what storage raises."""
    own = () if row["text"] is None else (row["text"],)
    try:
        fields = members_of(row)
    except ShardError as error:
        return Look(why=_reason(error), captions=own)
    captions = _captions(fields, row["text"])
    image = next((data for s, data in fields if s.lower() == row["image_format"]), None)
    pixels, why = decode(image, session.recipe.limits, room)
    if pixels is None:
        return Look(why=why or NO_PICTURE, captions=captions)
    look = Look(thumbnail(pixels, side), captions=captions)
    painted = None if paint is None else paint(pixels)
    return look if painted is None else replace(look, painted=thumbnail(painted, side))


def thumbnail(pixels: Pixels, side: int) -> Picture:
    """A picture, at most `side` pixels wide and high; never larger than it was."""
    from PIL import Image

    picture = Image.fromarray(pixels)
    width, height = picture.size
    scale = min(1.0, side / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=QUALITY, optimize=True)
    return Picture(out.getvalue(), *size, size[0] / width)


def _captions(fields: Fields, text: str | None) -> tuple[str, ...]:
    """The caption that operators see, and those that stand beside it in a list in the sample's json."""
    found = [] if text is None else [text]
    for value in (v for suffix, data in fields if suffix.lower() == "json" for v in parse(data)[0].values()):
        if isinstance(value, list) and text is not None and first_string(value) == text:
            found += [caption for item in value if (caption := string(item)) is not None]
    return tuple(dict.fromkeys(found))[:MOST_CAPTIONS]


def _reason(error: Exception) -> str:
    """Why a picture cannot be read, on one line."""
    return str(error) if isinstance(error, WinnowError) else worded(error)

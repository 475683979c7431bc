"""A contact sheet: pictures before and after their text is painted over, for people who check masks by
eye."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from operators.text import MaskedClipScore
from pipeline.errors import RecipeError
from pipeline.plan.session import Session
from pipeline.plan.stored import require
from pipeline.run.decode import decode
from pipeline.schema import owner
from pipeline.storage.folder import publishing_at
from pipeline.storage.ranges import ByteRanges

FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}


def write_sheet(session: Session, name: str, out: str, pictures: int) -> int:
    """Write the first `pictures` of the pool that have text, masked as the operator `name` masks them;
    returns how many there are. Raises RecipeError."""
    operator = session.recipe.operator(name) if name in session.recipe.compute else None
    if not isinstance(operator, MaskedClipScore):
        raise RecipeError(f"sheet: {name} is no text.MaskedClipScore of the recipe")
    if Path(out).suffix.lower() not in FORMATS:
        raise RecipeError(f"sheet: {out} must end in {', '.join(FORMATS)}")
    if (boxes := owner(operator.boxes)) is not None:
        require(session, [boxes])
    pairs, titles = list[tuple[np.ndarray, np.ndarray]](), list[str]()
    for image, found, title in _with_text(session, operator.boxes):
        pairs.append((image, operator.masked(image, found)))
        titles.append(title)
        if len(pairs) == pictures:
            break
    with publishing_at(out) as path:
        contact_sheet(pairs, titles).save(path, FORMATS[Path(out).suffix.lower()])
    return len(pairs)


def _with_text(session: Session, boxes: str) -> Iterator[tuple[np.ndarray, list[list[int]], str]]:
    """(pixels, boxes, caption) of the samples that have boxes, in pool order."""
    columns = session.columns
    for shard in session.shards:
        frame = columns.read(shard.name, ["image_offset", "image_length", "text", boxes])
        with ByteRanges(shard.path) as tar:
            for offset, length, text, found in frame.iter_rows():
                pixels = decode(tar.read(offset, length))[0] if found else None
                if pixels is not None:
                    yield pixels, found, text or ""


def contact_sheet(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]], titles: Sequence[str], columns: int = 3, side: int = 320
) -> Image.Image:
    """Pictures before and after, side by side with a title each, `columns` pairs a row. A sheet of none is
    one blank cell."""
    rows = max(1, math.ceil(len(pairs) / columns))
    sheet = Image.new("RGB", (columns * (2 * side + 12), rows * (side + 28)), "white")
    canvas = ImageDraw.Draw(sheet)
    for place, (pair, title) in enumerate(zip(pairs, titles, strict=True)):
        left, top = place % columns * (2 * side + 12), place // columns * (side + 28)
        canvas.text((left + 4, top + 4), title.encode("latin-1", "replace").decode("latin-1")[:90], "black")
        for half, pixels in enumerate(pair):
            picture = Image.fromarray(pixels)
            picture.thumbnail((side, side))
            sheet.paste(picture, (left + 4 + half * (side + 2), top + 22))
    return sheet

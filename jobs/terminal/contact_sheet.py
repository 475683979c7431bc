"""A contact sheet: pictures before and after their text is painted over, for people who check masks by
eye."""

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image, ImageDraw

from jobs.terminal.console import shown
from operators.text import MaskedClipScore
from pipeline.errors import RecipeError
from pipeline.export.places.file import check_file, writing_file
from pipeline.plan.session import Session
from pipeline.plan.stored import require
from pipeline.pool.kinds.kind import MEMBER_COLUMNS
from pipeline.run.decode import decode
from pipeline.schema import owner

FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}
GAP = 12  # pixels between pairs
TITLE = 28  # pixels of a row above its pictures
TITLE_LENGTH = 90  # characters


def write_sheet(session: Session, name: str, out: str, most: int) -> int:
    """Write a sheet of the first samples of the pool that have text, masked as the operator `name` masks
    them; at most `most`. Returns how many it shows. Raises RecipeError."""
    operator = session.recipe.operator(name) if name in session.recipe.compute else None
    if not isinstance(operator, MaskedClipScore):
        raise RecipeError(f"sheet: {name} is not a text.MaskedClipScore of the recipe")
    suffix = Path(out).suffix.lower()
    if suffix not in FORMATS:
        raise RecipeError(f"sheet: {out} must end in {', '.join(FORMATS)}")
    check_file(out, "sheet")
    if (boxes_owner := owner(operator.boxes)) is not None:
        require(session, [boxes_owner])
    pairs = list[tuple[np.ndarray, np.ndarray]]()
    captions = list[str]()
    for pixels, boxes, caption in islice(_samples_with_text(session, operator.boxes), most):
        pairs.append((pixels, operator.masked(pixels, boxes)))
        captions.append(caption)
    with writing_file(out, "sheet", {"export": "sheet"}) as path:
        contact_sheet(pairs, captions).save(path, FORMATS[suffix])
    return len(pairs)


def _samples_with_text(
    session: Session, boxes_column: str
) -> Iterator[tuple[np.ndarray, list[list[int]], str]]:
    """(pixels, boxes, caption) of the samples that have boxes and can be decoded, in pool order."""
    columns = session.columns
    for shard in session.shards:
        frame = columns.read(shard.name, [*MEMBER_COLUMNS, "image_format", "text", boxes_column])
        with session.kind.members(shard) as members_of:
            for row in frame.filter(pl.col(boxes_column).list.len() > 0).iter_rows(named=True):
                image = next((d for s, d in members_of(row) if s.lower() == row["image_format"]), None)
                pixels = decode(image)[0]
                if pixels is not None:
                    yield pixels, row[boxes_column], row["text"] or ""


def contact_sheet(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]], titles: Sequence[str], columns: int = 3, side: int = 320
) -> Image.Image:
    """Pairs of pictures, (h, w, 3) uint8, side by side under their titles: `columns` pairs per row, each
    picture at most `side` pixels wide and high. A sheet without pairs is one blank cell."""
    rows = max(1, math.ceil(len(pairs) / columns))
    width, height = 2 * side + GAP, side + TITLE
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    canvas = ImageDraw.Draw(sheet)
    for number, (pair, title) in enumerate(zip(pairs, titles, strict=True)):
        left, top = number % columns * width, number // columns * height
        drawn = shown(title[:TITLE_LENGTH]).encode("latin-1", "replace")  # the font has no other characters
        canvas.text((left + 4, top + 4), drawn.decode("latin-1")[:TITLE_LENGTH], "black")
        for half, pixels in enumerate(pair):
            picture = Image.fromarray(pixels)
            picture.thumbnail((side, side))
            sheet.paste(picture, (left + 4 + half * (side + 2), top + 22))
    return sheet

"""Contact sheets: pictures beside each other, each with its uid, value, fate and caption."""

from collections.abc import Sequence

from PIL import Image, ImageDraw

from pipeline.errors import RecipeError
from pipeline.view.cards import Card
from pipeline.view.gallery.drawing import clipped, legible, opened, wrapped, write_text
from pipeline.view.gallery.labels import Label

SIDE = 208  # pixels of a picture's longer side
GAP = 12  # pixels around a cell
TEXT, LINE = 11, 15  # pixels: the height of letters and of lines
CAPTION_LINES = 3
LINES = 3 + CAPTION_LINES  # of a cell: uid, value, fate
HEAD = 40  # pixels of the title
WIDTH = 1780  # pixels of a sheet, at most
MOST_ROWS = 15
COLOURS = {"kept": "#1a6e35", "dropped": "#b3261e", "failed": "#8a4b00"}
FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}
HEIGHT = SIDE + LINES * LINE + GAP  # of a cell


def columns(pairs: bool) -> int:
    """How many cells are beside each other."""
    return (WIDTH - GAP) // (_width(pairs) + GAP)


def most_cells(pairs: bool) -> int:
    """How many cells a sheet can have: it must be possible to open it."""
    return columns(pairs) * MOST_ROWS


def check_count(count: int, pairs: bool, out: str) -> None:
    """Raises RecipeError if a sheet cannot hold so many."""
    if count > (most := most_cells(pairs)):
        what = "pairs of pictures" if pairs else "pictures"
        raise RecipeError(
            f"--count: one sheet holds at most {most} {what}, got {count:,}; name a folder for --out instead "
            f"of {out}: it gets as many sheets as it needs"
        )


def sheet(cards: Sequence[Card], labels: Sequence[Label], title: str, pairs: bool) -> Image.Image:
    """A contact sheet. `pairs`: pictures before and after masking."""
    across = max(1, min(columns(pairs), len(cards)))
    down = max(1, -(-len(cards) // across))
    width = max(GAP + across * (_width(pairs) + GAP), 640)
    page = Image.new("RGB", (width, HEAD + down * HEIGHT + GAP), "white")
    canvas = ImageDraw.Draw(page)
    write_text(canvas, (GAP, GAP), clipped(legible(title), 15, width - 2 * GAP), 15, "black")
    for number, (card, text) in enumerate(zip(cards, labels, strict=True)):
        left = GAP + number % across * (_width(pairs) + GAP)
        _draw_cell(page, canvas, left, HEAD + number // across * HEIGHT, card, text, pairs)
    return page


def _width(pairs: bool) -> int:
    """Pixels of a cell."""
    return 2 * SIDE + GAP // 2 if pairs else SIDE


def _draw_cell(
    page: Image.Image,
    canvas: ImageDraw.ImageDraw,
    left: int,
    top: int,
    card: Card,
    text: Label,
    pairs: bool,
) -> None:
    """One sample: its picture, or two, and the texts below."""
    _draw_picture(page, canvas, left, top, card, text)
    if pairs and card.picture is not None:
        after = left + SIDE + GAP // 2
        if card.masked is not None:
            page.paste(opened(card.masked), (after, top))
        else:
            _draw_blank(canvas, after, top, "the operator sees the picture as it is")
    at = top + SIDE + 4
    fate = f"{text.fate}: {text.reason}" if text.reason else text.fate
    for line, colour in ((text.uid, "#444444"), (fate, COLOURS[text.fate]), (text.value, "black")):
        if line:
            write_text(canvas, (left, at), clipped(legible(line), TEXT, _width(pairs)), TEXT, colour)
            at += LINE
    more = f" (and {len(text.captions) - 1} more)" if len(text.captions) > 1 else ""
    for line in wrapped(text.captions[0] + more, TEXT, _width(pairs), CAPTION_LINES):
        write_text(canvas, (left, at), line, TEXT, "black")
        at += LINE


def _draw_picture(
    page: Image.Image, canvas: ImageDraw.ImageDraw, left: int, top: int, card: Card, text: Label
) -> None:
    """A sample's picture, or why it has none."""
    if card.picture is None:
        _draw_blank(canvas, left, top, text.why_no_picture)
        return
    page.paste(opened(card.picture), (left, top))


def _draw_blank(canvas: ImageDraw.ImageDraw, left: int, top: int, why: str) -> None:
    """A field in the place of a picture."""
    canvas.rectangle((left, top, left + SIDE - 1, top + SIDE - 1), "#eeeeee")
    for number, line in enumerate(wrapped(why, TEXT, SIDE - 16, 8)):
        write_text(canvas, (left + 8, top + 8 + number * LINE), line, TEXT, "#444444")

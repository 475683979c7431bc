"""Contact sheets: pictures beside each other, each with its uid, value, fate and caption."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Protocol

from PIL import Image, ImageDraw

from pipeline.errors import RecipeError
from pipeline.view.gallery.drawing import opened, wrapped, write_text
from pipeline.view.gallery.labels import Label
from pipeline.view.pictures import Picture

SIDE = 208  # pixels of a picture's longer side
GAP = 12  # pixels around a cell
TEXT, LINE = 11, 15  # pixels: the height of letters and of lines
CAPTION_LINES = 3
FATE_LINES = 8  # what became of a sample, and why
TITLE, TITLE_LINES = 15, 3  # pixels and lines of the title
WIDTH = 1780  # pixels of a sheet, at most
MOST_ROWS = 15
COLOURS = {"kept": "#1a6e35", "dropped": "#b3261e", "failed": "#8a4b00"}
FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}


class Pictured(Protocol):
    """What a sheet or page shows of a sample: a Card, or less. `masked`: see Card."""

    @property
    def picture(self) -> Picture | None:
        """None if it cannot be shown."""

    @property
    def masked(self) -> Picture | None:
        """None if it was not asked for."""


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


def sheet(cards: Sequence[Pictured], labels: Sequence[Label], title: str, pairs: bool) -> Image.Image:
    """A contact sheet. `pairs`: pictures before and after masking."""
    across = max(1, min(columns(pairs), len(cards)))
    width = max(GAP + across * (_width(pairs) + GAP), 640)
    head = wrapped(title, TITLE, width - 2 * GAP, TITLE_LINES)
    below = [_lines(text, _width(pairs)) for text in labels]
    rows = [below[at : at + across] for at in range(0, len(below), across)]
    heights = [SIDE + 4 + max(map(len, row)) * LINE + GAP for row in rows]
    tops = list(accumulate(heights, initial=2 * GAP + len(head) * (TITLE + 4)))
    page = Image.new("RGB", (width, tops[-1] + GAP), "white")
    canvas = ImageDraw.Draw(page)
    for number, line in enumerate(head):
        write_text(canvas, (GAP, GAP + number * (TITLE + 4)), line, TITLE, "black")
    for number, (card, text) in enumerate(zip(cards, labels, strict=True)):
        at = (GAP + number % across * (_width(pairs) + GAP), tops[number // across])
        _draw_pictures(page, canvas, at, card, text, pairs)
        for place, (line, colour) in enumerate(below[number]):
            write_text(canvas, (at[0], at[1] + SIDE + 4 + place * LINE), line, TEXT, colour)
    return page


def _width(pairs: bool) -> int:
    """Pixels of a cell."""
    return 2 * SIDE + GAP // 2 if pairs else SIDE


def _lines(text: Label, width: int) -> list[tuple[str, str]]:
    """The lines below a picture, of so many pixels, with their colours."""
    fate = f"{text.fate}: {text.reason}" if text.reason else text.fate
    more = f" (and {len(text.captions) - 1} more)" if len(text.captions) > 1 else ""
    texts = (
        (text.uid, "#444444", 1),
        (fate, COLOURS.get(text.fate, "black"), FATE_LINES),
        (text.value, "black", 1),
        (text.captions[0] + more, "black", CAPTION_LINES),
    )
    return [(line, colour) for whole, colour, most in texts for line in wrapped(whole, TEXT, width, most)]


def _draw_pictures(
    page: Image.Image,
    canvas: ImageDraw.ImageDraw,
    at: tuple[int, int],
    card: Pictured,
    text: Label,
    pairs: bool,
) -> None:
    """The picture of a sample, or two."""
    _draw_picture(page, canvas, *at, card, text)
    if pairs and card.picture is not None:
        after = at[0] + SIDE + GAP // 2
        if card.masked is not None:
            page.paste(opened(card.masked), (after, at[1]))
        else:
            _draw_blank(canvas, after, at[1], "the operator sees the picture as it is")


def _draw_picture(
    page: Image.Image, canvas: ImageDraw.ImageDraw, left: int, top: int, card: Pictured, text: Label
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

"""One sample as a picture: what it shows, with boxes, beside its caption, verdicts and evidence.

write_sample(session, explanation, "sample.png", cost)
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import NamedTuple

from PIL import Image, ImageDraw

from pipeline.decide.explain import Explanation
from pipeline.errors import RecipeError
from pipeline.export.places.file import check_new_file, writing_file
from pipeline.plan.session import Session
from pipeline.view.cards import Card, Cost, cards
from pipeline.view.gallery.drawing import clipped, legible, opened, wrapped, write_text
from pipeline.view.gallery.labels import figure, label
from pipeline.view.gallery.sheet import COLOURS, FORMATS

SHOW = "--show"
SIDE = 512  # pixels of the picture's longer side
BLANK = 240  # pixels of the field in the place of one that cannot be shown
TEXT, LINE = 13, 18  # pixels: the height of letters and of lines
WIDTH = 620  # pixels of the texts
GAP = 16
CAPTION_LINES, EVIDENCE_ROWS, MOST_LINES = 12, 6, 110
VERDICTS = {"passes": COLOURS["kept"], "no value, passes": COLOURS["kept"], "fails": COLOURS["dropped"]}
BOX = "#ff00c8"


class Line(NamedTuple):
    """A line of text, and its colour."""

    text: str
    colour: str = "black"


def check_sample(session: Session, out: str) -> None:
    """Raises RecipeError if a picture cannot be written to `out`; before any work."""
    if PurePath(out).suffix.lower() not in FORMATS:
        raise RecipeError(f"{SHOW}: must end in {', '.join(FORMATS)}, got {out}")
    check_new_file(session, out, SHOW)


def sample_picture(session: Session, explanation: Explanation, cost: Cost) -> Image.Image:
    """The picture of a sample; adds to `cost`."""
    (card,) = cards(session, [(explanation.shard, explanation.row)], SIDE, cost, evidence=False)
    return draw(card, explanation)


def write_sample(session: Session, explanation: Explanation, out: str, cost: Cost) -> None:
    """Write the picture of a sample; adds to `cost`. Raises RecipeError as `check_sample` does."""
    check_sample(session, out)
    image = sample_picture(session, explanation, cost)
    with writing_file(out, SHOW, {"export": "sample"}) as path:
        image.save(path, FORMATS[PurePath(out).suffix.lower()])


def draw(card: Card, explanation: Explanation) -> Image.Image:
    """A card beside what an explanation says of it."""
    lines = list(_lines(card, explanation))
    if len(lines) > MOST_LINES:
        lines = [
            *lines[:MOST_LINES],
            Line(f"and {len(lines) - MOST_LINES} more lines, which `explain` prints"),
        ]
    width, height = (card.picture.width, card.picture.height) if card.picture else (BLANK, BLANK)
    size = width + WIDTH + 3 * GAP, max(height, len(lines) * LINE) + 2 * GAP
    page = Image.new("RGB", size, "white")
    canvas = ImageDraw.Draw(page)
    if card.picture is None:
        canvas.rectangle((GAP, GAP, GAP + BLANK, GAP + BLANK), "#eeeeee")
        for number, line in enumerate(wrapped(card.why_no_picture or "", TEXT, BLANK - 2 * GAP, 10)):
            write_text(canvas, (2 * GAP, 2 * GAP + number * LINE), line, TEXT, "#444444")
    else:
        page.paste(_with_boxes(card), (GAP, GAP))
    for number, (text, colour) in enumerate(lines):
        write_text(canvas, (width + 2 * GAP, GAP + number * LINE), text, TEXT, colour)
    return page


def _with_boxes(card: Card) -> Image.Image:
    """The picture, with what operators found marked on it."""
    assert card.picture is not None
    image = opened(card.picture)
    canvas = ImageDraw.Draw(image)
    for box in card.boxes:
        canvas.polygon(list(box.points), outline=BOX, width=2)
    return image


def _lines(card: Card, explanation: Explanation) -> Iterator[Line]:
    """The texts beside the picture, each short enough."""
    text = label(card, "")
    yield Line(clipped(legible(text.uid), TEXT, WIDTH))
    yield Line(clipped(legible(f"{text.fate}  {text.name}"), TEXT, WIDTH), COLOURS[text.fate])
    for caption in text.captions:
        yield Line("")
        yield from map(Line, wrapped(caption, TEXT, WIDTH, CAPTION_LINES))
    yield Line("")
    for rule in explanation.rules:
        drawn = "" if rule.draw is None else f", draw {figure(rule.draw)}"
        said = f"{rule.rule} {figure(rule.value)}: {rule.verdict} ({rule.bound}{drawn})"
        colour = VERDICTS.get(rule.verdict, COLOURS["failed"])
        yield from (Line(line, colour) for line in wrapped(said, TEXT, WIDTH, 2))
    for operator, rows in explanation.evidence.items():
        yield Line("")
        yield Line(clipped(legible(operator), TEXT, WIDTH), "#444444")
        yield from map(Line, _evidence(rows))


def _evidence(rows: Sequence[Mapping[str, object]]) -> Iterator[str]:
    """Rows of evidence: words with their counts one after the other, longer rows below each other."""
    texts = ["   ".join(figure(value) for value in row.values()) for row in rows]
    if all(len(row) <= 2 for row in rows):
        short = ", ".join(text.replace("   ", " ") for text in texts)
        yield from wrapped(short, TEXT, WIDTH, EVIDENCE_ROWS)
        return
    yield from (clipped(legible(text), TEXT, WIDTH) for text in texts[:EVIDENCE_ROWS])
    if len(rows) > EVIDENCE_ROWS:
        yield f"and {len(rows) - EVIDENCE_ROWS:,} more"

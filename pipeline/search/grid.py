"""Hits as pictures: one contact sheet, or one page, with the score and the caption of each.

check_grid(session, "cars.png", 60)
write_grid(session, Found(["a red car"], hits), "cars.png", cost)
"""

import io
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from pipeline.errors import RecipeError, ShardError, printable, shortened
from pipeline.export.places.file import check_new_file, writing_file
from pipeline.plan.session import Session
from pipeline.search.hits import Found
from pipeline.search.samples import Shown, pictures
from pipeline.view.gallery.labels import MOST_CAPTION, NO_CAPTION, Label, plain
from pipeline.view.gallery.page import Section, page, with_pictures
from pipeline.view.gallery.sheet import FORMATS, SIDE, most_cells, sheet
from pipeline.view.pictures import Cost

GRID = "--grid"
PAGE = (".html", ".htm")
PAGE_SIDE = 256  # pixels of a picture's longer side on a page
MOST_ON_PAGE = 600
QUALITY = 88


def check_grid(session: Session, out: str, count: int) -> None:
    """Raises RecipeError if so many hits cannot be shown in `out`; before any work."""
    suffix = PurePath(out).suffix.lower()
    if suffix not in (*FORMATS, *PAGE):
        raise RecipeError(f"{GRID}: must end in {', '.join((*FORMATS, *PAGE))}, got {out}")
    most = MOST_ON_PAGE if suffix in PAGE else most_cells(False)
    if count > most:
        other = "" if suffix in PAGE else f"; a page (.html) holds {MOST_ON_PAGE}"
        raise RecipeError(
            f"{GRID}: a {suffix} holds at most {most} pictures, and --k asks for {count:,}{other}"
        )
    check_new_file(session, out, GRID)


def write_grid(session: Session, found: Found, out: str, cost: Cost) -> None:
    """Write the pictures; adds to `cost`. Raises RecipeError if Winnow did not write what lies at `out`, and
    ShardError if the pool has pictures, and none of them can be shown."""
    suffix = PurePath(out).suffix.lower()
    is_page = suffix in PAGE
    shown = pictures(session, found.hits.rows, PAGE_SIDE if is_page else SIDE, cost)
    if shown and session.kind.has_images and not any(one.picture for one in shown.values()):
        why = min(one.why for one in shown.values())
        raise ShardError(f"{GRID}: no picture of {len(shown):,} samples: {printable(shortened(why))}")
    cells = list(_cells(found, shown))
    title = shortened(f"{', '.join(found.names)} ({len(cells):,} found)")
    if is_page:
        samples = [with_pictures(card, label) for card, label in cells]
        data = page(printable(title), [Section(samples)] if samples else [], None, PAGE_SIDE)
    else:
        image = sheet([card for card, _ in cells], [label for _, label in cells], title, False)
        file = io.BytesIO()
        image.save(file, FORMATS[suffix], **({"quality": QUALITY} if FORMATS[suffix] == "JPEG" else {}))
        data = file.getvalue()
    with writing_file(out, GRID, {"export": "search"}) as path, open(path, "wb") as written:
        written.write(data)


def _cells(found: Found, shown: Mapping[tuple[str, int], Shown]) -> Iterator[tuple[Shown, Label]]:
    """Each hit with its picture, query after query, the best first."""
    for row in found.hits.rows.iter_rows(named=True):
        card = shown[(row["shard"], row["row"])]
        yield card, _label(row, found.names[row["query"]] if len(found.names) > 1 else "", card.why)


def _label(row: Mapping[str, Any], query: str, why: str) -> Label:
    """What is said of a hit."""
    value = f"{row['score']:.3f}" + (f"  {plain(shortened(query, 60))}" if query else "")
    caption = plain(shortened(row["caption"], MOST_CAPTION)) if row["caption"] is not None else NO_CAPTION
    name = printable(f"{row['shard']}/{row['key']}")
    return Label(row["uid"], name, "", value, "", (caption,), printable(why))

"""Write a gallery: a page, a contact sheet, or a folder of sheets with a page to leaf through them.

    write_gallery(session, Choice(places, "demo: dropped"), "dropped.html", cost)

    dropped.html        one page with the pictures in it
    dropped.jpg, .png   one contact sheet
    dropped/            sheet-001.jpg, ... of 60 samples each, and index.html

What somebody else has put there is left alone (export/places/).
"""

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import orjson

from pipeline.decide.lookup import Place
from pipeline.errors import RecipeError
from pipeline.export.places.file import check_new_file, writing_file
from pipeline.export.places.folder import MANIFEST, ExportFolder
from pipeline.export.places.stage import Stage
from pipeline.plan.outputs import check_output_file
from pipeline.plan.session import Session
from pipeline.plan.stored import require
from pipeline.progress import Tick, begun
from pipeline.view.cards import Card, Cost, cards, painters
from pipeline.view.gallery.labels import Label, label, values
from pipeline.view.gallery.page import Sample, Section, page, with_pictures
from pipeline.view.gallery.sheet import FORMATS, SIDE, check_count, sheet

OUT = "--out"
PAGE = (".html", ".htm")
PAGE_SIDE = 256  # pixels of a picture's longer side on a page
MOST_ON_PAGE = 600
PER_SHEET = 60
INDEX = "index.html"
FORMAT = 1  # raise it when the same choice gives other bytes
MOST_SHEETS = 10_000  # a manifest is a file, and its numbers are not to be trusted
QUALITY = 88  # of a sheet


@dataclass(frozen=True)
class Choice:
    """What a gallery shows.

    title   of the page
    sort    the column whose value is shown with each sample
    masked  the operator as which pictures are shown beside what they are
    """

    places: Sequence[Place]
    title: str
    sort: str | None = None
    masked: str | None = None


def check_gallery(session: Session, out: str, count: int, pairs: bool) -> None:
    """Raises RecipeError if a gallery of `count` samples cannot be written to `out`; before any work."""
    suffix = PurePath(out).suffix.lower()
    if suffix in PAGE and count > MOST_ON_PAGE:
        raise RecipeError(
            f"--count: one page holds at most {MOST_ON_PAGE} samples, got {count:,}; name a folder for {OUT} "
            f"instead of {out}"
        )
    if suffix in FORMATS:
        check_count(count, pairs, out)
    if suffix in FORMATS or suffix in PAGE:
        check_new_file(session, out, OUT)
    elif suffix and not out.endswith("/"):
        endings = ", ".join((*PAGE, *FORMATS))
        raise RecipeError(f"{OUT}: must end in {endings}, or be a folder, got {out}; a folder may end in /")
    else:
        check_output_file(
            OUT, f"{out.rstrip('/')}/{INDEX}", session.recipe, session.kind, session.shards, session.searched
        )
        _place(out).check()


def check_masked(session: Session, name: str | None) -> None:
    """Raises RecipeError if an operator does not see pictures otherwise than they are, or is not computed."""
    if name is None:
        return
    known = painters(session)
    if name not in known:
        those = f"those that do: {', '.join(known)}" if known else "none of the recipe's does"
        raise RecipeError(f"--masked: {name} does not see pictures otherwise than they are; {those}")
    require(session, [name])


def write_gallery(session: Session, choice: Choice, out: str, cost: Cost) -> str:
    """Write a gallery; adds to `cost`. Returns the path to open. Raises RecipeError, and HeldError if another
    process is writing there."""
    suffix = PurePath(out).suffix.lower()
    if suffix not in FORMATS and suffix not in PAGE:
        return _write_folder(session, choice, out, cost)
    made = _cards(session, choice, choice.places, PAGE_SIDE if suffix in PAGE else SIDE, cost)
    if suffix in PAGE:
        samples = [with_pictures(card, text) for card, text in made]
        data = page(choice.title, [Section(samples)] if samples else [], choice.masked, PAGE_SIDE)
    else:
        data = _sheet(made, choice, choice.title, FORMATS[suffix])
    with writing_file(out, OUT, {"export": "gallery"}) as path, open(path, "wb") as file:
        file.write(data)
    return out


def _cards(
    session: Session, choice: Choice, places: Sequence[Place], side: int, cost: Cost, done: Tick | None = None
) -> list[tuple[Card, Label]]:
    """Some of the samples, with their labels. `done`: see `cards`."""
    made = cards(session, places, side, cost, masked=choice.masked or False, evidence=False, done=done)
    shown = values(session, places, choice.sort)
    return [(card, label(card, shown.get(place, ""))) for card, place in zip(made, places, strict=True)]


def _sheet(made: Sequence[tuple[Card, Label]], choice: Choice, title: str, format: str) -> bytes:
    """One contact sheet, encoded."""
    out = io.BytesIO()
    image = sheet([card for card, _ in made], [text for _, text in made], title, choice.masked is not None)
    image.save(out, format, **({"quality": QUALITY} if format == "JPEG" else {}))
    return out.getvalue()


# --- a folder -------------------------------------------------------------------------------------


def _write_folder(session: Session, choice: Choice, out: str, cost: Cost) -> str:
    """Write the sheets one after the other, then the page."""
    place = _place(out)
    pages = [choice.places[at : at + PER_SHEET] for at in range(0, len(choice.places), PER_SHEET)]
    wanted = {"export": "gallery", "choice": _digest(session, choice), "sheets": len(pages), "without": 0}
    with place.writing(wanted, f"gallery of {session.recipe.name}") as stage:
        if not stage.complete:
            without = _write_sheets(session, choice, pages, stage, cost)
            stage.finish(lambda: None, {"without": without})
    return f"{out.rstrip('/')}/{INDEX}"


def _write_sheets(
    session: Session, choice: Choice, pages: Sequence[Sequence[Place]], stage: Stage, cost: Cost
) -> int:
    """Write all files; returns how many samples have no picture: another run may find them."""
    sections, without = [], 0
    tick = begun("drawing sheets", len(choice.places))
    for number, places in enumerate(pages):
        made = _cards(session, choice, places, SIDE, cost, tick)
        title = f"{choice.title} - {number + 1} of {len(pages)}"
        stage.publish(_name(number), _sheet(made, choice, title, "JPEG"))
        sections.append(Section([Sample(text) for _, text in made], _name(number)))
        without += sum(card.picture is None for card, _ in made)
    stage.publish(INDEX, page(choice.title, sections, choice.masked, SIDE))
    return without


def _digest(session: Session, choice: Choice) -> str:
    """A digest of all that the files depend on, but for pictures that could not be read."""
    shown = [FORMAT, session.decisions, choice.title, choice.sort, choice.masked, list(choice.places)]
    return hashlib.blake2b(orjson.dumps(shown), digest_size=16).hexdigest()


def _place(out: str) -> ExportFolder:
    """The folder of a gallery."""
    return ExportFolder(out.rstrip("/"), OUT, MANIFEST, _names)


def _names(manifest: Mapping[str, Any]) -> Iterator[str]:
    """The files that a manifest names."""
    if manifest["export"] != "gallery":
        raise ValueError
    yield INDEX
    yield from map(_name, range(min(int(manifest["sheets"]), MOST_SHEETS)))


def _name(number: int) -> str:
    """The name of one sheet."""
    return f"sheet-{number + 1:03d}.jpg"

"""The page of a gallery: HTML that needs nothing but itself, or the sheets beside it. Texts are escaped."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.view.gallery.labels import Label
from pipeline.view.gallery.sheet import Pictured
from pipeline.view.pictures import Picture

MOST_ALT = 200  # characters of the text that stands for a picture


@dataclass(frozen=True)
class Sample:
    """A sample on a page; `picture` and `masked` are data URIs, or empty."""

    label: Label
    picture: str = ""
    masked: str = ""

    @property
    def alt(self) -> str:
        """What stands for the picture where it is not seen."""
        return self.label.captions[0][:MOST_ALT]


@dataclass(frozen=True)
class Section:
    """Samples that belong together. `sheet`: the file of their pictures, or empty if they have them on the
    page."""

    samples: Sequence[Sample]
    sheet: str = ""


def with_pictures(card: Pictured, label: Label) -> Sample:
    """A sample whose pictures are on the page."""
    return Sample(label, _uri(card.picture), _uri(card.masked))


def page(title: str, sections: Sequence[Section], masked: str | None, side: int) -> bytes:
    """The page. `masked`: the operator as which pictures are shown, too; `side`: pixels of a picture."""
    sheets = any(section.sheet for section in sections)
    images = "'self' file:" if sheets else "data:"
    width = 2 * side if masked and not sheets else side
    text: str = _template().render(title=title, sections=sections, masked=masked, images=images, width=width)
    return text.encode()


def _uri(picture: Picture | None) -> str:
    """A picture as a data URI."""
    return "" if picture is None else picture.uri


@cache
def _template() -> Any:
    """The template beside this file."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, loader=FileSystemLoader(Path(__file__).parent)
    )
    return environment.get_template("page.html")

"""Text on pictures, with the font that comes with Pillow. It has Latin letters; others it shows as boxes."""

import io
from functools import lru_cache
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from pipeline.errors import printable
from pipeline.view.pictures import Picture

LONGEST = 2000  # characters of a text that is laid out
MORE = "..."


@lru_cache
def font(size: int) -> Any:
    """The font in a size."""
    return ImageFont.load_default(size)


def legible(text: str) -> str:
    """A text on one line, as the font can draw it."""
    shown = printable(text[:LONGEST])
    try:
        font(12).getlength(shown)
    except UnicodeError:  # Pillow without FreeType has Latin-1 alone
        return shown.encode("latin-1", "replace").decode("latin-1")
    return shown


def width_of(text: str, size: int) -> float:
    """Pixels."""
    return float(font(size).getlength(text))


def wrapped(text: str, size: int, width: int, most: int) -> list[str]:
    """A text in lines of at most `width` pixels, `most` of them; the last one says if there was more."""
    lines = [""]
    words = [word for word in legible(text).split(" ") if word]
    while words:
        word = words.pop(0)
        joined = f"{lines[-1]} {word}".strip()
        if width_of(joined, size) <= width:
            lines[-1] = joined
        elif lines[-1]:
            lines.append("")
            words.insert(0, word)
        else:
            fits = _fitting(word, size, width)
            lines[-1] = word[:fits]
            words.insert(0, word[fits:])
        if len(lines) > most:
            return [*lines[: most - 1], clipped(f"{lines[most - 1]} {MORE}", size, width)]
    return [line for line in lines if line]


def clipped(text: str, size: int, width: int) -> str:
    """The beginning of a text that fits into `width` pixels; its end says if there was more."""
    if width_of(text, size) <= width:
        return text
    room = width - int(width_of(MORE, size))
    return text[: _fitting(text, size, room)] + MORE


def _fitting(text: str, size: int, width: int) -> int:
    """How many characters of a text fit, at least one."""
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if width_of(text[:middle], size) <= width else (low, middle - 1)
    return low


def write_text(canvas: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int, colour: str) -> None:
    """Draw a line of text that `wrapped` or `clipped` gave."""
    canvas.text(at, text, colour, font(size))


def opened(picture: Picture) -> Image.Image:
    """A small picture that was encoded by us."""
    return Image.open(io.BytesIO(picture.data)).convert("RGB")

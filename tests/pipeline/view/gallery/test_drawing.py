"""Texts on pictures are cut to size, and no text of a stranger makes trouble."""

import pytest
from PIL import Image, ImageDraw

from pipeline.view.gallery.drawing import clipped, font, legible, width_of, wrapped, write_text

TEXTS = [
    "",
    "a plain caption of some length",
    "\u202eright to left\u202c \u0634\u062d\u0646 \u4e2d\u6587 \U0001f600\U0001f9d1\u200d\U0001f680",
    "x" * 10_000,
    " ".join(["word"] * 5000),
    "\ud800 half a character",
    "\x1b[31m\n\t\r\0",
    "a\u0301" * 300,
]


@pytest.mark.parametrize("text", TEXTS)
def test_lines_fit(text):
    for most in (1, 3):
        lines = wrapped(text, 11, 100, most)
        assert len(lines) <= most
        assert all(width_of(line, 11) <= 100 for line in lines)
        canvas = ImageDraw.Draw(Image.new("RGB", (120, 60)))
        for line in lines:
            write_text(canvas, (0, 0), line, 11, "white")
    assert width_of(clipped(legible(text), 11, 60), 11) <= 60


def test_what_is_left_out_is_said():
    assert wrapped("one two", 11, 500, 2) == ["one two"]
    assert wrapped("one two", 11, int(width_of("one ", 11)) + 2, 2) == ["one", "two"]
    assert wrapped("one two three", 11, int(width_of("three ...", 11)) + 1, 1)[0].endswith("...")
    assert clipped("abc", 11, 500) == "abc"


def test_without_freetype_texts_are_latin(monkeypatch):
    class Bitmap:
        def getlength(self, text: str) -> float:
            return 6.0 * len(text.encode("latin-1"))

    monkeypatch.setattr("pipeline.view.gallery.drawing.font", lambda size: Bitmap())
    assert legible("caf\u00e9 \u4e2d") == "caf\u00e9 ?"
    assert font(11) is not None

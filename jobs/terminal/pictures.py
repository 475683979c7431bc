"""Pictures in a terminal that can show them: by Kitty's graphics protocol, or by Sixel, as iTerm2, WezTerm,
foot, Konsole and others have it. textual-image asks the terminal which of them it understands."""

import os
import sys
from typing import TYPE_CHECKING

from jobs.terminal.console import console
from pipeline.errors import RecipeError

if TYPE_CHECKING:
    from PIL.Image import Image

FILE_INSTEAD = "name a file instead: --show FILE.png"


def check_terminal() -> None:
    """Raises RecipeError if pictures cannot be shown, with the next step."""
    _renderable()


def show(image: "Image") -> None:
    """Show a picture on stdout. Raises RecipeError as `check_terminal` does."""
    console.print(_renderable()(image))


def _renderable() -> type:
    """textual-image's class for this terminal."""
    if not console.file.isatty() or sys.stdin is None or not sys.stdin.isatty():
        raise RecipeError(f"--show: this is not a terminal; {FILE_INSTEAD}")
    try:
        from textual_image import renderable
    except ImportError:
        raise RecipeError(
            "--show: textual-image is not installed: pip install 'winnow-curation[terminal]'; or "
            f"{FILE_INSTEAD}"
        ) from None
    if renderable.Image not in (renderable.SixelImage, renderable.TGPImage):
        raise RecipeError(
            f"--show: this terminal understands neither Kitty's graphics nor Sixel; {FILE_INSTEAD}"
        )
    if not os.get_terminal_size(console.file.fileno()).columns:  # textual-image would divide by it
        raise RecipeError(f"--show: this terminal does not tell its size; {FILE_INSTEAD}")
    return renderable.Image

"""winnow sheet: pictures before and after masking, since people check masks with their eyes."""

from typing import Annotated

import typer

from jobs.commands.options import Overrides, RecipePath
from pipeline.plan.stored import complete


def sheet(
    recipe: RecipePath,
    name: Annotated[str, typer.Argument(help="a text.MaskedClipScore of the recipe")],
    out: Annotated[str, typer.Argument(metavar="OUT", help="picture to write: .jpg or .png")],
    set_: Overrides = None,
    pictures: Annotated[int, typer.Option(min=1, max=300, help="at most so many")] = 30,
) -> None:
    """A contact sheet of pictures before and after their text is masked."""
    from jobs import steps
    from jobs.terminal.contact_sheet import write_sheet

    session = steps.open_session(recipe, set_, None)
    write_sheet(complete(session), name, out, pictures)
    print(out)

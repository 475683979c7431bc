"""`winnow sheet`: pictures before and after masking, so that people can check the masks by eye."""

from typing import Annotated

import typer

from jobs.commands.options import Overrides, RecipePath, Verbose
from jobs.terminal.console import put
from pipeline.plan.stored import complete


def sheet(
    recipe: RecipePath,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The recipe's name for a text.MaskedClipScore.")
    ],
    out: Annotated[str, typer.Argument(metavar="OUT", help="Picture to write; ends in .jpg or .png.")],
    set_: Overrides = None,
    pictures: Annotated[
        int, typer.Option(metavar="N", min=1, max=300, help="Most pictures on the sheet.")
    ] = 30,
    verbose: Verbose = False,
) -> None:
    """Draw pictures before and after their text is painted over.

    The pictures are the first of the pool in which text was found. The operator
    that finds it (such as text.TextBoxes) must be computed.

    Example:

      winnow sheet recipe.yaml masked sheet.jpg --pictures 60
    """
    from jobs import steps
    from jobs.terminal.contact_sheet import write_sheet

    session = steps.open_session(recipe, set_, None)
    write_sheet(complete(session), name, out, pictures)
    put(out)

"""Where the command line shows something: the only module that decides how a text gets to a terminal.

    console.print("damaged:", shard)       # stderr; names and captions show as they are, whatever they hold
    console.print(styled("changed", "yellow"), text)
    say(f"error: {message}")               # one line on stderr, never folded
    put(path)                              # one line on stdout, for programs

Keys, captions, names and reasons come from strangers. They may hold escape sequences that move the cursor or
write to the clipboard, marks that turn the direction of text, and brackets that rich takes for markup. So
every text is shown with what is not printable escaped (`pipeline.errors.printable`), and nothing is markup.
"""

import os
import sys
from typing import Any

import typer
from rich.console import Console as RichConsole
from rich.text import Text

from pipeline.errors import WinnowError, printable, shortened

MOST_CHARACTERS = 4000  # of a text that is shown
WIDTH = 120  # of a log file, which need not be as narrow as 80
NARROWEST, WIDEST = 20, 1000  # columns that are believed; COLUMNS=0 would show nothing


class Console(RichConsole):
    """A console on stderr that shows every text as it is."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"stderr": True, "highlight": False, "emoji": False, "markup": False, **options})
        if "width" not in options and not self.is_terminal:
            self.width = WIDTH
        elif not NARROWEST <= self.width <= WIDEST:
            self.width = NARROWEST if self.width < NARROWEST else WIDEST

    def render_str(self, text: str, **options: Any) -> Text:
        """See rich. Every text that is printed, as a line or in a table, passes through here."""
        plain = {"markup": False, "emoji": False, "highlight": False, "highlighter": None}
        return super().render_str(shown(text), **{**options, **plain})


console = Console()


def shown(text: str) -> str:
    """A text as people see it: on one line, what is not printable escaped, of a very long one the
    beginning."""
    return printable(shortened(text, MOST_CHARACTERS))


def styled(text: str, style: str) -> Text:
    """A text in a colour or style, as it is shown."""
    return Text(shown(text), style)


def say(line: str) -> None:
    """Print one line on stderr, as long as it is."""
    if sys.stderr is not None:
        print(shown(line), file=sys.stderr, flush=True)


def put(text: object) -> None:
    """Print a line on stdout: exactly, for programs; escaped if people look at it. Ends the command if nobody
    reads any more (`| head -1`). Raises WinnowError if stdout cannot be written."""
    line = str(text)
    if sys.stdout is None:
        return
    try:
        if sys.stdout.isatty():
            print("\n".join(map(printable, line.split("\n"))), flush=True)
        elif (binary := getattr(sys.stdout, "buffer", None)) is None:
            print(line)
        else:
            sys.stdout.flush()
            binary.write(f"{line}\n".encode("utf-8", "surrogateescape"))
            binary.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
        raise typer.Exit(1) from None
    except OSError as error:
        raise WinnowError(
            f"stdout cannot be written ({error.strerror}); what was computed and exported is complete"
        ) from None

"""Where the command line shows something: the only module that decides how a text gets to a terminal.

    console.print(table)                   # stdout: what the user asked for
    remarks.print("damaged:", shard)       # stderr: remarks, progress, and tables that nobody asked for
    say(f"error: {message}")               # one line on stderr, never folded
    put(path)                              # one line on stdout, for programs

jobs/README.md says which command writes what where. Names and captions show as they are, whatever they hold.

Keys, captions, names and reasons come from strangers. They may hold escape sequences that move the cursor or
write to the clipboard, marks that turn the direction of text, and brackets that rich takes for markup. So
every text is shown with what is not printable escaped (`pipeline.errors.printable`), and nothing is markup.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import TextIOWrapper
from typing import IO, Any, NoReturn

import typer
from rich.console import Console as RichConsole
from rich.console import ConsoleOptions as ConsoleOptions  # for renderables of our own
from rich.text import Text

from pipeline.errors import WinnowError, printable, shortened

MOST_CHARACTERS = 4000  # of a text that is shown
WIDTH = 120  # of a log file, which need not be as narrow as 80
NARROWEST, WIDEST = 20, 1000  # columns that are believed; COLUMNS=0 would show nothing


class Console(RichConsole):
    """A console that shows every text as it is: on stdout, or with `stderr=True` on stderr.

    It is as wide as the terminal, or as COLUMNS says; in a file or a pipe 120 columns."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"highlight": False, "emoji": False, "markup": False, **options})
        asked = "width" in options or options.get("_environ", os.environ).get("COLUMNS", "").isdigit()
        if not asked and not self.is_terminal:
            self.width = WIDTH
        elif not NARROWEST <= self.width <= WIDEST:
            self.width = NARROWEST if self.width < NARROWEST else WIDEST

    def print(self, *objects: Any, **options: Any) -> None:
        """See rich. Raises WinnowError if stdout cannot be written; of stderr that is left unsaid."""
        try:
            super().print(*objects, **options)
        except OSError as error:
            if not self.stderr:
                raise _unwritable(error) from None
            _discard(self.file)

    def on_broken_pipe(self) -> None:
        """Nobody reads any more (`| head -1`): end the command without a word."""
        self.quiet = True
        _stop_writing(self.file)

    def render_str(self, text: str, **options: Any) -> Text:
        """See rich. Every text that is printed, as a line or in a table, passes through here."""
        plain = {"markup": False, "emoji": False, "highlight": False, "highlighter": None}
        return super().render_str(shown(text), **{**options, **plain})


console = Console()
remarks = Console(stderr=True)


def shown(text: str) -> str:
    """A text as people see it: on one line, what is not printable escaped, of a very long one the
    beginning."""
    return printable(shortened(text, MOST_CHARACTERS))


def styled(text: str, style: str) -> Text:
    """A text in a colour or style, as it is shown."""
    return Text(shown(text), style)


def as_text(text: str) -> Text:
    """A text without style, as it is shown."""
    return Text(shown(text))


def say(line: str) -> None:
    """Print one line on stderr, as long as it is. If stderr cannot be written, that is left unsaid."""
    if sys.stderr is None:
        return
    try:
        print(shown(line), file=sys.stderr, flush=True)
    except OSError:
        _discard(sys.stderr)


def put(text: object) -> None:
    """Print a line on stdout: exactly, for programs; escaped if people look at it. Ends the command if nobody
    reads any more (`| head -1`). Raises WinnowError if stdout cannot be written."""
    line, stdout = str(text), console.file
    try:
        if stdout.isatty():
            print("\n".join(map(printable, line.split("\n"))), file=stdout, flush=True)
        elif (binary := getattr(stdout, "buffer", None)) is None:
            print(line, file=stdout)
        else:
            stdout.flush()
            binary.write(f"{line}\n".encode("utf-8", "surrogateescape"))
            binary.flush()
    except BrokenPipeError:
        _stop_writing(stdout)
    except OSError as error:
        raise _unwritable(error) from None


@contextmanager
def only_our_stdout() -> Iterator[None]:
    """Within the block stdout gets what `console` and `put` print and nothing else. What plugins and
    libraries print goes to stderr, so that a program can read stdout."""
    console.file = sys.stdout
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        console.file = None  # type: ignore[assignment]  # rich: whatever sys.stdout is


def any_characters() -> None:
    """Let stdout take every character: one that its encoding lacks is escaped, as on stderr."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _stop_writing(stream: IO[str]) -> NoReturn:
    """End the command with status 1."""
    _discard(stream)
    raise typer.Exit(1)


def _discard(stream: IO[str]) -> None:
    """Write what comes to nowhere. Python flushes the stream once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _unwritable(error: OSError) -> WinnowError:
    """The error of a command whose stdout is a full disk, say."""
    return WinnowError(
        f"stdout cannot be written ({error.strerror}); what was computed and exported is complete"
    )

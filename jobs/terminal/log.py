"""The engine's log on the terminal, for `--verbose`.

    with log_to_terminal():                      or, in the callback of a command's flag:
        compute(session, LocalExecutor())        context.with_resource(log_to_terminal())

Lines go to stderr, above a live progress display if one is shown. A line that a shard's name or an error of
storage takes part in holds printable characters only.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from rich.text import Text

from jobs.terminal.console import remarks
from pipeline.run.ray.log import LineFormatter

# Loggers whose records are shown without --verbose too (commands/output.py)
ALWAYS = ("winnow.storage.damage", "winnow.storage.web", "winnow.export.indexes")


class TerminalHandler(logging.Handler):
    """Prints each record on the console that the progress display draws on, which keeps the two apart."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(LineFormatter())
        self.addFilter(lambda record: record.name not in ALWAYS)

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record as one line, as long as it is."""
        try:
            remarks.print(Text(self.format(record)), soft_wrap=True)
        except Exception:
            self.handleError(record)


@contextmanager
def log_to_terminal() -> Iterator[None]:
    """Show time, level and message of every record of `winnow`, from INFO, until the block ends."""
    logger = logging.getLogger("winnow")
    before, handler = logger.level, TerminalHandler()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)

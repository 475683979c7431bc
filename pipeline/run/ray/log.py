"""Log lines of a run on Ray: every process writes its own, and none of them travel.

The driver logs passes, failed shards and restarts; `--verbose` shows these on its terminal. A worker process
logs its start and its retries of storage to its stderr, which Ray keeps in a file per worker,
`worker-<id>-<job>-<pid>.err` in the folder `logs` of Ray's session on that machine (by default
/tmp/ray/session_latest/logs; the dashboard shows them under Logs). Ray is told not to copy them to the
driver: a hundred workers that retry at once would drown its progress display.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import printable

LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class LineFormatter(logging.Formatter):
    """One printable line per record. Names of shards and messages of storage come from strangers, so every
    character that is not printable (line breaks, terminal escapes, text direction) is written as Python
    escapes it: `\\x1b`."""

    def __init__(self) -> None:
        super().__init__(LINE, datefmt="%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """The record as text, always safe to print."""
        return printable(super().format(record))


def log_in_worker() -> None:
    """Write the records of `winnow`, from INFO, to the stderr of this process. Every task and actor calls
    this first; only the first call in a process has an effect."""
    logger = logging.getLogger("winnow")
    if any(isinstance(handler.formatter, LineFormatter) for handler in logger.handlers):
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


@contextmanager
def stderr_discarded() -> Iterator[None]:
    """Discard all that this process writes to stderr while the block runs, by Ray's C++ core too. From then
    on the core logs fatal errors only; others still reach the driver as exceptions."""
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # the core says on stderr that it reads this
    stderr = os.dup(2)
    discarded = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(discarded, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(discarded)

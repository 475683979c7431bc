"""Tries again, with back-off, if storage fails, and tells such failures from all others.

persist(lambda: store.write(path, frame))      # raises ShardError if storage stays down
"""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from pipeline.errors import ShardError, worded

Result = TypeVar("Result")
LOG = logging.getLogger("winnow.storage")

ATTEMPTS = 4  # on top of those that the file system's client makes itself
BACKOFF = 0.5  # seconds before the second attempt, doubled each time
FINAL = (
    FileNotFoundError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
    FileExistsError,
)  # another attempt would fail in the same way
CLIENTS = {  # the packages whose errors are storage's
    "aiobotocore",
    "aiohttp",
    "azure",
    "botocore",
    "gcsfs",
    "google",
    "httpx",
    "huggingface_hub",
    "requests",
    "urllib3",
}


def from_storage(error: BaseException) -> bool:
    """Whether an error comes from storage: an OSError, or an error of a file system's client library. s3fs
    lets those through once its own attempts are used up (a connection that is reset, a body that is cut
    short)."""
    modules = {kind.__module__.split(".")[0] for kind in type(error).__mro__}
    return isinstance(error, OSError) or not modules.isdisjoint(CLIENTS)


def persist(work: Callable[[], Result]) -> Result:
    """The result of `work`, which may run more than once. Raises ShardError with the reason that storage
    gave; errors that do not come from storage pass through."""
    for attempt in range(ATTEMPTS):
        try:
            return work()
        except Exception as error:
            if not from_storage(error):
                raise
            if isinstance(error, FINAL):
                raise ShardError(worded(error)) from None
            reason = worded(error)
            wait(attempt, reason)
    raise ShardError(f"{reason} (after {ATTEMPTS} attempts)")


def wait(attempt: int, reason: str) -> None:
    """Log why an attempt failed and sleep before the next, if there is one; attempts count from 0."""
    if attempt + 1 < ATTEMPTS:
        seconds = BACKOFF * 2**attempt
        LOG.warning("attempt %d of %d failed, next in %g s: %s", attempt + 1, ATTEMPTS, seconds, reason)
        time.sleep(seconds)

"""Storage that fails is tried again with back-off, and told from everything else that can go wrong.

persist(lambda: store.write(path, frame))      raises ShardError where storage stays down
"""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from pipeline.errors import ShardError, worded

Result = TypeVar("Result")
LOG = logging.getLogger("winnow.storage")

ATTEMPTS = 4  # over those that the file system's client makes itself, with its own back-off
BACKOFF = 0.5  # seconds before the second attempt, doubled each time
FINAL = FileNotFoundError, PermissionError  # another attempt would find the same
_S3, _GOOGLE, _HUB = {"botocore", "aiobotocore"}, {"google", "gcsfs"}, {"httpx", "huggingface_hub"}
CLIENTS = _S3 | _GOOGLE | _HUB | {"aiohttp", "azure", "requests", "urllib3"}


def from_storage(error: BaseException) -> bool:
    """Whether storage is to blame: an OSError, or one of the client library behind a file system, which
    s3fs lets through when its own attempts are used up (a connection that is reset, a body cut short)."""
    modules = {kind.__module__.split(".")[0] for kind in type(error).__mro__}
    return isinstance(error, OSError) or not modules.isdisjoint(CLIENTS)


def persist(work: Callable[[], Result]) -> Result:
    """The result of `work`, which may be done more than once. Raises ShardError with storage's reason."""
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

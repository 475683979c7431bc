"""Storage that fails before any work: what can do without it, and what is said of it; and tables that do not
go together.

note_json(store.root, layout.DIGESTS, entries)      # if storage takes it
with naming("pool.store", "s3://mine/store"):       # a StorageError names the key and the address
    ...
"""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import orjson
import polars as pl

from pipeline.errors import OperatorError, StorageError, WinnowError, refusal, worded
from pipeline.storage.folder import Folder
from pipeline.storage.retry import from_storage

LOG = logging.getLogger("winnow.storage")
SORTED = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS


def note_json(folder: Folder, relative: str, value: Any, options: int = SORTED) -> None:
    """As `Folder.publish_json`, for what only saves time later: if storage does not take it, nothing is
    written. A store may be one that can only be read."""
    try:
        folder.publish_json(relative, value, options=options)
    except Exception as error:
        if not from_storage(error):
            raise
        LOG.info("%s is not written: %s", folder.path(relative), worded(error))


@contextmanager
def naming(key: str, address: str) -> Iterator[None]:
    """Within the block, an error of storage becomes a StorageError that names the key of the recipe, the
    address and the next step."""
    try:
        yield
    except Exception as error:
        if isinstance(error, WinnowError) or not from_storage(error):
            raise
        raise StorageError(f"{key}: {failure(address, error)}") from None


def failure(address: str, error: Exception) -> str:
    """What is said of an error of storage at an address: which, why, and the next step."""
    if (refused := refusal(error)) is not None:
        return refused
    if isinstance(error, FileNotFoundError):
        return f"{address} does not exist: check the path"
    step = "run the same command again"
    if "://" in address:
        step = f"check the spelling, the endpoint and the credentials, then {step}"
    return f"{address}: {worded(error)}; {step}"


def unlike(relatives: Sequence[str], error: BaseException) -> BaseException:
    """What is raised if several sound tables cannot be read as one: an OperatorError if their columns differ
    in type, as those of workers that do not know each other may; else the error itself."""
    if not isinstance(error, pl.exceptions.SchemaError):
        return error
    found = worded(error).removeprefix("SchemaError: ").partition(", hint:")[0]
    return OperatorError(
        f"{os.path.dirname(relatives[0])}: an operator must write one type in all shards; {found}; correct it, or "
        "forget its results (winnow store forget) and compute them again"
    )

"""What a store can do without, if it cannot be written.

note_json(store.root, layout.DIGESTS, entries)
"""

import logging
from typing import Any

import orjson

from pipeline.errors import worded
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

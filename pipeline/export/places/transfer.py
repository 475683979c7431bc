"""Moving the files of an export from one folder of a storage to another, and fetching them."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from pipeline.storage.folder import Folder
from pipeline.storage.footers import REQUESTS

AT_ONCE = 256  # files that are copied on object storage before their sources are removed


def move(source: Folder, target: Folder, names: Sequence[str]) -> None:
    """Move files from one folder to another of the same storage; a second time after a kill is no harm."""
    if source.local:
        for name in names:
            os.makedirs(os.path.dirname(target.path(name)), exist_ok=True)
            os.replace(source.path(name), target.path(name))
        return
    with ThreadPoolExecutor(REQUESTS) as pool:
        for start in range(0, len(names), AT_ONCE):
            group = names[start : start + AT_ONCE]
            list(pool.map(lambda name: source.fs.cp_file(source.path(name), target.path(name)), group))
            source.remove(group)


@contextmanager
def local_copy(folder: Folder, relative: str) -> Iterator[str]:
    """A path on this machine with that file's bytes; a file on object storage is fetched for a while."""
    if folder.local:
        yield folder.path(relative)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder.fs.get_file(folder.path(relative), f"{temporary}/file")
        yield f"{temporary}/file"


def remove_empty(folder: Folder, subfolder: str = "") -> None:
    """Remove an empty folder of a local disk."""
    if folder.local:
        with suppress(OSError):
            os.rmdir(folder.path(subfolder))

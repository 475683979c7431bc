"""Digests of the files that operators' `File` fields name, for cache keys. `pipeline.assets` opens the same
files.

    digests.json     {path: {"state": "size, times of change", "digest": ...}}

The store remembers the digests of large local files. Otherwise gigabytes of weights would be read before each
decision.
"""

import hashlib
import os
from collections.abc import Mapping
from typing import Any

from pipeline.assets import CHUNK, WEB
from pipeline.storage import layout
from pipeline.storage.faults import note_json
from pipeline.storage.folder import Folder
from pipeline.storage.identity import local_state

LARGE = 64 << 20  # bytes of a local file from which on its digest is remembered


def field_digest(paths: str | Mapping[str, str], store: Folder) -> Any:
    """The digest of the file that a field names, or None if it names none (see `file_digest`). For a field
    with several files by name: their digests by name, or the path of one that is not a file."""
    if isinstance(paths, str):
        return _digest(paths, store)
    return {name: _digest(path, store) or path for name, path in paths.items()}


def file_digest(path: str) -> str | None:
    """blake2b-128 of a file's content, as hex digits. None if there is not a file at `path`, which may be the
    tag of published weights (`openai`), and None for a web address, which counts by itself: a decision must
    not wait for a download."""
    if path.startswith(WEB):
        return None
    source = Folder(path)
    if not source.exists("") or source.fs.isdir(source.base):
        return None
    digest = hashlib.blake2b(digest_size=16)
    with source.fs.open(source.base, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _digest(path: str, store: Folder) -> str | None:
    """As `file_digest`; that of a large local file is taken from the store if the file is unchanged."""
    local = os.path.abspath(os.path.expanduser(path))
    if not os.path.isfile(local) or os.path.getsize(local) < LARGE:
        return file_digest(path)
    state = local_state(os.stat(local))
    entries = store.read_json(layout.DIGESTS) or {}
    if entries.get(local, {}).get("state") != state:
        entries[local] = {"state": state, "digest": file_digest(path)}
        note_json(store, layout.DIGESTS, entries)
    return str(entries[local]["digest"])

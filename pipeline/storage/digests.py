"""Digests of the files that operators' fields name. Those of large files are remembered in the store, by size
and time of change: reading gigabytes of weights anew would make each decision wait.
"""

import hashlib
import os
from collections.abc import Mapping
from typing import Any

import orjson

from pipeline.storage import layout
from pipeline.storage.folder import Folder

LARGE = 64 << 20  # bytes from which on a local file's digest is remembered


def field_digest(paths: str | Mapping[str, str], store: Folder) -> Any:
    """What a field counts by: the digest of the file it names, or of several by name; None for no file."""
    if isinstance(paths, str):
        return _remembered(paths, store)
    return {name: _remembered(path, store) or path for name, path in paths.items()}


def _remembered(path: str, store: Folder) -> str | None:
    local = os.path.abspath(os.path.expanduser(path))
    if not os.path.isfile(local) or os.path.getsize(local) < LARGE:
        return file_digest(path)
    now = os.stat(local)
    state = [now.st_size, now.st_mtime_ns]
    known: dict[str, Any] = orjson.loads(store.read(layout.DIGESTS)) if store.exists(layout.DIGESTS) else {}
    if known.get(local, {}).get("state") != state:
        known[local] = {"state": state, "digest": file_digest(path)}
        store.publish(layout.DIGESTS, orjson.dumps(known, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
    return str(known[local]["digest"])


def file_digest(path: str) -> str | None:
    """blake2b of a file's content, or None where `path` names no file (a `pretrained` tag, say) or a page of
    the web, which counts by its address: nobody waits for a download before each decision."""
    if path.startswith(("http://", "https://")):
        return None
    files = Folder(path)
    if not files.exists("") or files.fs.isdir(files.base):
        return None
    digest = hashlib.blake2b(digest_size=16)
    with files.fs.open(files.base, "rb") as file:
        while chunk := file.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()

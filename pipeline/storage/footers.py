"""What the footers of a folder's parquet parts say, each read once.

    footers/<folder>.json     {part: [state, rows, notes]}

A part's state is what one listing of the folder tells of it: size, time of change, inode; on object storage
size and etag. A part that is published anew has another state and is read anew. So ten thousand parts
that are as they were cost a listing and this file instead of ten thousand reads. The file only ever saves
time: where it is missing, garbled or old, or cannot be written, footers are read.
"""

import os
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import orjson
import pyarrow.parquet as pq

from pipeline.storage import layout
from pipeline.storage.folder import Folder
from pipeline.storage.retry import from_storage

REQUESTS = 32  # at a time, of object storage
# What listings tell of a file that is another when it is written anew, as the file systems call it
STATE = ("ETag", "etag", "md5Hash", "generation", "LastModified", "last_modified", "updated", "created")
LOCAL_READS = 4  # at a time; more would only wait for the interpreter


class Footer(NamedTuple):
    """Rows of a part, and its notes."""

    rows: int
    notes: dict[str, Any]


def parse_footer(meta: pq.FileMetaData) -> Footer:
    """Rows, and the notes that `store.footer_notes` made."""
    notes = {k.decode(): v for k, v in (meta.metadata or {}).items() if k != b"ARROW:schema"}
    return Footer(meta.num_rows, {key: orjson.loads(value) for key, value in notes.items()})


def read_footers(root: Folder, folder: str, shards: Collection[str]) -> dict[str, Footer]:
    """The footer of each of these shards' parts that is published in the folder, in the order of `shards`."""
    states = _states(root, folder)
    there = [shard for shard in shards if shard in states]
    known = {n: entry for n, entry in _remembered(root, folder).items() if states.get(n) == entry[0]}
    new = [shard for shard in there if shard not in known]
    with ThreadPoolExecutor(LOCAL_READS if root.local else REQUESTS) as pool:
        found = list(pool.map(lambda shard: _read(root, layout.part(folder, shard)), new))
    known |= {
        shard: [states[shard], *footer]
        for shard, footer in zip(new, found, strict=True)
        if footer is not None
    }
    if any(states[shard] for shard in new):
        _remember(root, folder, known)
    return {shard: Footer(*known[shard][1:]) for shard in there if shard in known}


def _states(root: Folder, folder: str) -> dict[str, str]:
    """Part -> its state, "" where storage tells none."""
    base = f"{root.path(folder)}/"
    if root.local:
        return {name: _local_state(f"{base}{name}.parquet") for name in root.file_names(folder, ".parquet")}
    return {name: _state(info) for name, info in root.listing(folder, ".parquet").items()}


def _local_state(path: str) -> str:
    """A file that replaces another has another inode, even within one tick of the clock."""
    try:
        found = os.stat(path)
    except FileNotFoundError:  # removed since it was listed
        return ""
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ino}"


def _state(info: Mapping[str, Any]) -> str:
    told = [str(info[key]) for key in STATE if info.get(key) is not None]
    return " ".join([str(info.get("size")), *told]) if told else ""


def _read(root: Folder, relative: str) -> Footer | None:
    """None for a part that was removed after it was listed."""
    try:
        return parse_footer(root.parquet_footer(relative))
    except FileNotFoundError:
        return None


def _remembered(root: Folder, folder: str) -> dict[str, list[Any]]:
    """[state, rows, notes] by part, as far as an earlier run has left them in good order."""
    try:
        found = orjson.loads(root.read(layout.footer_cache(folder)))
    except (FileNotFoundError, orjson.JSONDecodeError):
        return {}
    return {n: entry for n, entry in found.items() if _sound(entry)} if isinstance(found, dict) else {}


def _sound(entry: Any) -> bool:
    """Not so for storage that tells nothing of a file but its name: such parts are read each time."""
    return isinstance(entry, list) and [type(e) for e in entry] == [str, int, dict] and entry[0] != ""


def _remember(root: Folder, folder: str, known: Mapping[str, Any]) -> None:
    """Write what is known; where two processes do so at a time, what one of them knows is read again."""
    try:
        root.publish(layout.footer_cache(folder), orjson.dumps(known))
    except Exception as error:  # a store that may only be read, say
        if not from_storage(error):
            raise

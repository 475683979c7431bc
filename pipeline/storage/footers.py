"""The footers of a folder's parts (rows, notes), each read once and then remembered in the store.

    footers/<folder>.json     {part: [state, rows, notes]}

The state is what a listing of the folder says of a part: size, time of change and inode on a local disk, size
and etag on object storage. If a part is published anew, its state differs and its footer is read again. So
ten thousand unchanged parts cost one listing and this file instead of ten thousand reads. The file only saves
time: if it is missing, garbled, out of date or cannot be written, the footers themselves are read.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import orjson
import pyarrow.parquet as pq

from pipeline.storage import layout
from pipeline.storage.folder import Folder
from pipeline.storage.retry import from_storage

REQUESTS = 32  # sent to object storage at the same time
LOCAL_READS = 4  # at the same time; more threads would only wait for Python's lock

# Listing fields that change when a file is rewritten; each file system names them differently.
STATE = ("ETag", "etag", "md5Hash", "generation", "LastModified", "last_modified", "updated", "created")


class Footer(NamedTuple):
    """Rows of a part, and the notes that its writer left in the footer."""

    rows: int
    notes: dict[str, Any]


def parse_footer(meta: pq.FileMetaData) -> Footer:
    """Rows, and the notes that `store.footer_notes` encoded."""
    notes = {key.decode(): value for key, value in (meta.metadata or {}).items() if key != b"ARROW:schema"}
    return Footer(meta.num_rows, {key: orjson.loads(value) for key, value in notes.items()})


def read_footers(root: Folder, folder: str, shards: Collection[str]) -> dict[str, Footer]:
    """The footer of each of these shards' parts that is a file of its own in the folder, in the order of
    `shards`."""
    states = _states(root, folder)
    listed = [shard for shard in shards if shard in states]
    remembered = _remembered(root, folder)
    entries = {shard: entry for shard, entry in remembered.items() if states.get(shard) == entry[0]}
    new = [shard for shard in listed if shard not in entries]
    for shard, footer in zip(new, _read_each(root, folder, new), strict=True):
        if footer is not None:
            entries[shard] = [states[shard], *footer]
    if any(states[shard] for shard in new):
        _remember(root, folder, entries)
    return {shard: Footer(*entries[shard][1:]) for shard in listed if shard in entries}


def _read_each(root: Folder, folder: str, shards: Sequence[str]) -> list[Footer | None]:
    """The footers of these parts, read from their files several at a time."""
    with ThreadPoolExecutor(LOCAL_READS if root.local else REQUESTS) as pool:
        return list(pool.map(lambda shard: _read(root, layout.part(folder, shard)), shards))


def _read(root: Folder, relative: str) -> Footer | None:
    """One footer; None for a part that was removed after it was listed."""
    try:
        return parse_footer(root.parquet_footer(relative))
    except FileNotFoundError:
        return None


def _states(root: Folder, folder: str) -> dict[str, str]:
    """Part -> its state; "" if the listing says nothing that changes with the file."""
    if root.local:
        names = root.file_names(folder, ".parquet")
        return {name: _local_state(root.path(layout.part(folder, name))) for name in names}
    return {name: _remote_state(info) for name, info in root.listing(folder, ".parquet").items()}


def _local_state(path: str) -> str:
    """A file that replaces another has another inode, even within one tick of the clock."""
    try:
        now = os.stat(path)
    except FileNotFoundError:  # removed since it was listed
        return ""
    return f"{now.st_size} {now.st_mtime_ns} {now.st_ino}"


def _remote_state(info: Mapping[str, Any]) -> str:
    """The state of a file on object storage, of what its listing says."""
    fields = [str(info[key]) for key in STATE if info.get(key) is not None]
    return " ".join([str(info.get("size")), *fields]) if fields else ""


def _remembered(root: Folder, folder: str) -> dict[str, list[Any]]:
    """Part -> [state, rows, notes], as an earlier run wrote them; entries that are garbled are left out."""
    try:
        stored = orjson.loads(root.read(layout.footer_cache(folder)))
    except (FileNotFoundError, orjson.JSONDecodeError):
        return {}
    if not isinstance(stored, dict):
        return {}
    return {shard: entry for shard, entry in stored.items() if _is_entry(entry)}


def _is_entry(entry: Any) -> bool:
    """Whether it is [state, rows, notes]. Without a state a change would not be noticed: such parts are read
    each time."""
    return isinstance(entry, list) and [type(e) for e in entry] == [str, int, dict] and entry[0] != ""


def _remember(root: Folder, folder: str, entries: Mapping[str, Any]) -> None:
    """Write the entries. If two processes do so at the same time, one of them wins, and the other's are read
    again."""
    try:
        root.publish(layout.footer_cache(folder), orjson.dumps(entries))
    except Exception as error:  # the store may be read-only, for example
        if not from_storage(error):
            raise

"""The footers of a folder's parts (rows, notes, seal), each read once and then remembered in the store.

    footers/<folder>.json     {part: [state, rows, notes, seal]}

The state is what a listing of the folder says of a part: size, time of change and inode on a local disk, size
and etag on object storage. If a part is published anew, its state differs and its footer is read again. So
ten thousand unchanged parts cost one listing and this file instead of ten thousand reads. The file only saves
time: if it is missing, garbled, out of date or cannot be written, the footers themselves are read.

On a local disk a part is verified against its seal before its footer is trusted, and all new parts are synced
before they are remembered. So a part that a power cut or a bad disk has damaged is found before it is used.
"""

import errno
import os
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import orjson
import pyarrow.parquet as pq

from pipeline.errors import DamagedError
from pipeline.progress import watched
from pipeline.storage import layout
from pipeline.storage.faults import note_json
from pipeline.storage.folder import Folder
from pipeline.storage.identity import remote_state
from pipeline.storage.seals import LOG, SEAL, BrokenError, broken, broken_file

REQUESTS = 32  # sent to object storage at the same time
STATE = "state"  # the note of samples that changes with a touch of the shard
LOCAL_READS = 4  # at the same time; more threads would only wait for Python's lock


class Footer(NamedTuple):
    """Rows of a part, the notes that its writer left in the footer, and its seal (seals.py), which stands for
    its content."""

    rows: int
    notes: dict[str, Any]
    seal: str = ""

    @property
    def identity(self) -> tuple[int, dict[str, Any], str]:
        """What identifies a part. Samples also note the state of their file, which changes with a touch: of
        them the note of the content counts, not the state and not the seal, which covers it."""
        if STATE not in self.notes:
            return self.rows, self.notes, self.seal
        return self.rows, {name: value for name, value in self.notes.items() if name != STATE}, ""


class Damage(dict[str, str]):
    """Files of a store that are not as they were written: path -> reason. Each is named in the log once."""

    def __init__(self, root: Folder) -> None:
        super().__init__()
        self.root = root

    def note(self, relative: str, reason: str) -> None:
        """Remember a damaged file."""
        if relative not in self:
            LOG.warning("%s is damaged: %s; it counts as missing", self.root.path(relative), reason)
        self[relative] = reason

    def check(self, relatives: Collection[str]) -> dict[str, str]:
        """Which of these files are damaged, and why; they are noted."""
        reasons = {relative: self.reason(relative) for relative in relatives}
        found = {relative: reason for relative, reason in reasons.items() if reason is not None}
        for relative, reason in found.items():
            self.note(relative, reason)
        return found

    def set_aside(self) -> dict[str, str]:
        """Move the files to damaged/<path>, where an earlier one is replaced; returns them with reasons and
        begins anew. A file that has been written again meanwhile stays, and all do in a store that cannot be
        written."""
        moved = dict(self)
        self.clear()
        for relative in moved:
            try:
                if self.reason(relative):
                    self.root.move(relative, layout.damaged(relative))
            except OSError as error:  # those of object storage have no errno
                stays = isinstance(error, FileNotFoundError | PermissionError) or error.errno == errno.EROFS
                if not stays:
                    raise
        return moved

    def error(self, found: Mapping[str, str]) -> DamagedError:
        """The error that names some damaged files, by path with reasons."""
        named = "; ".join(f"{self.root.path(relative)} is damaged: {why}" for relative, why in found.items())
        return DamagedError(f"{named}; the next run computes it again")

    def reason(self, relative: str) -> str | None:
        """Why a file is not as it was written, or None if it is. Raises FileNotFoundError."""
        if self.root.local:
            return broken_file(self.root.path(relative))
        return broken(self.root.read(relative), json=relative.endswith(".json"))


def footer_notes(notes: Mapping[str, Any]) -> dict[str, bytes]:
    """Notes (JSON values by name) as parquet's footer holds them; `parse_footer` reads them back."""
    return {key: orjson.dumps(value, option=orjson.OPT_SORT_KEYS) for key, value in notes.items()}


def parse_footer(meta: pq.FileMetaData) -> Footer:
    """Rows, the notes that `footer_notes` encoded, and the seal. Raises BrokenError."""
    notes = {key.decode(): value for key, value in (meta.metadata or {}).items() if key != b"ARROW:schema"}
    seal = notes.pop(SEAL, b"").decode(errors="replace")
    try:
        return Footer(meta.num_rows, {key: orjson.loads(value) for key, value in notes.items()}, seal)
    except orjson.JSONDecodeError as error:
        raise BrokenError(f"a note in its footer is not JSON ({error})") from None


def read_footers(root: Folder, folder: str, shards: Collection[str], damage: Damage) -> dict[str, Footer]:
    """The footer of each of these shards' parts that is a file of its own in the folder, in the order of
    `shards`. Damaged parts are left out, and noted in `damage`."""
    if not shards:
        return {}
    states = _states(root, folder)
    listed = [shard for shard in shards if shard in states]
    remembered = _remembered(root, folder)
    entries = {shard: entry for shard, entry in remembered.items() if states.get(shard) == entry[0]}
    new = [shard for shard in listed if shard not in entries]
    if new:
        root.sync()  # so that no part is remembered that a power cut may still take
    for shard, found in zip(new, _read_each(root, folder, new), strict=True):
        if isinstance(found, Footer):
            entries[shard] = [states[shard], *found]
        elif found is not None:
            damage.note(layout.part(folder, shard), found)
    if any(states[shard] for shard in new):
        # If two processes do so at the same time, one of them wins, and the other's are read again.
        note_json(root, layout.footer_cache(folder), entries, options=0)
    return {shard: Footer(*entries[shard][1:]) for shard in listed if shard in entries}


def whole(root: Folder, relatives: Collection[str], damage: Damage) -> set[str]:
    """Which of these parquet files are there as they were written; damaged ones are noted. On a local disk
    they are remembered as the footers of parts are; on object storage only their existence is asked."""
    if not root.local:
        return {relative for relative in relatives if root.exists(relative)}
    names = defaultdict[str, list[str]](list)
    for relative in relatives:
        folder, name = os.path.split(relative)
        names[folder].append(name.removesuffix(".parquet"))
    return {
        layout.part(folder, name)
        for folder, listed in names.items()
        for name in read_footers(root, folder, listed, damage)
    }


def _read_each(root: Folder, folder: str, shards: Sequence[str]) -> list[Footer | str | None]:
    """As `_read` for each of these parts, several at a time."""
    with ThreadPoolExecutor(LOCAL_READS if root.local else REQUESTS) as pool:
        found = pool.map(lambda shard: _read(root, layout.part(folder, shard)), shards)
        return list(watched("looking through the store", found, len(shards)))


def _read(root: Folder, relative: str) -> Footer | str | None:
    """One footer; None for a part that was removed after it was listed; the reason if it is damaged."""
    try:
        return parse_footer(root.sealed_footer(relative))
    except FileNotFoundError:
        return None
    except BrokenError as error:
        return str(error)


def _states(root: Folder, folder: str) -> dict[str, str]:
    """Part -> its state; "" if the listing says nothing that changes with the file."""
    if root.local:  # a file that replaces another has another inode, even within one tick of the clock
        return {
            name: f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ino}"
            for name, stat in root.stats(folder, ".parquet").items()
        }
    return {name: remote_state(info) for name, info in root.listing(folder, ".parquet").items()}


def _remembered(root: Folder, folder: str) -> dict[str, list[Any]]:
    """Part -> [state, rows, notes, seal], as an earlier run wrote them. Without a state a change would not be
    noticed: such parts are read each time."""
    stored = root.read_json(layout.footer_cache(folder)) or {}
    return {shard: entry for shard, entry in stored.items() if entry[0]}

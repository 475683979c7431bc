"""What the files of an export contain, and whether they are still as they were written.

    {"contents": {"00000000.tar": "10240 9f86d081…"}}     in the manifest: size and digest of each file
    .winnow-states.json                                   beside it: a copy of the manifest, and each file's
                                                          state (storage/identity.py) when it held that

Equal exports have equal manifests; states differ from disk to disk, so they have a file of their own. A file
with the state that is noted there is not read. Any other is read once, and its digest is compared. If the
file of states is lost, every file is read once. If the manifest is lost or damaged, its copy takes its place.
It does not if not one file of the export is left: what lies at their names is somebody else's then.
"""

import logging
import os
import stat
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

import orjson

from pipeline.progress import watched
from pipeline.storage import seals
from pipeline.storage.folder import Folder
from pipeline.storage.footers import LOCAL_READS, REQUESTS
from pipeline.storage.identity import Digest, listed_state, local_state

CONTENTS = "contents"  # the manifest's key
STATES_FILE = ".winnow-states.json"
CHUNK = 16 << 20  # bytes read at once
NOT_A_FILE = "is not an ordinary file"
NAMED = 5  # files of an export that are named in the log, at most
LOG = logging.getLogger("winnow.storage.damage")  # the command line always shows it

Names = Callable[[Mapping[str, Any]], Iterable[str]]
Contents = Callable[[Mapping[str, Any]], Mapping[str, str]]


# --- contents -------------------------------------------------------------------------------------


class HashedFile:
    """A local file that is written from front to end, and hashed meanwhile."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "wb")  # noqa: SIM115 (closed by `close`)
        self._digest = Digest()
        self._size = 0

    def write(self, data: bytes | memoryview) -> int:
        """Append bytes."""
        self._digest.update(data)
        self._size += len(data)
        return self._file.write(data)

    def tell(self) -> int:
        """Bytes so far."""
        return self._size

    def flush(self) -> None:
        """Pass buffered bytes to the system."""
        self._file.flush()

    def close(self) -> None:
        """End the file."""
        self._file.close()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._file.closed

    def content(self) -> str:
        """Size and digest of what was written."""
        return f"{self._size} {self._digest.hexdigest()}"

    def __enter__(self) -> "HashedFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def content_of(data: bytes | memoryview) -> str:
    """Size and digest of bytes."""
    digest = Digest()
    digest.update(data)
    return f"{len(data)} {digest.hexdigest()}"


def file_content(folder: Folder, relative: str) -> str:
    """Size and digest of a file, which is read in chunks. Raises FileNotFoundError."""
    with folder.fs.open(folder.path(relative), "rb") as file:
        return _content_of_file(file)


def local_content(path: str) -> str:
    """As `file_content` for a file of this machine."""
    with open(path, "rb") as file:
        return _content_of_file(file)


def _content_of_file(file: BinaryIO) -> str:
    digest, size = Digest(), 0
    while chunk := file.read(CHUNK):
        digest.update(chunk)
        size += len(chunk)
    return f"{size} {digest.hexdigest()}"


def size_of(line: str) -> str:
    """The size in a content or state."""
    return line.partition(" ")[0]


# --- states ---------------------------------------------------------------------------------------


def states_of(folder: Folder, names: Iterable[str]) -> dict[str, str]:
    """The states of those of these files that are there, as of now: one listing on object storage. What is
    not an ordinary file has the state ""."""
    if not folder.local:
        listing = folder.listing("")
        return {name: listed_state(listing[name]) for name in names if name in listing}
    found = dict[str, str]()
    for name in names:
        try:
            status = os.stat(folder.path(name))
        except (FileNotFoundError, NotADirectoryError):
            continue
        found[name] = local_state(status) if stat.S_ISREG(status.st_mode) else ""
    return found


def moved_state(before: str | None, now: str | None, local: bool) -> str | None:
    """The state of a file after it was renamed or copied by Winnow, if it is the file that had the state
    `before`: a rename changes the last field of a local state only. None if it may be another file."""
    if before is None or now is None:
        return None
    parts = 2 if local else 1
    return now if before.split(" ")[:parts] == now.split(" ")[:parts] else None


@dataclass
class Inspection:
    """Which files are as a manifest says.

    states   file -> state, of those that are
    wrong    file -> how it differs, of the others
    """

    states: dict[str, str] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)


def inspect(
    folder: Folder, names: Collection[str], contents: Mapping[str, str], known: Mapping[str, str]
) -> Inspection:
    """Compare files with what they should contain. `known`: the states in which they are known to."""
    now = states_of(folder, names)
    found, unread = Inspection(), list[str]()
    for name in names:
        if name not in now:
            found.wrong[name] = "is missing"
        elif not now[name]:
            found.wrong[name] = NOT_A_FILE
        elif name not in contents:
            found.wrong[name] = "has no digest in the manifest"
        elif now[name] == known.get(name):
            found.states[name] = now[name]
        elif size_of(now[name]) != size_of(contents[name]):
            found.wrong[name] = f"has {size_of(now[name])} bytes and had {size_of(contents[name])}"
        else:
            unread.append(name)
    with ThreadPoolExecutor(LOCAL_READS if folder.local else REQUESTS) as pool:
        read = pool.map(lambda name: _read(folder, name), unread)
        for name, content in zip(unread, watched("verifying the export", read, len(unread)), strict=True):
            if content == contents[name]:
                found.states[name] = now[name]
            else:
                found.wrong[name] = "does not hold the bytes that were written"
    return found


def _read(folder: Folder, name: str) -> str | None:
    """The content of a file; None if it has gone meanwhile."""
    try:
        return file_content(folder, name)
    except FileNotFoundError:
        return None


def tell_wrong(folder: Folder, wrong: Mapping[str, str]) -> None:
    """Name files that are not as they were written."""
    for name, reason in list(wrong.items())[:NAMED]:
        LOG.warning("%s %s; it is written again", folder.path(name), reason)
    if len(wrong) > NAMED:
        LOG.warning("%s: %d more files are written again", folder.base, len(wrong) - NAMED)


# --- manifests ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Noted:
    """A manifest, what is wrong with its file (None: nothing), and the states beside it."""

    manifest: dict[str, Any] | None
    fault: str | None = None
    states: Mapping[str, str] = field(default_factory=dict)


def manifest_contents(manifest: Mapping[str, Any]) -> Mapping[str, str]:
    """File -> size and digest, of the files that a manifest holds them of."""
    return dict(manifest.get(CONTENTS, {}))


def read_noted(
    folder: Folder, manifest: str, beside: str, contents: Contents = manifest_contents, states: bool = True
) -> Noted:
    """The manifest of that name, or the copy in the file of states `beside` it if it is lost or damaged.
    `contents`: manifest -> size and digest of each file. `states`: read them, too. Raises ValueError,
    TypeError, KeyError or AttributeError for something else."""
    path = folder.path(manifest)
    if folder.local and os.path.lexists(path) and not os.path.isfile(path):
        raise ValueError
    try:
        data = folder.read(manifest)
    except FileNotFoundError:
        copy = _read_states(folder, beside)
        lost = copy.manifest is not None and _has_one(folder, contents(copy.manifest), copy.states)
        return replace(copy, fault="is missing") if lost else Noted(None)
    try:
        return Noted(seals.open_json(data), None, _read_states(folder, beside).states if states else {})
    except seals.BrokenError as error:
        copy = _read_states(folder, beside)
        if copy.manifest is not None:
            return replace(copy, fault=f"is damaged: {error}")
    return Noted(dict(orjson.loads(data)), "has no seal, as those of earlier versions")


def _has_one(folder: Folder, contents: Mapping[str, str], states: Mapping[str, str]) -> bool:
    """Whether a file of an export is there as it was written."""
    now = states_of(folder, contents)
    if any(state and state == states.get(name) for name, state in now.items()):
        return True
    alike = (name for name, state in now.items() if size_of(state) == size_of(contents[name]))
    return any(_read(folder, name) == contents[name] for name in alike)


def sealed(manifest: Mapping[str, Any]) -> bytes:
    """The bytes of a manifest: the same whatever its history."""
    return seals.seal_json(orjson.dumps(manifest, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))


def save_states(folder: Folder, name: str, manifest: Mapping[str, Any], states: Mapping[str, str]) -> None:
    """Write the states of an export's files, and a copy of its manifest."""
    folder.publish_json(name, {"manifest": manifest, "states": dict(sorted(states.items()))}, options=0)


def _read_states(folder: Folder, name: str) -> Noted:
    """What `save_states` wrote; nothing if it is lost or damaged, since it saves time alone."""
    path = folder.path(name)
    if folder.local and not os.path.isfile(path):
        return Noted(None)
    try:
        found = seals.open_json(folder.read(name))
        return Noted(dict(found["manifest"]), None, dict(found["states"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return Noted(None)

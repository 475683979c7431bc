"""A single file that Winnow writes, such as a subset file, and the note beside it by which it knows the file
as its own.

    check_file("subset.npy", "export.subset")             # before any work
    with writing_file("subset.npy", "export.subset", about) as path:
        build(path)                                       # a local path; published when the block ends

    subset.npy
    subset.npy.winnow.json      what it is, and the size and digest of each file that may lie there

An existing file without a note, or of another size or digest than its note says, was not written by Winnow
and is never overwritten. While a file is replaced, the note names the earlier one and the new one.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from typing import Any

import orjson

from pipeline.errors import RecipeError
from pipeline.storage.folder import Folder, remove_left_beside, working_beside
from pipeline.storage.identity import Digest, remote_state
from pipeline.storage.locks.lock import held

NOTE = ".winnow.json"  # what the note's name ends in
CHUNK = 16 << 20  # bytes read at once

About = Mapping[str, Any]


def check_file(path: str, key: str) -> None:
    """Raises RecipeError if something lies at a path that Winnow did not write. `key`: of the recipe, or the
    flag, for the message."""
    check_is_file(path, key)
    target = Folder(path)
    note = _read_note(target, key)
    if target.exists("") and not (note and _is_noted(target, note)):
        raise foreign(target, key)


def check_is_file(path: str, key: str) -> None:
    """Raises RecipeError if something other than an ordinary file lies at a path, or something other than a
    folder above it."""
    target = Folder(path)
    if not target.local:
        return
    if os.path.lexists(target.base) and not os.path.isfile(target.base):
        raise foreign(target, key)
    above = os.path.dirname(target.base)
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    if not os.path.isdir(above):
        raise RecipeError(f"{key}: {above} exists and is not a folder; name another file")


def foreign(target: Folder, key: str) -> RecipeError:
    """What is said of a file that Winnow did not write."""
    return RecipeError(
        f"{key}: {target.base} exists and was not written by Winnow: move it or name another file"
    )


def is_current(path: str, key: str, about: About) -> bool:
    """Whether the file at a path is the one that `about` describes."""
    target = Folder(path)
    note = _read_note(target, key)
    return (
        note is not None and note.items() >= about.items() and target.exists("") and _is_noted(target, note)
    )


@contextmanager
def writing_file(path: str, key: str, about: About, purpose: str = "") -> Iterator[str]:
    """A local path to write to. The file there takes the place of an earlier one if the block ends without an
    error. Raises RecipeError as `check_file` does, and HeldError if another process is writing the file."""
    target = Folder(path)
    check_file(path, key)
    with file_lock(target, purpose or key), working_beside(path) as folder:
        check_file(path, key)
        if target.local:
            remove_left_beside(_note_of(target).base)
        yield f"{folder}/new"
        _replace(target, f"{folder}/new", about, key)


@contextmanager
def file_lock(target: Folder, purpose: str) -> Iterator[None]:
    """Hold the lock of a single file: a hidden file beside it while it is written."""
    parent, name = copy(target), os.path.basename(target.base)
    parent.base = os.path.dirname(target.base)
    with held(parent, f".{name}.winnow.lock", purpose, wait=False):
        yield


def _replace(target: Folder, new: str, about: About, key: str) -> None:
    """Publish a local file with its note. The note that names both files is there before the new one is."""
    note = _note_of(target)
    entry = {"size": os.path.getsize(new), "digest": _local_digest(new)}
    earlier = _read_note(target, key)
    if earlier is not None and target.exists(""):
        both = [*earlier["files"], entry]
        note.publish("", orjson.dumps({**earlier, "files": both}, option=orjson.OPT_INDENT_2), durable=True)
    else:
        note.publish("", orjson.dumps({**about, "files": [entry]}, option=orjson.OPT_INDENT_2), durable=True)
    target.publish_file(new, "", durable=True)
    if not target.local:
        entry["state"] = _state(target)
    if earlier is not None or not target.local:
        note.publish("", orjson.dumps({**about, "files": [entry]}, option=orjson.OPT_INDENT_2), durable=True)


# --- notes ----------------------------------------------------------------------------------------


def _note_of(target: Folder) -> Folder:
    """The note beside a file."""
    note = copy(target)
    note.base = f"{target.base}{NOTE}"
    return note


def _read_note(target: Folder, key: str) -> dict[str, Any] | None:
    """The note beside a file; None if there is none. Raises RecipeError for a file that is not a note."""
    note = _note_of(target)
    try:
        if note.local and os.path.lexists(note.base) and not os.path.isfile(note.base):
            raise ValueError
        content = orjson.loads(note.read(""))
        [(int(entry["size"]), str(entry["digest"])) for entry in content["files"]]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise RecipeError(
            f"{key}: {note.base} is not a note of Winnow's: move it or name another file"
        ) from None
    return dict(content)


def _is_noted(target: Folder, note: About) -> bool:
    """Whether the file is one that its note names. It is read only if the listing does not settle it."""
    size = target.fs.info(target.base)["size"]
    entries = [entry for entry in note["files"] if entry["size"] == size]
    if not entries:
        return False
    if not target.local and (state := _state(target)) and state in {entry.get("state") for entry in entries}:
        return True
    digest = Digest()
    with target.fs.open(target.base, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest() in {entry["digest"] for entry in entries}


def _state(target: Folder) -> str | None:
    """The state of a file on object storage (see storage/identity.py); None if the storage tells none."""
    target.fs.invalidate_cache()
    return remote_state(target.fs.info(target.base)) or None


def _local_digest(path: str) -> str:
    """The digest of a local file."""
    digest = Digest()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()

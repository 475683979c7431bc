"""A single file that Winnow writes, such as a subset file, and the note beside it by which it knows the file
as its own.

    check_file("subset.npy", "export.subset")             # before any work
    with writing_file("subset.npy", "export.subset", about) as path:
        build(path)                                       # a local path; published when the block ends

    subset.npy
    subset.npy.winnow.json              what it is, and the size and digest of each file that may lie there
    .subset.npy.winnow-states.json      the file's state, by which the next run sees whether it is as it was
                                        written (contents.py)

An existing file without a note was not written by Winnow and is never overwritten. One of another size or
digest than its note says is moved to `subset.npy.damaged1`. While a file is replaced, the note names the
earlier one and the new one.
"""

import itertools
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from typing import Any

from pipeline.errors import RecipeError
from pipeline.export.places.contents import (
    LOG,
    STATES_FILE,
    Noted,
    file_content,
    local_content,
    read_noted,
    save_states,
    sealed,
)
from pipeline.export.places.stage import matches
from pipeline.plan.outputs import check_output_file
from pipeline.plan.session import Session
from pipeline.storage.disk import remove_left_beside
from pipeline.storage.folder import Folder, working_beside
from pipeline.storage.identity import local_state, remote_state
from pipeline.storage.layout import NOTE
from pipeline.storage.locks.lock import held

FILES = ("subset", "table")  # exports that are one file
OTHERS = (*FILES, "grid")  # files that take the place of no other kind
DAMAGED = ".damaged"  # with a number, what follows on the name of a file that is set aside

About = Mapping[str, Any]


def check_file(path: str, key: str) -> None:
    """Raises RecipeError if something lies at a path that Winnow did not write, or that is an export of
    another kind. `key`: of the recipe, or the flag, for the message."""
    check_is_file(path, key)
    target = Folder(path)
    note = _read_note(target, key).manifest
    if note is None and target.exists(""):
        raise foreign(target, key)
    kind, wanted = (note or {}).get("export"), key.removeprefix("export.").removeprefix("--")
    if kind in FILES and wanted in OTHERS and kind != wanted:
        raise RecipeError(f"{key}: {target.base} is an export.{kind}: move it or name another file")


def check_new_file(session: Session, path: str, key: str) -> None:
    """Raises RecipeError if the file that the flag `key` names must not be written: if it is one that the
    recipe reads or writes, would be read as part of the pool, or as `check_file` does."""
    check_output_file(key, path, session.recipe, session.kind, session.shards, session.searched)
    check_file(path, key)


def note_of(path: str, key: str) -> About | None:
    """What the file at a path is, by its note; None without one. Raises RecipeError for a garbled note."""
    return _read_note(Folder(path), key).manifest


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


def is_current(path: str, key: str, about: About, defaults: Mapping[str, Any] = {}) -> bool:
    """Whether the file at a path is the one that `about` describes, as it was written. The log says if it is
    missing; a file that differs is named when another takes its place. `defaults`: what an earlier note means
    that says nothing of a key."""
    target = Folder(path)
    check_is_file(path, key)
    noted = _read_note(target, key)
    if (note := noted.manifest) is None or len(note["files"]) > 1:
        return False  # of two files, a run that was killed may have put the other one there
    if not matches({**defaults, **note}, about):
        return False
    if not target.exists(""):
        LOG.warning("%s is missing; it is written again", target.base)
        return False
    if _difference(target, note, noted.states):
        return False
    known = noted.states.get(os.path.basename(target.base))
    if not noted.fault and known == _state(target) and not _lock_is_left(target):
        return True
    with file_lock(target, key):
        if _read_note(target, key).manifest != note:
            return False  # another process has just written the file
        _remove_left(target)
        if noted.fault:
            LOG.warning("%s%s %s; it is written again", target.base, NOTE, noted.fault)
            _publish_note(target, note)
        _save_state(target, note)
    return True


@contextmanager
def writing_file(path: str, key: str, about: About, purpose: str = "") -> Iterator[str]:
    """A local path to write to. The file there takes the place of an earlier one if the block ends without an
    error. Raises RecipeError as `check_file` does, and HeldError if another process is writing the file."""
    target = Folder(path)
    check_file(path, key)
    with file_lock(target, purpose or key), working_beside(path) as folder:
        check_file(path, key)
        _remove_left(target)
        yield f"{folder}/new"
        _replace(target, f"{folder}/new", about, key)


@contextmanager
def file_lock(target: Folder, purpose: str) -> Iterator[None]:
    """Hold the lock of a single file: a hidden file beside it while it is written."""
    parent, name = _lock_of(target)
    with held(parent, name, purpose, wait=False):
        yield


def _lock_of(target: Folder) -> tuple[Folder, str]:
    """The folder and the name of the lock of a single file."""
    parent, name = copy(target), os.path.basename(target.base)
    parent.base = os.path.dirname(target.base)
    return parent, f".{name}.winnow.lock"


def _remove_left(target: Folder) -> None:
    """Remove what killed processes have left beside a file, its note and its state. Its lock must be held."""
    if target.local:
        for name in (os.path.basename(target.base), *_beside(target)[1:]):
            remove_left_beside(f"{os.path.dirname(target.base)}/{name}")


def _lock_is_left(target: Folder) -> bool:
    """Whether a process holds the lock of a file, or a killed one has left it. Object storage is not asked:
    that would be a request per run."""
    parent, name = _lock_of(target)
    return target.local and os.path.lexists(parent.path(name))


def _replace(target: Folder, new: str, about: About, key: str) -> None:
    """Publish a local file with its note. The note that names both files is there before the new one is."""
    entry = _entry(local_content(new))
    earlier = _read_note(target, key).manifest
    if earlier is not None and target.exists(""):
        if wrong := _difference(target, earlier):
            _set_aside(target, wrong)
        _publish_note(target, {**earlier, "files": [*earlier["files"], entry]})
    else:
        _publish_note(target, {**about, "files": [entry]})
    target.publish_file(new, "", durable=True)
    note = {**about, "files": [entry]}
    if earlier is not None:
        _publish_note(target, note)
    _save_state(target, note)


def _set_aside(target: Folder, wrong: str) -> None:
    """Move a file that its note names, and that is not as it was written, out of the way: it may be
    somebody's work."""
    aside = copy(target)
    number = itertools.count(1)
    while aside.exists(""):
        aside.base = f"{target.base}{DAMAGED}{next(number)}"
    if target.local:
        os.replace(target.base, aside.base)
    else:
        target.fs.cp_file(target.base, aside.base)
        target.fs.rm_file(target.base)
    LOG.warning("%s %s; it is written again, and what was there is %s", target.base, wrong, aside.base)


# --- notes ----------------------------------------------------------------------------------------


def _entry(content: str) -> dict[str, Any]:
    """A file in a note, of its size and digest."""
    size, digest = content.split()
    return {"size": int(size), "digest": digest}


def _content(entry: Mapping[str, Any]) -> str:
    """The size and digest that an entry holds."""
    return f"{entry['size']} {entry['digest']}"


def _beside(target: Folder) -> tuple[Folder, str, str]:
    """The folder of a file; the names of its note and of its state."""
    parent, name = copy(target), os.path.basename(target.base)
    parent.base = os.path.dirname(target.base)
    return parent, f"{name}{NOTE}", f".{name}{STATES_FILE}"


def _read_note(target: Folder, key: str) -> Noted:
    """The note beside a file, if there is one, and the file's state. Raises RecipeError for a file that is
    not a note."""
    parent, note, states = _beside(target)
    name = os.path.basename(target.base)
    try:
        noted = read_noted(parent, note, states, lambda note: {name: _content(*note["files"])})
        for entry in noted.manifest["files"] if noted.manifest is not None else ():
            int(entry["size"]), str(entry["digest"])
    except (ValueError, KeyError, TypeError):
        raise RecipeError(
            f"{key}: {parent.path(note)} is not a note of Winnow's: move it or name another file"
        ) from None
    return noted


def _publish_note(target: Folder, note: About) -> None:
    """Write the note beside a file."""
    parent, name, _ = _beside(target)
    parent.publish(name, sealed(note), durable=True)


def _save_state(target: Folder, note: About) -> None:
    """Write the state of a file that is as its note says."""
    parent, _, states = _beside(target)
    state = _state(target)
    save_states(parent, states, note, {os.path.basename(target.base): state} if state else {})


def _difference(target: Folder, note: About, states: Mapping[str, str] = {}) -> str | None:
    """How a file differs from what its note names; None if it does not. It is read only if its state is
    another than is known."""
    if (state := _state(target)) and state == states.get(os.path.basename(target.base)):
        return None
    size = int(target.fs.info(target.base)["size"])
    sizes = [entry["size"] for entry in note["files"]]
    if size not in sizes:
        return f"has {size} bytes and had {' or '.join(map(str, sizes))}"
    digest = _entry(file_content(target, ""))["digest"]
    if digest not in {entry["digest"] for entry in note["files"]}:
        return "does not hold the bytes that were written"
    return None


def _state(target: Folder) -> str | None:
    """The state of a file (see storage/identity.py); None if the storage tells none."""
    if target.local:
        return local_state(os.stat(target.base))
    target.fs.invalidate_cache()
    return remote_state(target.fs.info(target.base)) or None

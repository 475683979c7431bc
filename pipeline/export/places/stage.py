"""An export in the making, in an `ExportFolder`."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pipeline.errors import ChangedError
from pipeline.export.places.contents import (
    CONTENTS,
    STATES_FILE,
    Names,
    content_of,
    save_states,
    size_of,
    states_of,
)
from pipeline.storage.folder import Folder
from pipeline.storage.locks.lock import Lock

COMPLETE, REPLACES = "complete", "replaces"  # keys of a manifest
CHOICES = ("caption",)  # keys that are there only if the recipe makes the choice: to take it back is a change
STAYS = (
    "stays"  # a key while an export is made: the files of the earlier one that are files of the new one too
)
MOST_FILES = 10_000_000  # of one kind: a manifest is a file, and its numbers are not to be trusted
NOTED_EVERY = 60  # seconds: a kill loses the files that were written after the last note

Manifest = Mapping[str, Any]


class Place(Protocol):
    """What a stage needs of its `ExportFolder` (folder.py)."""

    @property
    def key(self) -> str:
        """Of the recipe, for messages."""

    @property
    def out(self) -> Folder:
        """The export's folder."""

    @property
    def names(self) -> Names:
        """The files that a manifest names."""

    def publish(self, folder: Folder, manifest: Manifest) -> None:
        """Write a manifest."""

    def check_free(self, live: Manifest | None, new_manifest: Manifest) -> None:
        """Raises RecipeError if the new export would overwrite files that the earlier one does not name."""

    def swap(self, live: Manifest) -> Manifest:
        """Move the new export into the folder."""


@dataclass
class Stage:
    """An export in the making.

    manifest   what the manifest there says now
    path       where to build it: the export's folder, or `.winnow-next` in it
    states     the states of the files that an earlier run has left, as they were written
    complete   whether there is nothing to do
    replaces   the manifest of the earlier export that stays until `finish`
    """

    place: Place
    manifest: Manifest
    lock: Lock
    path: str
    states: dict[str, str]
    complete: bool = False
    replaces: Manifest | None = None
    contents: dict[str, str] = field(init=False)  # size and digest of each file so far
    files: set[str] = field(init=False)  # the files of which `states` spoke at the beginning
    _noted_at: float = field(init=False, default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.contents = dict(self.manifest.get(CONTENTS, {}))
        self.files = set(self.states)

    @property
    def folder(self) -> Folder:
        """The folder at `path`."""
        return Folder(self.path)

    def announce(self, about: Manifest) -> None:
        """Add to the manifest, before files are written that it did not name so far."""
        if self.manifest.items() >= about.items():
            return
        self.manifest = {**self.manifest, **about}
        self.place.publish(self.folder, self.manifest)

    def publish(self, name: str, data: bytes) -> None:
        """Write a file of the export, and note its content."""
        self.folder.publish(name, data)
        self.note({name: content_of(data)})

    def note(self, contents: Mapping[str, str]) -> None:
        """Note size and digest of files that have been written. They reach the manifest once a minute."""
        self.contents.update(contents)
        for name in contents:
            self.states.pop(name, None)
        if time.monotonic() - self._noted_at > NOTED_EVERY:
            self.save()

    def forget(self, names: Iterable[str]) -> None:
        """Files that were noted and are no longer needed; the caller removes them."""
        for name in names:
            self.contents.pop(name, None)
            self.states.pop(name, None)
        self.save()

    def save(self) -> None:
        """Write what was noted so far into the manifest, so that the next run can go on from there."""
        self._settle_states()
        self.manifest = {**self.manifest, CONTENTS: self.contents}
        self.place.publish(self.folder, self.manifest)
        save_states(self.folder, STATES_FILE, self.manifest, self.states)
        self._noted_at = time.monotonic()

    def finish(self, verify: Callable[[], None], about: Mapping[str, Any] = {}) -> None:
        """Put the export, which is whole now, in the place of the earlier one. `verify` raises if what it was
        built from has changed meanwhile; `about`: what else the manifest says; None takes a key out. Every
        file must have been noted."""
        verify()
        self.lock.check()
        self.folder.remove_leftovers(also_live=True)  # of workers that died: others have done their tasks
        dropped = {key for key, value in about.items() if value is None}
        manifest = {key: value for key, value in {**self.manifest, **about}.items() if key not in dropped}
        manifest[COMPLETE] = True
        stays = (
            {name: self.replaces[CONTENTS][name] for name in manifest.get(STAYS, ())} if self.replaces else {}
        )
        self.contents |= stays
        self.contents = {name: self.contents[name] for name in self.place.names(manifest)}
        self.manifest = {**manifest, CONTENTS: self.contents}
        if self.replaces is not None:
            self.place.check_free(self.replaces, self.manifest)
        self.place.publish(self.folder, self.manifest)
        self._settle_states()
        save_states(self.folder, STATES_FILE, self.manifest, self.states)
        if self.replaces is not None:
            swapping = {**self.manifest, COMPLETE: False, REPLACES: _without_contents(self.replaces)}
            self.place.publish(self.place.out, swapping)
            if not self.place.swap(swapping)[COMPLETE]:
                raise ChangedError(f"{self.place.key}: files of the new export were removed; run it again")

    def _settle_states(self) -> None:
        """The states of files that were written since the last time. One whose size is another than was
        written gets none, and the next run reads it."""
        new = [name for name in self.contents if name not in self.states]
        for name, state in states_of(self.folder, new).items():
            if size_of(state) == size_of(self.contents[name]):
                self.states[name] = state
        self.states = {name: state for name, state in self.states.items() if name in self.contents}


def numbers(count: object) -> range:
    """The numbers of an export's files. Raises ValueError if a manifest holds no count that can be."""
    if type(count) is not int or not 0 <= count <= MOST_FILES:
        raise ValueError
    return range(count)


def _without_contents(manifest: Manifest) -> Manifest:
    """A manifest without sizes and digests, for one that only says which files there are."""
    return {key: value for key, value in manifest.items() if key != CONTENTS}


def matches(manifest: Manifest, wanted: Manifest) -> bool:
    """Whether a manifest is that of the export wanted, complete or not."""
    same_choices = all(manifest.get(key) == wanted.get(key) for key in CHOICES)
    return same_choices and manifest.items() >= wanted.items()

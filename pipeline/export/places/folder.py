"""A folder that an export fills. An earlier export in it stays until the new one is whole.

    place = ExportFolder("out", "export.shards", "_winnow.json", names)
    place.check()                                   # before any work
    with place.writing(wanted, "winnow run") as stage:
        if not stage.complete:
            build(stage.path)                       # stage.files: what an earlier, killed run has left there
            stage.note({"a.tar": content})          # of each file: its size and digest
            stage.finish(verify)

    out/_winnow.json         the manifest: what the bytes depend on, each file's size and digest, `complete`
    out/.winnow-states.json  the files' states, by which the next run sees whether they are as they were
                             written (contents.py)
    out/.winnow-next/        the new export with its manifest, while an earlier one lies in the folder
    out/.winnow.lock         who is writing; gone at the end

A new export is built in `.winnow-next` and then swapped in. First the folder's manifest becomes the new one,
with `complete: false` and `replaces`, the earlier manifest. Then the files are renamed (object storage:
copied on the server), files that only the earlier one names are removed, and the manifest says
`complete: true`. A reader that follows the manifest never sees a mixture. A swap that was killed is finished
by the next run, whatever that one wants to write. If the folder holds no export yet, the new one is built in
place. Files of the earlier export that are files of the new one too, and whose bytes stay as they are, are
not built: the manifest names them under `stays`, and the swap leaves them where they are.

A file of a finished export that was cut, changed or removed since is named and written again, in place. So is
every file of an export whose manifest, of an earlier version, holds no digests.

Files that no manifest names are never touched. `names` says which files a manifest names.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pipeline.errors import RecipeError
from pipeline.export.places.contents import (
    CONTENTS,
    LOG,
    NOT_A_FILE,
    STATES_FILE,
    Inspection,
    Noted,
    inspect,
    moved_state,
    read_noted,
    save_states,
    sealed,
    states_of,
    tell_wrong,
)
from pipeline.export.places.foreign import NEXT, check_is_folder, in_transit, of_desktop
from pipeline.export.places.stage import COMPLETE, REPLACES, STAYS, Manifest, Stage, matches
from pipeline.export.places.transfer import move, remove_empty
from pipeline.storage import layout
from pipeline.storage.folder import Folder
from pipeline.storage.locks.lock import Lock, held

MANIFEST = layout.MANIFEST
LOCK = ".winnow.lock"


Over = Callable[[Noted], Mapping[str, Any]]


@dataclass(frozen=True)
class ExportFolder:
    """The folder of one export.

    path       as the recipe has it
    key        of the recipe, for messages: `export.shards`
    manifest   name of the manifest
    names      manifest -> the files that it names, the manifest aside. Raises KeyError, TypeError or
               ValueError for what is not a manifest of this export
    """

    path: str
    key: str
    manifest: str
    names: Callable[[Manifest], Iterable[str]]

    @property
    def out(self) -> Folder:
        """The folder itself."""
        return Folder(self.path)

    @property
    def next(self) -> Folder:
        """Where a new export is built while an earlier one is there."""
        return Folder(self.next_path)

    @property
    def next_path(self) -> str:
        """The path of `next`, with its protocol."""
        return f"{self.path.rstrip('/')}/{NEXT}"

    def check(self) -> None:
        """Raises RecipeError if the folder holds something that Winnow did not write."""
        out = self.out
        check_is_folder(out, self.key)
        check_is_folder(self.next, self.key)
        for folder in (self.next, out):
            if self.read(folder) is None and (foreign := self._others(folder)):
                raise RecipeError(
                    f"{self.key}: {folder.base} is not empty and was not written by Winnow "
                    f"(it has {min(foreign)}); name another folder, or empty this one"
                )

    def read(self, folder: Folder) -> Manifest | None:
        """A folder's manifest; None if it has none. Raises RecipeError if it is not one of this export."""
        return self._read_noted(folder, states=False).manifest

    def _read_noted(self, folder: Folder, states: bool = True) -> Noted:
        """As `read`, with what is wrong with the manifest's file, and `states`: those of the files."""
        try:
            noted = read_noted(folder, self.manifest, STATES_FILE, states=states)
            if (manifest := noted.manifest) is not None:
                for part in (manifest, manifest.get(REPLACES, manifest)):
                    list(self.names(part))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise RecipeError(
                f"{self.key}: {folder.path(self.manifest)} is garbled, or that of something else; "
                "name another folder, or empty this one"
            ) from None
        return noted

    @contextmanager
    def writing(
        self, wanted: Manifest, purpose: str, bounds: Mapping[str, Any] = {}, over: Over = lambda noted: {}
    ) -> Iterator[Stage]:
        """Hold the folder and prepare it for the export `wanted`. `bounds`: what the manifest says until
        `Stage.finish` knows better, such as the largest number of files. `over`: what it says beside if the
        export takes the place of an earlier one; an export that was begun with something else is begun anew.
        Raises RecipeError, and HeldError if another process is writing."""
        self.check()
        with held(self.out, LOCK, purpose, wait=False) as lock:
            self.out.remove_leftovers()
            yield self._prepare(wanted, {**bounds, **wanted, COMPLETE: False}, lock, over)

    # --- before the export is built ---------------------------------------------------------------

    def _prepare(self, wanted: Manifest, begun: Manifest, lock: Lock, over: Over) -> Stage:
        """Finish what a killed run left, and choose where to build. `begun`: the manifest of the export
        wanted while it is built."""
        noted = self._read_noted(self.out)
        if noted.fault:
            LOG.warning("%s %s; it is written again", self.out.path(self.manifest), noted.fault)
        live = self._after_swap(noted.manifest)
        if live is not noted.manifest:
            noted = self._read_noted(self.out)
        if live is None or matches(live, wanted):
            self._discard(self.next)
            found = self._inspect(self.out, noted)
            if live is not None and live.get(COMPLETE) and CONTENTS in live and not found.wrong:
                self._keep(live, found.states, noted)
                return Stage(self, live, lock, self.path, found.states, complete=True)
            begun = _resumed(begun, live, found)
            self.check_free(live, begun)
            self.publish(self.out, begun)
            return Stage(self, begun, lock, self.path, found.states)
        self.check_free(live, begun)
        taking = over(noted)
        begun = {**begun, **taking}
        following = self._read_noted(self.next)
        if following.manifest is None or not matches(following.manifest, {**wanted, **taking}):
            self._discard(self.next)
            following = Noted(None)
        found = self._inspect(self.next, following)
        begun = _resumed(begun, following.manifest, found)
        self.publish(self.next, begun)
        return Stage(self, begun, lock, self.next_path, found.states, replaces=live)

    def _inspect(self, folder: Folder, noted: Noted) -> Inspection:
        """Which files of the export in a folder are as they were written; names the others. Of an export that
        is not complete, only those count whose content is noted."""
        if (manifest := noted.manifest) is None:
            return Inspection()
        contents = manifest.get(CONTENTS, {})
        elsewhere = manifest.get(STAYS, ())
        names = [name for name in self.names(manifest) if name in contents or manifest.get(COMPLETE)]
        names = [name for name in names if name not in elsewhere]
        if CONTENTS not in manifest:
            path = folder.path(self.manifest)
            LOG.warning("%s holds no digests: the files of the export are written again", path)
            return Inspection()
        found = inspect(folder, names, contents, noted.states)
        for name in (name for name, reason in found.wrong.items() if reason == NOT_A_FILE):
            raise RecipeError(
                f"{self.key}: {folder.path(name)} {NOT_A_FILE}; move it, or name another folder"
            )
        tell_wrong(folder, found.wrong)
        return found

    def _keep(self, live: Manifest, states: Mapping[str, str], noted: Noted) -> None:
        """Note what was found of an export that is left as it is."""
        if noted.fault:
            self.publish(self.out, live)
        if noted.fault or states != noted.states:
            save_states(self.out, STATES_FILE, live, states)

    def _after_swap(self, live: Manifest | None) -> Manifest | None:
        """The folder's manifest once a swap that was killed is finished. If the new files are no longer
        there, the mixture is removed."""
        if live is None or REPLACES not in live:
            return live
        if self.read(self.next) is not None:
            return self.swap(live)
        ours = [*self.names(live), *self.names(live[REPLACES]), STATES_FILE, self.manifest]
        self._remove(self.out, ours)
        return None

    def check_free(self, live: Manifest | None, new_manifest: Manifest) -> None:
        """Raises RecipeError if the new export would overwrite files that the earlier one does not name."""
        files = self.out.file_names()
        new = set(self.names(new_manifest)) - set(self.names(live) if live else ())
        blocked = new | ({os.path.dirname(name) for name in new} - {""})
        taken = {name for name in files if name in blocked or name.partition("/")[0] in new}
        if self.out.local and os.path.isdir(self.out.base):
            taken |= new.intersection(os.listdir(self.out.base))
        if taken:
            raise RecipeError(
                f"{self.key}: {self.out.path(min(taken))} was not written by Winnow; move it, or name "
                "another folder"
            )

    def _others(self, folder: Folder) -> set[str]:
        """The files in a folder that are none of ours in transit, nor left by a desktop that showed it."""
        return {name for name in folder.file_names() if not in_transit(name) and not of_desktop(name)}

    # --- the swap ---------------------------------------------------------------------------------

    def swap(self, live: Manifest) -> Manifest:
        """Move the new export into the folder, whose manifest is `live`; returns the manifest at the end."""
        out, new = self.out, self.next
        names = list(self.names(live))
        before, known = self._read_noted(out).states, dict(self._read_noted(new).states)
        known |= {name: before[name] for name in live.get(STAYS, ()) if name in before}
        move(new, out, sorted(new.file_names().intersection(names)))
        surplus = set(self.names(live[REPLACES])).difference(names)
        self._remove(out, surplus)
        now = states_of(out, names)
        whole = now.keys() >= set(names)
        done = {key: value for key, value in live.items() if key not in (REPLACES, STAYS)} | {COMPLETE: whole}
        self.publish(out, done)
        states = {name: moved_state(known.get(name), now.get(name), out.local) for name in names}
        save_states(out, STATES_FILE, done, {name: state for name, state in states.items() if state})
        self._discard(new)
        return done

    def publish(self, folder: Folder, manifest: Manifest) -> None:
        """Write a manifest, once all it names is safe from a power cut."""
        folder.publish(self.manifest, sealed(manifest), durable=True)

    def _discard(self, folder: Folder) -> None:
        """Remove an export that was begun, as far as its manifest names it."""
        if (manifest := self.read(folder)) is not None:
            folder.remove_leftovers(also_live=True)
            self._remove(folder, [*self.names(manifest), STATES_FILE, self.manifest])
        remove_empty(folder)

    def _remove(self, folder: Folder, names: Iterable[str]) -> None:
        """Remove those of these files that exist, in the order of `names`, and the subfolders they leave
        empty."""
        files, ours = folder.file_names(), dict.fromkeys(names)
        folder.remove([name for name in ours if name in files])
        for subfolder in {os.path.dirname(name) for name in ours} - {""}:
            remove_empty(folder, subfolder)


def export_folder(
    path: str | None, key: str, manifest: str, names: Callable[[Manifest], Iterable[str]]
) -> ExportFolder:
    """The folder that a recipe names for an export. Raises RecipeError if it names none."""
    if path is None:
        raise RecipeError(f"{key} is missing: name the folder to write")
    return ExportFolder(path, key, manifest, names)


def _resumed(begun: Manifest, earlier: Manifest | None, found: Inspection) -> Manifest:
    """The manifest of an export that goes on from what an earlier run has left."""
    if earlier is None:
        return begun
    contents = {name: earlier[CONTENTS][name] for name in found.states}
    return {**begun, **earlier, CONTENTS: contents, COMPLETE: False}

"""A folder that an export fills. An earlier export in it stays until the new one is whole.

    place = ExportFolder("out", "export.shards", "_winnow.json", names)
    place.check()                                   # before any work
    with place.writing(wanted, "winnow run") as stage:
        if not stage.complete:
            build(stage.path)                       # stage.files: what an earlier, killed run has left there
            stage.finish(verify)

    out/_winnow.json     the manifest: what the bytes depend on, which files there are, and `complete`
    out/.winnow-next/    the new export with a manifest of its own, while an earlier one lies in the folder
    out/.winnow.lock     who is writing; gone at the end

A new export is built in `.winnow-next` and then swapped in. First the folder's manifest becomes the new one,
with `complete: false` and `replaces`, the earlier manifest. Then the files are renamed (object storage:
copied on the server), files that only the earlier one names are removed, and the manifest says
`complete: true`. A reader that follows the manifest never sees a mixture. A swap that was killed is finished
by the next run, whatever that one wants to write. If the folder holds no export yet, the new one is built in
place.

Files that no manifest names are never touched. `names` says which files a manifest names.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import orjson

from pipeline.errors import ChangedError, RecipeError
from pipeline.storage.folder import Folder
from pipeline.storage.footers import REQUESTS
from pipeline.storage.locks.lock import Lock, held

MANIFEST = "_winnow.json"
NEXT = ".winnow-next"
LOCK = ".winnow.lock"
DESKTOP_FILES = (".ds_store", ".localized", "thumbs.db", "ehthumbs.db", "desktop.ini", ".directory")
COMPLETE, REPLACES = "complete", "replaces"  # keys of a manifest
AT_ONCE = 256  # files that are copied on object storage before their sources are removed

Manifest = Mapping[str, Any]


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
        _check_is_folder(out, self.key)
        _check_is_folder(self.next, self.key)
        for folder in (self.next, out):
            if self.read(folder) is None and (foreign := self._others(folder)):
                raise RecipeError(
                    f"{self.key}: {folder.base} is not empty and was not written by Winnow "
                    f"(it has {min(foreign)}); name another folder, or empty this one"
                )

    def read(self, folder: Folder) -> Manifest | None:
        """A folder's manifest; None if it has none. Raises RecipeError if it is not one of this export."""
        path = folder.path(self.manifest)
        try:
            if folder.local and os.path.lexists(path) and not os.path.isfile(path):
                raise ValueError
            manifest = orjson.loads(folder.read(self.manifest))
            for part in (manifest, manifest.get(REPLACES, manifest)):
                list(self.names(part))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise RecipeError(
                f"{self.key}: {path} is garbled, or that of something else; "
                "name another folder, or empty this one"
            ) from None
        return dict(manifest)

    @contextmanager
    def writing(self, wanted: Manifest, purpose: str, bounds: Mapping[str, Any] = {}) -> Iterator["Stage"]:
        """Hold the folder and prepare it for the export `wanted`. `bounds`: what the manifest says until
        `Stage.finish` knows better, such as the largest number of files. Raises RecipeError, and HeldError if
        another process is writing."""
        self.check()
        with held(self.out, LOCK, purpose, wait=False) as lock:
            self.out.remove_leftovers()
            yield self._prepare(wanted, bounds, lock)

    # --- before the export is built ---------------------------------------------------------------

    def _prepare(self, wanted: Manifest, bounds: Manifest, lock: Lock) -> "Stage":
        """Finish what a killed run left, and choose where to build."""
        live = self._after_swap(self.read(self.out))
        begun = {**bounds, **wanted, COMPLETE: False}
        if live is None or _matches(live, wanted):
            self._discard(self.next)
            files = self.out.file_names() if live else set()
            if live is not None and live.get(COMPLETE) and files.issuperset(self.names(live)):
                return Stage(self, live, lock, self.path, files, complete=True)
            begun |= {**(live or {}), COMPLETE: False}
            self.check_free(live, begun)
            self.publish(self.out, begun)
            return Stage(self, begun, lock, self.path, files)
        self.check_free(live, begun)
        following = self.read(self.next)
        if following is None or not _matches(following, wanted):
            self._discard(self.next)
            following = begun
        begun |= {**following, COMPLETE: False}
        self.publish(self.next, begun)
        return Stage(self, begun, lock, self.next_path, self.next.file_names(), replaces=live)

    def _after_swap(self, live: Manifest | None) -> Manifest | None:
        """The folder's manifest once a swap that was killed is finished. If the new files are no longer
        there, the mixture is removed."""
        if live is None or REPLACES not in live:
            return live
        if self.read(self.next) is not None:
            return self.swap(live)
        self._remove(self.out, [*self.names(live), *self.names(live[REPLACES]), self.manifest])
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
        return {name for name in folder.file_names() if not _in_transit(name) and not _of_desktop(name)}

    # --- the swap ---------------------------------------------------------------------------------

    def swap(self, live: Manifest) -> Manifest:
        """Move the new export into the folder, whose manifest is `live`; returns the manifest at the end."""
        out, new = self.out, self.next
        _move(new, out, sorted(new.file_names().intersection(self.names(live))))
        surplus = set(self.names(live[REPLACES])) - set(self.names(live))
        self._remove(out, surplus)
        whole = out.file_names().issuperset(self.names(live))
        done = {key: value for key, value in live.items() if key != REPLACES} | {COMPLETE: whole}
        self.publish(out, done)
        self._discard(new)
        return done

    def publish(self, folder: Folder, manifest: Manifest) -> None:
        """Write a manifest, once all it names is safe from a power cut; the same bytes whatever its
        history."""
        data = orjson.dumps(manifest, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
        folder.publish(self.manifest, data, durable=True)

    def _discard(self, folder: Folder) -> None:
        """Remove an export that was begun, as far as its manifest names it."""
        if (manifest := self.read(folder)) is not None:
            folder.remove_leftovers(also_live=True)
            self._remove(folder, [*self.names(manifest), self.manifest])
        _remove_empty(folder)

    def _remove(self, folder: Folder, names: Iterable[str]) -> None:
        """Remove those of these files that exist, in the order of `names`, and the subfolders they leave
        empty."""
        files, ours = folder.file_names(), dict.fromkeys(names)
        folder.remove([name for name in ours if name in files])
        for subfolder in {os.path.dirname(name) for name in ours} - {""}:
            _remove_empty(folder, subfolder)


@dataclass
class Stage:
    """An export in the making.

    manifest   what the manifest there says now
    path       where to build it: the export's folder, or `.winnow-next` in it
    files      the files that are there, left by an earlier run that wanted the same
    complete   whether there is nothing to do
    replaces   the manifest of the earlier export that stays until `finish`
    """

    place: ExportFolder
    manifest: Manifest
    lock: Lock
    path: str
    files: set[str]
    complete: bool = False
    replaces: Manifest | None = None

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

    def finish(self, verify: Callable[[], None], about: Mapping[str, Any] = {}) -> None:
        """Put the export, which is whole now, in the place of the earlier one. `verify` raises if what it was
        built from has changed meanwhile; `about`: what else the manifest says."""
        verify()
        self.lock.check()
        self.folder.remove_leftovers(also_live=True)  # of workers that died: others have done their tasks
        self.manifest = {**self.manifest, **about, COMPLETE: True}
        if self.replaces is not None:
            self.place.check_free(self.replaces, self.manifest)
        self.place.publish(self.folder, self.manifest)
        if self.replaces is not None:
            swapping = {**self.manifest, COMPLETE: False, REPLACES: self.replaces}
            self.place.publish(self.place.out, swapping)
            if not self.place.swap(swapping)[COMPLETE]:
                raise ChangedError(f"{self.place.key}: files of the new export were removed; run it again")


def _matches(manifest: Manifest, wanted: Manifest) -> bool:
    """Whether a manifest is that of the export wanted, complete or not."""
    return manifest.items() >= wanted.items()


def _in_transit(name: str) -> bool:
    """Whether a file of an export's folder is a lock or part of the next export."""
    first = name.partition("/")[0]
    return first == NEXT or (first.startswith(".") and first.endswith("winnow.lock"))


def _of_desktop(name: str) -> bool:
    """Whether macOS, Windows or a Linux desktop puts such a file into every folder that it shows."""
    return (last := os.path.basename(name).lower()) in DESKTOP_FILES or last.startswith("._")


def _check_is_folder(folder: Folder, key: str) -> None:
    """Raises RecipeError if something else than a folder lies at the path, or at one above it."""
    if not folder.local:
        return
    path = folder.base
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    if not os.path.isdir(path):
        raise RecipeError(f"{key}: {path} exists and is not a folder; name another folder")


def _move(source: Folder, target: Folder, names: Sequence[str]) -> None:
    """Move files from one folder to another of the same storage; a second time after a kill is no harm."""
    if source.local:
        for name in names:
            os.makedirs(os.path.dirname(target.path(name)), exist_ok=True)
            os.replace(source.path(name), target.path(name))
        return
    with ThreadPoolExecutor(REQUESTS) as pool:
        for start in range(0, len(names), AT_ONCE):
            group = names[start : start + AT_ONCE]
            list(pool.map(lambda name: source.fs.cp_file(source.path(name), target.path(name)), group))
            source.remove(group)


def _remove_empty(folder: Folder, subfolder: str = "") -> None:
    """Remove an empty folder of a local disk."""
    if folder.local:
        with suppress(OSError):
            os.rmdir(folder.path(subfolder))

"""The acts of which random histories of a pool consist: shards that come, change and go, recipes that are
edited, runs that are killed, that meet, that find the disk full, and parts of the store that are damaged."""

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from tests.support.place import Place, published, same, settled, tar_bytes, told
from tests.support.warm import Fault, Warm

NAMES = ("a", "b", "sub/c", "d", "e")
WORDS = ("old", "new", "red", "dog", "cat", "sea")  # of three letters, so that rewriting keeps sizes
HELD = 1  # the exit status of a run that found its export folder held by another


class ChangingPool:
    """A place and its runs, in a temporary folder. `tables`: shards are JSON lines, not tars."""

    def __init__(self, warm: Warm, tables: bool) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pool_machine"))
        self.place = (Place.of_tables if tables else Place)(self.folder)
        self.place.execute = warm.winnow
        self.warm = warm
        self.suffix = ".jsonl" if tables else ".tar"
        self.whole: dict[str, bytes] = {}  # the last content that a shard had when it was whole

    def close(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.folder)

    # --- shards -----------------------------------------------------------------------------------

    def shards(self) -> list[str]:
        """The names of the shards that there are."""
        return [name for name in NAMES if self.path(name).exists()]

    def path(self, name: str) -> Path:
        """The file of a shard."""
        return self.place.pool / f"{name}{self.suffix}"

    def write(self, name: str, captions: Sequence[str], seed: int) -> None:
        """A shard with these captions, written over what was there."""
        data = tar_bytes(captions, seed) if self.suffix == ".tar" else _lines(captions, seed)
        self.whole[name] = data
        self.path(name).parent.mkdir(parents=True, exist_ok=True)
        self.path(name).write_bytes(data)

    def replace(self, name: str, captions: Sequence[str], seed: int) -> None:
        """A shard with these captions, renamed over what was there."""
        self.write("aside.part", captions, seed)
        self.whole[name] = self.whole.pop("aside.part")
        os.replace(self.path("aside.part"), self.path(name))

    def remove(self, name: str) -> None:
        """A shard is gone."""
        self.path(name).unlink()

    def cut(self, name: str, share: float) -> None:
        """A shard loses its end."""
        os.truncate(self.path(name), int(self.path(name).stat().st_size * share))

    def repair(self, name: str) -> None:
        """A shard is again what it was when it was whole."""
        if name in self.whole:
            self.path(name).write_bytes(self.whole[name])

    def touch(self, names: Sequence[str]) -> None:
        """Shards have another time, and the same bytes."""
        for name in names:
            os.utime(self.path(name))

    def rename(self, old: str, new: str) -> None:
        """A shard has another name; one that had it is gone."""
        self.path(new).parent.mkdir(parents=True, exist_ok=True)
        os.replace(self.path(old), self.path(new))
        if old in self.whole:
            self.whole[new] = self.whole[old]

    def swap(self, one: str, two: str) -> None:
        """Two shards have each other's name."""
        self.rename(one, "aside.part")
        self.rename(two, one)
        self.rename("aside.part", two)

    def rewrite(self, name: str, old: str, new: str) -> None:
        """A word of three letters gives way to another, in place, and the file's time is set back."""
        path = self.path(name)
        before = path.stat()
        with path.open("r+b") as file:
            data = file.read().replace(old.encode(), new.encode())
            file.seek(0)
            file.write(data)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    # --- the store --------------------------------------------------------------------------------

    def damage(self, which: int, how: str, share: float) -> None:
        """One of the parquet files in the store is cut, flipped, or gone."""
        parts = sorted(self.place.store.rglob("*.parquet"))
        if not parts:
            return
        path = parts[which % len(parts)]
        data = path.read_bytes()
        at = int((len(data) - 1) * share)
        if how == "gone":
            path.unlink()
        elif data:
            path.write_bytes(
                data[:at] if how == "cut" else data[:at] + bytes([data[at] ^ 8]) + data[at + 1 :]
            )

    # --- runs -------------------------------------------------------------------------------------

    def run_and_compare(self) -> None:
        """A run leaves what a run with a new store leaves, and ends alike. Where a new store has nothing to
        export, the exports that were there stay."""
        before = self.place.exports()
        done = self.place.winnow("run", "--json")
        fresh, expected = self._fresh()
        if fresh.returncode == 2 and "no column" in fresh.stderr:
            return  # the first table is cut before its first row: refused before any work, if it is to be read
        said = f"{done.stdout}{done.stderr}\n--- a new store says:\n{fresh.stdout}{fresh.stderr}"
        assert done.returncode == fresh.returncode, said
        assert done.returncode in (0, 1), said
        assert "Traceback" not in done.stderr, said
        same(self.place.exports(), expected or before)
        if done.stdout and fresh.stdout:
            assert settled(told(done, done.returncode)["books"]) == settled(
                told(fresh, fresh.returncode)["books"]
            )

    def _fresh(self) -> tuple[CompletedProcess[str], dict[str, bytes]]:
        """A run with a new store, and what it exports."""
        home = self.folder / "fresh"
        home.mkdir()
        done = self.place.winnow("run", "--json", home=home)
        exports = published(home / "out")
        shutil.rmtree(home)
        return done, exports

    def faulty(self, command: str, kind: str, at: int) -> CompletedProcess[str]:
        """A command that is killed, or that finds the disk full."""
        local = ("--local",) if command == "run" else ()
        done = self.warm.winnow(command, self.place.recipe(), *local, fault=Fault(kind, at))
        assert "Traceback" not in done.stderr, done.stderr
        told = done.returncode == 2 and "nothing to decide on" in done.stderr  # of `keep`
        assert told or done.returncode in (0, 1, -9), done.stderr
        return done

    def together(self, bounds: Sequence[int]) -> None:
        """Runs with these bounds, all at once; each does its work or says who holds the export folder."""
        recipe = self.place.recipe()
        key = "keep.facts.words.min"
        runs = [self.warm.start("run", recipe, "--local", "--set", f"{key}={bound}") for bound in bounds]
        for run in runs:
            done = run.wait()
            assert "Traceback" not in done.stderr, done.stderr
            assert done.returncode in (0, HELD), done.stderr

    def compact(self) -> None:
        """Small parts move into packs."""
        done = self.place.winnow("compact")
        assert done.returncode in (0, 1), done.stderr
        assert "Traceback" not in done.stderr, done.stderr

    # --- the recipe -------------------------------------------------------------------------------

    def edit(self, operator: str, keep: str, fields: dict[str, Any] | None, bound: dict[str, Any]) -> None:
        """An operator and a rule on its column are added or changed; or removed, if `fields` is None."""
        self.place.compute.pop(operator, None)
        self.place.keep.pop(keep, None)
        if fields is not None:
            self.place.compute[operator] = fields
            self.place.keep[keep] = bound


def _lines(captions: Sequence[str], seed: int) -> bytes:
    """Captions and URLs as JSON lines."""
    rows = (
        f'{{"text": "{text}", "url": "http://e.org/{seed}/{row}"}}\n' for row, text in enumerate(captions)
    )
    return "".join(rows).encode()

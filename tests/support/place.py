"""A pool, a recipe, a store and exports in a folder of a test, used through the command line alone. What a
run leaves can be compared with a run that knows nothing of the past.

    place = Place(tmp_path)
    place.tar("0", ["a red dog", "a cat"])
    place.run()                    # winnow run --local, which must end with status 0
    place.tar("0", ["a blue dog", "a cat"], seed=7)
    place.run_and_agree()          # the exports equal those of a new store over the pool as it is
"""

import io
import itertools
import json
import os
import tarfile
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import yaml

from tests.support.command import winnow
from tests.support.folders import placeless
from tests.support.paths import PLUGINS
from tests.support.samples import picture

COMPUTE = {
    "caption": {"use": "caption.Caption"},
    "facts": {"use": "datacomp.Facts"},
    "words": {"use": "wfpp.WordFrequency", "minimum_count": 1},
    "rarity": {"use": "wfpp.WordFrequencyScore", "frequency": "words"},
    "light": {"use": "planted.Brightness"},
}
KEEP = {"facts.words": {"min": 2}, "rarity.score": {"top": 0.9, "missing": "keep"}}
LOCAL = ("run", "compute", "effects", "export")  # commands that take --local
MEMBERS = ("jpg", "txt", "json")


def tar_bytes(captions: Sequence[str], seed: int = 0) -> bytes:
    """A tar of one sample per caption. A picture follows from (seed, row)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for row, caption in enumerate(captions):
            record = json.dumps({"url": f"http://example.org/{seed}/{row}"}).encode()
            for suffix, data in zip(
                MEMBERS, (picture(seed * 100 + row), caption.encode(), record), strict=True
            ):
                info = tarfile.TarInfo(f"{row:05}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def rewrite_in_place(path: Path, data: bytes) -> None:
    """Overwrite a file of the same size and set its time of change back, as an unlucky copy does."""
    before = path.stat()
    assert before.st_size == len(data)
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


class Place:
    """`compute`, `keep`, `export`, `limits` and `pool_keys` are sections of the recipe, which a test may
    change at any time. Paths of outputs are relative to the place."""

    def __init__(self, folder: Path, **pool_keys: Any) -> None:
        self.folder = folder
        self.pool = folder / "pool"
        self.pool.mkdir(parents=True, exist_ok=True)
        self.pool_keys: dict[str, Any] = pool_keys or {"shards": str(self.pool)}
        self.compute: dict[str, dict[str, Any]] = deepcopy(COMPUTE)
        self.keep: dict[str, dict[str, Any]] = deepcopy(KEEP)
        self.export: dict[str, Any] = {
            "shards": "out/shards",
            "samples_per_shard": 3,
            "subset": "out/subset.npy",
            "table": "out/table.parquet",
        }
        self.limits: Any = {}
        self.plugins = [str(PLUGINS)]
        self.execute: Callable[..., CompletedProcess[str]] = winnow
        self._numbers = itertools.count()

    @classmethod
    def of_tables(cls, folder: Path, **pool_keys: Any) -> "Place":
        """A place whose pool has no images."""
        place = cls(folder, **pool_keys)
        place.without_images()
        return place

    def without_images(self) -> None:
        """Leave out what needs images."""
        del self.compute["light"], self.export["shards"], self.export["samples_per_shard"]
        self.export["urls"] = "out/urls"

    # --- the pool ---------------------------------------------------------------------------------

    def tar(self, name: str, captions: Sequence[str], seed: int = 0) -> Path:
        """Write a shard whole, under its own name, as `cp` does; returns its path."""
        path = self.pool / f"{name}.tar"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tar_bytes(captions, seed))
        return path

    def three(self) -> None:
        """Three shards of four samples."""
        for shard in range(3):
            self.tar(f"{shard}", [f"shard {shard} row {row}" + " more" * row for row in range(4)], seed=shard)

    # --- runs -------------------------------------------------------------------------------------

    @property
    def store(self) -> Path:
        """The folder of the store."""
        return self.folder / "store"

    @property
    def out(self) -> Path:
        """The folder that all exports are in."""
        return self.folder / "out"

    def recipe(self, home: Path | None = None) -> Path:
        """Write the recipe whose store and exports are in `home`; returns its path."""
        home = home or self.folder
        whole = {
            "plugins": self.plugins,
            "pool": {"store": str(home / "store"), **self.pool_keys},
            "compute": self.compute,
            "keep": self.keep,
            "export": {key: _at(home, key, value) for key, value in self.export.items()},
            "limits": self.limits,
        }
        path = home / "recipe.yaml"
        path.write_text(yaml.safe_dump(whole, sort_keys=False))
        return path

    def winnow(self, command: str, *words: object, home: Path | None = None) -> CompletedProcess[str]:
        """A command on the recipe, in the plain loop; in this process unless `execute` says otherwise."""
        local = ("--local",) if command in LOCAL else ()
        return self.execute(command, self.recipe(home), *words, *local)

    def run(self, *words: object, status: int = 0) -> dict[str, Any]:
        """`winnow run`; returns its books and exports, and all that was said under `said`."""
        return told(self.winnow("run", "--json", *words), status)

    def computed(self, *words: object, status: int = 0) -> dict[str, int]:
        """`winnow compute`; returns the rows that this run worked on, by operator, without zeros."""
        rows = told(self.winnow("compute", "--json", *words), status)["operators"]["rows"]
        return {name: count for name, count in rows.items() if count}

    # --- comparisons ------------------------------------------------------------------------------

    def exports(self) -> dict[str, bytes]:
        """Every published byte of the exports, by path."""
        return published(self.out)

    def fresh(self, *words: object, status: int = 0) -> tuple[dict[str, Any], dict[str, bytes]]:
        """The books and the exports of a run with a store and an export folder of its own."""
        home = self.folder / f"fresh{next(self._numbers)}"
        home.mkdir()
        done = told(self.winnow("run", "--json", *words, home=home), status)
        return settled(done["books"]), published(home / "out")

    def run_and_agree(self, *words: object, status: int = 0) -> dict[str, Any]:
        """Run here, and with a new store; books and exports must be equal. Returns what this run told."""
        done = self.run(*words, status=status)
        self.agree(done, *words, status=status)
        return done

    def agree(self, done: Mapping[str, Any], *words: object, status: int = 0) -> None:
        """Assert that a run's books and the exports as they are equal those of a run with a new store."""
        books, exports = self.fresh(*words, status=status)
        same(self.exports(), exports)
        assert settled(done["books"]) == books


def _at(home: Path, key: str, value: Any) -> Any:
    """A value of `export`, with its paths below a folder."""
    if isinstance(value, dict):
        return {name: _at(home, name, inner) for name, inner in value.items()}
    return str(home / value) if key in ("shards", "subset", "table", "urls", "path") else value


def told(done: CompletedProcess[str], status: int = 0) -> dict[str, Any]:
    """The JSON that a command printed, and under `said` everything; it must have ended with this status."""
    said = done.stdout + done.stderr
    assert done.returncode == status, said
    return {**(json.loads(done.stdout) if done.stdout.startswith("{") else {}), "said": said}


def settled(books: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of the books that follow from pool and recipe alone."""
    names = (
        "shards",
        "samples",
        "listed",
        "kept",
        "dropped",
        "failed",
        "rules",
        "damaged",
        "pending",
        "lost",
    )
    return {name: books[name] for name in names}


def published(folder: Path) -> dict[str, bytes]:
    """The files of an export folder by relative path, hidden ones (locks, temporaries) aside. Of an index's
    manifest, all but where the pool is, as seen from the folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    found = {str(path.relative_to(folder)): path for path in files}
    shown = {n: p for n, p in found.items() if not any(part[0] == "." for part in n.split("/"))}
    return {name: placeless(name, path.read_bytes()) for name, path in shown.items()}


def same(found: Mapping[str, bytes], expected: Mapping[str, bytes]) -> None:
    """Assert that two sets of files are equal, in words that name the files that are not."""
    wrong = {
        "missing": sorted(expected.keys() - found.keys()),
        "too many": sorted(found.keys() - expected.keys()),
        "different": [name for name in found if name in expected and found[name] != expected[name]],
    }
    assert not any(wrong.values()), f"{wrong} of {len(expected)} files"

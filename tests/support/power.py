"""A disk that loses what was not synced: after `cut`, a file is what the last sync left of it, empty or gone.

    power = Power(folder)
    power.watch(monkeypatch)                  # from now on, what is synced is recorded
    power.cut(random.Random(0))

The model is a file system's that orders nothing by itself: a file's bytes are safe once the file or its file
system is synced, and its name once the folder or the file system is synced after that.
"""

import os
import random
from pathlib import Path

import pytest

from pipeline.storage import folder as module

State = tuple[int, int, int]


def _state(path: Path) -> State:
    """Another one whenever the file is rewritten or replaced."""
    now = path.stat()
    return now.st_ino, now.st_size, now.st_mtime_ns


class Power:
    """Records what is synced below a folder. `cuts`: files that the power cut changed, so far."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.safe_bytes: set[State] = set()
        self.safe: dict[Path, tuple[State, bytes]] = {}
        self.cuts = 0

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Record the syncs of `pipeline.storage` from now on, without making them."""
        monkeypatch.setattr(module, "sync_file_system", lambda path: self._sync_all())
        monkeypatch.setattr(module, "sync_file", lambda path: self._sync(Path(path)))

    def _files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file())

    def _sync_all(self) -> None:
        for path in self._files():
            self.safe_bytes.add(_state(path))
            self.safe[path] = _state(path), path.read_bytes()
        for path in [path for path in self.safe if not path.exists()]:
            del self.safe[path]

    def _sync(self, path: Path) -> None:
        if path.is_file():
            self.safe_bytes.add(_state(path))
            return
        for child in path.iterdir():
            if child.is_file() and _state(child) in self.safe_bytes:
                self.safe[child] = _state(child), child.read_bytes()

    def cut(self, rng: random.Random) -> None:
        """Each file that is not safe as it is becomes empty, its older self or nothing; or stays, by luck."""
        for path in self._files():
            state, older = self.safe.get(path, (None, None))
            fate = rng.choice(["stays", "empty", "older"])
            if state == _state(path) or fate == "stays":
                continue
            self.cuts += 1
            if fate == "empty":
                os.truncate(path, 0)
            elif older is None:
                path.unlink()
            else:
                path.write_bytes(older)
        for path, (_, data) in self.safe.items():
            if not path.exists() and path.parent.exists() and rng.random() < 0.5:  # it was removed just now
                path.write_bytes(data)

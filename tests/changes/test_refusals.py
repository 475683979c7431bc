"""Stores that cannot be written: one line with the path, what is wrong, and the next step."""

import builtins
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.place import Place, told

REAL_OPEN = builtins.open
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    place.three()
    return place


def lines(text: str) -> list[str]:
    """The lines of an error."""
    return [line for line in text.splitlines() if line.startswith(("error:", "run the same"))]


@pytest.fixture(params=[errno.EROFS, errno.EACCES], ids=["EROFS", "EACCES"])
def read_only(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Callable[[Path], None]]:
    """Make a folder read-only, as a mount or a mode would: root may write whatever a mode says."""
    folders = list[str]()

    def refuse(path: Any) -> None:
        if isinstance(path, str | os.PathLike) and os.path.abspath(path).startswith(tuple(folders)):
            raise OSError(request.param, os.strerror(request.param), os.fspath(path))

    def opened(path: Any, mode: str = "r", *words: Any, **options: Any) -> Any:
        if set(mode) & set("wax+"):
            refuse(path)
        return REAL_OPEN(path, mode, *words, **options)

    def os_open(path: Any, flags: int, *words: Any, **options: Any) -> int:
        if flags & WRITES:
            refuse(path)
        return real_open(path, flags, *words, **options)

    def refusing(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *words: Any, **options: Any) -> Any:
            if not os.path.isdir(path):
                refuse(path)
            return real(path, *words, **options)

        return call

    def begin(folder: Path) -> None:
        folders.append(str(folder))

    real_open, real_access = os.open, os.access
    monkeypatch.setattr(builtins, "open", opened)
    monkeypatch.setattr(os, "open", os_open)
    for name in ("mkdir", "makedirs", "replace", "unlink", "rename"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))
    monkeypatch.setattr(
        os,
        "access",
        lambda path, mode: (
            real_access(path, mode)
            and not (mode & os.W_OK and os.path.abspath(path).startswith(tuple(folders)))
        ),
    )
    yield begin
    folders.clear()


def test_commands_that_only_read_a_store_work(place: Place, read_only: Callable[[Path], None]) -> None:
    place.run()
    uid = _uid(place)
    os.utime(place.pool / "0.tar")
    place.run()
    (place.store / "footers/samples.json").unlink()
    read_only(place.store)
    warnings = told(place.winnow("plan", "--json"))["warnings"]
    assert warnings[0].startswith(f"pool.store: {place.store} cannot be written")
    assert told(place.winnow("keep", "--json"))["pending"] == {}
    assert uid in told(place.execute("explain", place.recipe(), uid))["said"]
    os.utime(place.pool / "1.tar")  # that its content is the same cannot be noted
    assert told(place.winnow("plan", "--json"))["doubtful"].keys() == {"1"}
    units = told(place.execute("store", "info", place.recipe(), "--json"))["units"]
    assert all(unit["needed"] for unit in units if unit["unit"].startswith("columns/"))


def _uid(place: Place) -> str:
    """A uid that is exported."""
    first = np.load(place.out / "subset.npy")[0]
    return f"{int(first[0]):016x}{int(first[1]):016x}"


@pytest.mark.parametrize("command", ["run", "compute"])
@pytest.mark.parametrize("exists", [True, False])
def test_a_command_that_computes_needs_a_store_that_can_be_written(
    place: Place, read_only: Callable[[Path], None], command: str, exists: bool
) -> None:
    if exists:
        place.store.mkdir()
    read_only(place.store)
    done = place.winnow(command)
    (line,) = lines(done.stderr)
    assert done.returncode == 1
    assert line.startswith(f"error: pool.store: {place.store}")
    assert line.endswith(", or name another path")


def dangling(place: Place) -> Path:
    place.store.symlink_to("nowhere")
    return place.store


def folder_for_a_file(place: Place) -> Path:
    (place.store / "store.json").mkdir(parents=True)
    return place.store / "store.json"


def file_for_a_folder(place: Place) -> Path:
    place.store.mkdir()
    (place.store / "samples").touch()
    return place.store / "samples"


def file_above(place: Place) -> Path:
    place.store.touch()
    return place.store


def folder_for_a_part(place: Place) -> Path:
    (place.store / "samples/0.parquet").mkdir(parents=True)
    return place.store / "samples/0.parquet"


@pytest.mark.parametrize(
    ("fault", "wrong"),
    [
        (dangling, "is a link that leads nowhere; mend it, or name another path"),
        (folder_for_a_file, "is a folder, and a file belongs there: move it away, or name another path"),
        (file_for_a_folder, "is a file or a broken link, and a folder belongs there: move it away"),
        (file_above, "is a file, not a folder; name another path"),
        (folder_for_a_part, "is a folder, and a file belongs there: move it away"),
    ],
)
def test_something_else_where_a_file_or_folder_of_the_store_belongs(
    place: Place, fault: Callable[[Place], Path], wrong: str
) -> None:
    path = fault(place)
    done = place.winnow("run")
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert "run the same command again" not in done.stderr
    assert f"{path} {wrong}" in " ".join(done.stderr.split())


def test_no_space_left(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def publish_file(self: Any, *_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr("pipeline.storage.folder.Folder.publish_file", publish_file)
        done = place.winnow("run")
    (line,) = lines(done.stderr)
    assert done.returncode == 1
    assert line == (
        f"error: storage: {place.store}/store.json cannot be written, the disk is full: make room, then run the "
        "same command again to go on"
    )
    place.run_and_agree()

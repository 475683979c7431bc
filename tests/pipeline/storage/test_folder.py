"""Files appear whole or not at all, on a disk and on fsspec alike."""

import os
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import polars as pl
import pytest

from pipeline.storage.folder import Folder, working_beside


@pytest.fixture(params=["local", "memory"])
def root(request, tmp_path):
    return str(tmp_path / "out") if request.param == "local" else f"memory://{uuid.uuid4().hex}/out"


def test_what_is_published_is_listed_and_read(root, tmp_path):
    folder = Folder(root)
    assert folder.file_names() == set()
    folder.publish("a.txt", b"a")
    with folder.publishing("b/c.txt") as path:
        Path(path).write_bytes(b"c")
    (tmp_path / "d").write_bytes(b"d")
    folder.publish_file(str(tmp_path / "d"), "b/d.json")
    assert folder.file_names() == {"a.txt", "b/c.txt", "b/d.json"}
    assert folder.file_names("b", ".txt") == {"c"}
    assert [folder.read(name) for name in ("a.txt", "b/c.txt", "b/d.json")] == [b"a", b"c", b"d"]
    folder.remove(["a.txt", "b/c.txt"])
    assert folder.file_names() == {"b/d.json"}


def test_folders_directly_in_a_folder(root):
    folder = Folder(root)
    assert folder.folder_names("columns") == set()
    for name in ("columns/a-1/x/deep.txt", "columns/b-2/meta.json", "columns/file.txt", "other/c-3/x.txt"):
        folder.publish(name, b"1")
    assert folder.folder_names("columns") == {"columns/a-1", "columns/b-2"}


def test_names_are_never_patterns(root):
    folder = Folder(root)
    names = ["a[b]c.txt", "ab.txt", "abc.txt", "x*.txt", "xy.txt", "q?.txt", "qr.txt"]
    for name in names:
        folder.publish(name, b"1")
    folder.remove(["a[b]c.txt", "x*.txt", "q?.txt", "absent.txt", "absent[1].txt"])
    assert folder.file_names() == {"ab.txt", "abc.txt", "xy.txt", "qr.txt"}
    folder.move("ab.txt", "damaged/a[b].txt")
    assert folder.file_names() == {"damaged/a[b].txt", "abc.txt", "xy.txt", "qr.txt"}
    with pytest.raises(FileNotFoundError):
        folder.move("absent.txt", "b")


def test_json_is_sealed(root, caplog):
    folder = Folder(root)
    assert folder.read_json("x/a.json") is None
    folder.publish_json("x/a.json", {"n": [1, None, "ü"]}, durable=True)
    assert folder.read_json("x/a.json") == {"n": [1, None, "ü"]}
    assert caplog.records == []
    folder.publish("x/a.json", folder.read("x/a.json").replace(b"1", b"2"))
    assert folder.read_json("x/a.json") is None
    assert [folder.path("x/a.json") in record.getMessage() for record in caplog.records] == [True]


def test_an_error_publishes_nothing(root):
    folder = Folder(root)

    def write() -> None:
        with folder.publishing("a.txt") as path:
            Path(path).write_bytes(b"half")
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        write()
    assert folder.file_names() == set()


def test_sizes_and_footers_of_parquet_files(root):
    folder = Folder(root)
    with folder.publishing("x/a.parquet") as path:
        pl.DataFrame({"n": [1, 2, 3]}).write_parquet(path)
    folder.publish("x/rules.json", b"{}")
    assert folder.parquet_footer("x/a.parquet").num_rows == 3
    assert folder.sizes("x", ".parquet") == {"a": len(folder.read("x/a.parquet"))}
    if not folder.local:
        assert {name: info["size"] for name, info in folder.listing("x").items()} == {
            "a.parquet": len(folder.read("x/a.parquet")),
            "rules.json": 2,
        }


def test_a_footer_longer_than_the_guess(monkeypatch):
    monkeypatch.setattr("pipeline.storage.folder.FOOTER_GUESS", 16)
    folder = Folder(f"memory://{uuid.uuid4().hex}")
    with folder.publishing("a.parquet") as path:
        pl.DataFrame({"n": [1, 2, 3]}).write_parquet(path)
    assert folder.parquet_footer("a.parquet").num_rows == 3


def test_single_files(root):
    Folder(f"{root}/a.txt").publish("", b"a")
    with Folder(f"{root}/b.txt").publishing("") as path:
        Path(path).write_bytes(b"b")
    with working_beside(f"{root}/c.txt") as folder:
        (Path(folder) / "c").write_bytes(b"c")
        Folder(f"{root}/c.txt").publish_file(f"{folder}/c", "")
    assert not os.path.exists(folder)
    assert {name: Folder(root).read(name) for name in Folder(root).file_names()} == {
        "a.txt": b"a",
        "b.txt": b"b",
        "c.txt": b"c",
    }


def test_working_beside_a_file_touches_nothing_else(tmp_path):
    """A folder of the user's that is called like the file, and one of a process that lives, stay."""
    theirs = tmp_path / "c.txt.tmp" / "precious"
    living = tmp_path / f".winnow-tmp.{socket.gethostname().replace('.', '-')}.{os.getpid()}.1.c.txt"
    for folder in (theirs, living):
        folder.mkdir(parents=True)
    with working_beside(f"{tmp_path}/c.txt") as folder:
        assert os.listdir(folder) == []
    assert sorted(os.listdir(tmp_path)) == sorted(["c.txt.tmp", living.name])
    assert theirs.is_dir()


def test_files_of_other_processes_are_seen():
    """Object stores cache listings; what a worker has published since must not stay hidden."""
    folder = Folder(f"memory://{uuid.uuid4().hex}")
    asked = []
    folder.fs = type("Caching", (), {
        "invalidate_cache": lambda self: asked.append("forget"),
        "find": lambda self, base: asked.append("find") or [f"{base}a.parquet"],
    })()  # fmt: skip
    assert folder.file_names("samples", ".parquet") == {"a"}
    assert asked == ["forget", "find"]


# --- crashes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fails", ["write", "rename"])
def test_nothing_is_visible_after_a_crash(tmp_path, monkeypatch, fails):
    """A kill between the write and the rename: the old file stands, a new name is absent."""
    folder = Folder(str(tmp_path))
    folder.publish("folder/old.parquet", b"old")

    def die(*_):
        raise KeyboardInterrupt

    if fails == "rename":
        monkeypatch.setattr("pipeline.storage.folder.os.replace", die)
    else:
        monkeypatch.setattr("builtins.open", lambda *a, **k: die() if "w" in a[1] else None)
    for name in ("old", "new"):
        with pytest.raises(KeyboardInterrupt):
            folder.publish(f"folder/{name}.parquet", b"new")
    monkeypatch.undo()
    assert folder.read("folder/old.parquet") == b"old"
    assert not folder.exists("folder/new.parquet")
    assert folder.file_names("folder", ".parquet") == {"old"}


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    folder = Folder(str(tmp_path))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipeline.storage.folder.os.replace", full)
    with pytest.raises(OSError, match="No space left"):
        folder.publish("folder/new.parquet", b"new")
    assert os.listdir(tmp_path / "folder") == []


def test_a_killed_process_leaves_nothing_visible_and_is_swept(tmp_path):
    code = (
        "import os, signal, sys; from pipeline.storage import folder\n"
        "folder.os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "folder.Folder(sys.argv[1]).publish('samples/a.parquet', b'half')"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    folder = Folder(str(tmp_path))
    assert len(os.listdir(tmp_path / "samples")) == 1  # it lies there, and nobody sees it
    assert folder.file_names("samples", ".parquet") == set()
    folder.remove_leftovers()
    assert os.listdir(tmp_path / "samples") == []


def test_sweep_spares_living_processes_and_other_machines(tmp_path):
    folder = Folder(str(tmp_path))
    with folder.publishing("samples/a.parquet") as aside:  # by this process, which lives
        Path(aside).write_bytes(b"half")
        (tmp_path / "samples" / ".winnow-tmp.another-host.1.2.b.parquet").write_bytes(b"")
        (tmp_path / "samples" / "c.parquet").write_bytes(b"")
        before = sorted(os.listdir(tmp_path / "samples"))
        folder.remove_leftovers()
        assert sorted(os.listdir(tmp_path / "samples")) == before
        assert len(before) == 3
        os.utime(tmp_path / "samples" / ".winnow-tmp.another-host.1.2.b.parquet", (0, time.time() - 700_000))
        folder.remove_leftovers()  # nobody has touched it for a week
        assert len(os.listdir(tmp_path / "samples")) == 2
        folder.remove_leftovers(also_live=True)
        assert os.listdir(tmp_path / "samples") == ["c.parquet"]
        Path(aside).write_bytes(b"half")

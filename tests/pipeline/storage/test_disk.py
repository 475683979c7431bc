"""Names of unpublished files: nobody else's file is ever taken for one."""

import os
import socket
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.storage.disk import is_leftover, is_temporary, published, remove_any, temporary_path
from pipeline.storage.folder import Folder, working_beside

HOST = socket.gethostname().replace(".", "-")[:64]
DEAD = 4_000_000  # past the largest process id


@pytest.mark.parametrize(
    "name",
    [
        "x.tmp",
        ".tmp.foo",
        ".tmp.host.1.2.a.parquet",  # of versions before
        ".winnow-tmp",
        ".winnow-tmp.",
        ".winnow-tmp.notes",
        ".winnow-tmp.host.a.b.name",
        ".winnow-tmp.host.1.2",
        ".winnow-tmp.host.1.2.",
        "a.winnow-tmp.host.1.2.name",
    ],
)
def test_files_of_others_are_never_removed(tmp_path, name):
    assert not is_temporary(name)
    (tmp_path / "samples").mkdir()
    for path in (tmp_path / name, tmp_path / "samples" / name):
        path.write_bytes(b"precious")
        os.utime(path, (0, 0))
    folder = Folder(str(tmp_path))
    folder.remove_leftovers()
    folder.remove_leftovers(also_live=True)
    assert sorted(os.listdir(tmp_path)) == sorted([name, "samples"])
    assert os.listdir(tmp_path / "samples") == [name]
    assert folder.file_names() == {name, f"samples/{name}"}


def test_whose_files_are_left_over(tmp_path):
    ours = temporary_path(str(tmp_path), "a.parquet")
    dead = f"{tmp_path}/.winnow-tmp.{HOST}.{DEAD}.1.a.parquet"
    other = f"{tmp_path}/.winnow-tmp.another-host.{DEAD}.1.a.parquet"
    for path in (ours, dead, other):
        open(path, "w").close()
    assert [is_leftover(path) for path in (ours, dead, other)] == [False, True, False]
    assert [is_leftover(dead, name) for name in ("a.parquet", "b.parquet", "parquet")] == [True, False, False]
    os.utime(other, (0, time.time() - 8 * 86_400))
    assert is_leftover(other)
    assert not is_leftover(f"{tmp_path}/.winnow-tmp.another-host.1.1.absent")


def test_a_link_to_a_folder_is_removed_and_the_folder_stays(tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "a").write_bytes(b"a")
    os.symlink(tmp_path / "theirs", tmp_path / "link")
    remove_any(str(tmp_path / "link"))
    remove_any(str(tmp_path / "absent"))
    assert os.listdir(tmp_path) == ["theirs"]
    assert (tmp_path / "theirs" / "a").exists()


@pytest.mark.parametrize("name", ["s" * 247 + ".parquet", "ä" * 123 + ".parquet", "x" * 251 + ".npy"])
def test_a_name_of_255_bytes_is_published(tmp_path, name):
    folder = Folder(str(tmp_path))
    folder.publish(f"samples/{name}", b"a")
    assert folder.file_names("samples") == {name}
    temporary = os.path.basename(temporary_path("", name))
    assert is_temporary(temporary)
    assert len(os.fsencode(temporary)) <= 255


def test_long_names_of_numpy_files_keep_their_suffix(tmp_path):
    name = "x" * 251 + ".npy"
    with working_beside(f"{tmp_path}/{name}") as beside:
        assert os.path.basename(beside).endswith(".npy")
    with Folder(str(tmp_path)).publishing(name) as path:
        np.save(path, np.zeros(3))
    assert os.listdir(tmp_path) == [name]


def test_published_files_are_found_at_any_depth_and_linked_folders_are_not_followed(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("0.parquet", "a/1.parquet", "a/b/2.parquet", "a/3.json"):
        (tmp_path / name).write_bytes(b"x")
    Path(temporary_path(str(tmp_path / "a"), "4.parquet")).write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "5.parquet").symlink_to(tmp_path / "0.parquet")

    found = {name: entry.stat().st_size for name, entry in published(str(tmp_path), ".parquet")}

    assert found == {"0": 1, "a/1": 1, "a/b/2": 1, "5": 1}
    assert list(published(str(tmp_path / "absent"))) == []
    assert list(published(str(tmp_path / "0.parquet"))) == []

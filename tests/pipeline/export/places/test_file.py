"""A single file: what is ours and what is not, and kills at every moment."""

import json
import os
import subprocess
from pathlib import Path

import fsspec
import pytest

from pipeline.errors import HeldError, RecipeError
from pipeline.export.places import contents as contents_module
from pipeline.export.places.file import check_file, file_lock, is_current, writing_file
from pipeline.storage import disk
from pipeline.storage.folder import Folder
from tests.support.folders import contents
from tests.support.kill_steps import killed_after
from tests.support.s3_server import s3


@pytest.fixture(params=["disk", "memory", "s3"])
def path(request, tmp_path):
    """The path of a file on each kind of storage."""
    if request.param == "disk":
        yield str(tmp_path / "out" / "a.npy")
    elif request.param == "memory":
        fsspec.filesystem("memory").store.clear()
        yield "memory://files/a.npy"
    else:
        pytest.importorskip("moto")
        with s3():
            fsspec.filesystem("s3").mkdir("bucket")
            yield "s3://bucket/a.npy"


def write(path, data: bytes, **about) -> None:
    with writing_file(str(path), "export.x", {"export": "x", **about}) as new:
        Path(new).write_bytes(data)


def put(path, data: bytes) -> None:
    """As somebody else."""
    folder = Folder(str(path))
    if folder.local:
        os.makedirs(os.path.dirname(folder.base), exist_ok=True)
    folder.fs.pipe_file(folder.base, data)


def read(path) -> bytes:
    return Folder(str(path)).read("")


def test_written_and_replaced(path):
    write(path, b"first", decision=1)
    assert is_current(path, "export.x", {"decision": 1})
    assert not is_current(path, "export.x", {"decision": 2})
    write(path, b"second", decision=2)
    assert read(path) == b"second"
    note = json.loads(read(f"{path}.winnow.json"))
    assert (note["decision"], len(note["files"]), note["files"][0]["size"]) == (2, 1, 6)
    base = Folder(path).base
    assert sorted(Folder(os.path.dirname(path)).file_names()) == [
        f".{os.path.basename(base)}.winnow-states.json",
        os.path.basename(base),
        f"{os.path.basename(base)}.winnow.json",
    ]


def test_a_file_of_somebody_else(path):
    put(path, b"mine")
    words = r"^export\.x: .*a\.npy exists and was not written by Winnow: move it or name another file"
    with pytest.raises(RecipeError, match=words):
        check_file(path, "export.x")
    with pytest.raises(RecipeError, match=words):
        write(path, b"ours")
    assert read(path) == b"mine"


@pytest.mark.parametrize("data", [b"mine", b"another"])
def test_a_file_that_somebody_else_put_in_the_place_of_ours(path, data):
    write(path, b"ours")
    put(path, data)
    assert not is_current(path, "export.x", {"export": "x"})
    for number, other in enumerate((b"next", b"ours"), 1):
        write(path, other)
        assert read(path) == other
        assert read(f"{path}.damaged{number}") == data
        put(path, data)


@pytest.mark.parametrize(
    ("there", "wanted"), [("subset", "export.table"), ("table", "export.subset"), ("table", "--subset")]
)
def test_an_export_of_another_kind(tmp_path, there, wanted):
    path = str(tmp_path / "out")
    with writing_file(path, f"export.{there}", {"export": there}) as new:
        Path(new).write_bytes(b"ours")
    check_file(path, f"export.{there}")
    with pytest.raises(RecipeError, match=f"{wanted}: {path} is an export.{there}: move it"):
        check_file(path, wanted)
    assert read(path) == b"ours"


def test_a_copy_of_ours_is_ours(tmp_path):
    write(tmp_path / "a", b"ours")
    for name in ("a", "a.winnow.json"):
        (tmp_path / f"copy{name[1:]}").write_bytes((tmp_path / name).read_bytes())
    write(tmp_path / "copy", b"next")
    assert (tmp_path / "copy").read_bytes() == b"next"


def test_a_file_that_is_gone_is_written_again(path):
    write(path, b"ours")
    Folder(path).fs.rm_file(Folder(path).base)
    assert not is_current(path, "export.x", {"export": "x"})
    write(path, b"ours")
    assert read(path) == b"ours"


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda p: os.symlink("gone", p)])
def test_what_is_not_an_ordinary_file(tmp_path, make):
    make(tmp_path / "a")
    with pytest.raises(RecipeError, match="was not written by Winnow"):
        check_file(str(tmp_path / "a"), "export.x")
    with pytest.raises(RecipeError, match="was not written by Winnow"):
        write(tmp_path / "a", b"ours")
    assert os.listdir(tmp_path) == ["a"]


def test_a_link_to_somebody_elses_file(tmp_path):
    (tmp_path / "mine").write_bytes(b"mine")
    (tmp_path / "a").symlink_to("mine")
    with pytest.raises(RecipeError, match="was not written by Winnow"):
        write(tmp_path / "a", b"ours")
    assert (tmp_path / "a").is_symlink()


def test_a_file_above(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RecipeError, match=r"file exists and is not a folder"):
        check_file(str(tmp_path / "file" / "more" / "a"), "export.x")


@pytest.mark.parametrize("note", [b"mine", b"[]", b'{"files": [5]}'])
def test_a_note_of_somebody_else(tmp_path, note):
    (tmp_path / "a.winnow.json").write_bytes(note)
    with pytest.raises(RecipeError, match=r"a\.winnow\.json is not a note of Winnow's"):
        write(tmp_path / "a", b"ours")
    assert contents(tmp_path) == {"a.winnow.json": note}


def test_an_error_leaves_the_earlier_file(path):
    write(path, b"first")
    with pytest.raises(TypeError):
        write(path, "not bytes")
    assert read(path) == b"first"
    assert is_current(path, "export.x", {"export": "x"})


def test_killed_after_any_number_of_steps(path, monkeypatch):
    """At every moment the file is one or the other, and ours."""
    found, steps, ended = list[bytes](), 0, False
    while not ended:
        write(path, b"first", number=1)
        with killed_after(monkeypatch, steps, (Folder, "publish"), (Folder, "publish_file")) as run:
            write(path, b"second", number=2)
        ended = run.ended
        found.append(read(path))
        check_file(path, "export.x")
        assert read(path) == b"first" or not is_current(path, "export.x", {"number": 1})
        write(path, b"second", number=2)
        assert (read(path), len(json.loads(read(f"{path}.winnow.json"))["files"])) == (b"second", 1)
        steps += 1
    assert steps > 3
    assert found == sorted(found)
    assert set(found) == {b"first", b"second"}


def test_two_at_once(path, monkeypatch):
    monkeypatch.setattr(
        "pipeline.storage.locks.object_lock.BEAT", 0.2
    )  # so long does the second watch the first
    with file_lock(Folder(path), "export.x of first"), pytest.raises(HeldError, match=r"export\.x of first"):
        write(path, b"second")


def test_on_object_storage_the_listing_says_that_it_is_ours(monkeypatch):
    pytest.importorskip("moto")
    with s3() as server:
        fsspec.filesystem("s3").mkdir("bucket")
        write("s3://bucket/a.npy", b"ours")
        server.reset()
        check_file("s3://bucket/a.npy", "export.x")
        assert server.count(r"GET /bucket/a\.npy$") == 0


def test_large_files_are_read_in_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(contents_module, "CHUNK", 3)
    write(tmp_path / "a", b"twelve bytes")
    os.utime(tmp_path / "a")
    assert is_current(str(tmp_path / "a"), "export.x", {"export": "x"})


def test_what_a_killed_process_left_is_removed_although_the_file_is_current(tmp_path):
    """It was to write another decision, which may have filled the disk."""
    path = tmp_path / "a.npy"
    write(path, b"first", decision=1)
    (tmp_path / ".a.npy.winnow.lock").write_bytes(b"")
    process = subprocess.Popen(["true"])
    process.wait()
    left = f".winnow-tmp.{disk.HOST}.{process.pid}.1."
    (tmp_path / f"{left}a.npy").mkdir()
    (tmp_path / f"{left}a.npy" / "new").write_bytes(b"half")
    (tmp_path / f"{left}a.npy.winnow.json").write_bytes(b"half a note")
    (tmp_path / f"{left}b.npy").write_bytes(b"of another file")
    before = contents(tmp_path)
    assert is_current(str(path), "export.x", {"decision": 1})
    assert before.keys() - contents(tmp_path).keys() == {
        ".a.npy.winnow.lock",
        f"{left}a.npy/new",
        f"{left}a.npy.winnow.json",
    }


def test_a_note_is_mended_by_one_process_at_a_time(tmp_path):
    path = tmp_path / "a.npy"
    write(path, b"first", decision=1)
    (tmp_path / "a.npy.winnow.json").unlink()
    with file_lock(Folder(str(path)), "another"), pytest.raises(HeldError, match="another"):
        is_current(str(path), "export.x", {"decision": 1})
    assert not (tmp_path / "a.npy.winnow.json").exists()
    assert is_current(str(path), "export.x", {"decision": 1})
    assert (tmp_path / "a.npy.winnow.json").exists()

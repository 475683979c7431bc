"""A folder of an export: what is ours and what is not, and kills at every moment of a swap."""

import os
import socket
from pathlib import Path

import fsspec
import orjson
import pytest

from pipeline.errors import ChangedError, HeldError, RecipeError
from pipeline.export.places import stage, transfer
from pipeline.export.places.contents import content_of, sealed
from pipeline.export.places.folder import ExportFolder
from pipeline.storage.folder import Folder
from tests.support.folders import contents, is_states
from tests.support.kill_steps import killed_after
from tests.support.s3_server import s3
from tests.support.sizes import only_full


def names(manifest):
    return [f"{number}.txt" for number in range(manifest["files"])] + ["about/it.txt"]


def place(path) -> ExportFolder:
    return ExportFolder(str(path), "export.x", "_winnow.json", names)


def nothing() -> None:
    pass


def write(path, letter: str, files: int, verify=nothing) -> bool:
    """Export so many files with a letter in each; returns whether there was anything to do."""
    with place(path).writing({"letter": letter, "files": files}, "test") as stage:
        if not stage.complete:
            for name in names({"files": files}):
                if name not in stage.files:
                    stage.publish(name, letter.encode())
            stage.finish(verify)
        return not stage.complete


def whole(letter: str, files: int) -> dict[str, bytes]:
    """What the folder holds at the end."""
    found = {name: letter.encode() for name in names({"files": files})}
    sizes = {name: content_of(data) for name, data in found.items()}
    manifest = {"complete": True, "contents": sizes, "files": files, "letter": letter}
    return found | {"_winnow.json": sealed(manifest)}


@pytest.fixture(params=["disk", "memory", "s3"])
def root(request, tmp_path):
    """The path of an export on each kind of storage."""
    if request.param == "disk":
        yield str(tmp_path / "out")
    elif request.param == "memory":
        fsspec.filesystem("memory").store.clear()
        yield "memory://places/out"
    else:
        pytest.importorskip("moto")
        with s3():
            fsspec.filesystem("s3").mkdir("bucket")
            yield "s3://bucket/out"


def read(root: str) -> dict[str, bytes]:
    folder = Folder(root)
    return {name: folder.read(name) for name in folder.file_names() if not is_states(name.split("/")[-1])}


def test_one_export_after_the_other(root):
    assert write(root, "a", 3)
    assert read(root) == whole("a", 3)
    assert not write(root, "a", 3)
    assert write(root, "b", 1)
    assert read(root) == whole("b", 1)
    assert write(root, "c", 4)
    assert read(root) == whole("c", 4)


def test_the_earlier_one_stays_until_the_new_one_is_whole(root):
    write(root, "a", 3)
    with place(root).writing({"letter": "b", "files": 2}, "test") as stage:
        stage.publish("0.txt", b"b")
        stage.folder.publish("1.txt", b"b")  # and is killed before that is noted
        stage.save()
    there = {name: data for name, data in read(root).items() if not name.startswith(".winnow-next/")}
    assert there == whole("a", 3)
    with place(root).writing({"letter": "b", "files": 2}, "test") as stage:
        assert stage.files == {"0.txt"}
    write(root, "b", 2)
    assert read(root) == whole("b", 2)


def test_what_was_begun_for_another_decision_is_dropped(root):
    write(root, "a", 3)
    for letter in "bc":
        with place(root).writing({"letter": letter, "files": 2}, "test") as stage:
            assert stage.files == set()
            stage.folder.publish("1.txt", letter.encode())
    assert not write(root, "a", 3)
    assert read(root) == whole("a", 3)


def test_inputs_that_changed_meanwhile_leave_the_earlier_one(root):
    def changed():
        raise ChangedError("changed")

    write(root, "a", 2)
    with pytest.raises(ChangedError):
        write(root, "b", 3, changed)
    there = {name: data for name, data in read(root).items() if not name.startswith(".winnow-next/")}
    assert there == whole("a", 2)


@pytest.mark.parametrize(
    "after", ["b", pytest.param("a", marks=only_full), pytest.param("c", marks=only_full)]
)
def test_killed_after_any_number_of_steps(root, monkeypatch, after):
    """Each change of a file is a step. At every moment the manifest says which files are whole, and the next
    run, whatever it wants, ends as if nothing had happened."""
    steps, ended = 0, False
    while not ended:
        Folder(root).fs.rm(Folder(root).base, recursive=True) if Folder(root).exists("") else None
        write(root, "a", 3)
        calls = (Folder, "publish"), (Folder, "remove"), (os, "replace"), (type(Folder(root).fs), "cp_file")
        with killed_after(monkeypatch, steps, *calls) as run:
            write(root, "b", 2)
        ended = run.ended
        found = read(root)
        manifest = orjson.loads(found["_winnow.json"])
        if manifest["complete"]:
            files = {name: found[name] for name in [*names(manifest), "_winnow.json"]}
            assert files == whole(manifest["letter"], manifest["files"])
        write(root, after, {"a": 3, "b": 2, "c": 1}[after])
        assert read(root) == whole(after, {"a": 3, "b": 2, "c": 1}[after])
        steps += 1
    assert steps > 8


def test_a_swap_whose_new_files_are_gone_is_begun_anew(tmp_path):
    write(tmp_path, "a", 3)
    live = {"complete": False, "files": 2, "letter": "b", "replaces": {"files": 3, "letter": "a"}}
    (tmp_path / "_winnow.json").write_bytes(orjson.dumps(live))
    (tmp_path / "notes").write_bytes(b"mine")
    write(tmp_path, "b", 2)
    assert contents(tmp_path) == whole("b", 2) | {"notes": b"mine"}


def test_files_of_others_stay(tmp_path):
    write(tmp_path, "a", 1)
    mine = {"notes": b"mine", "7.txt.tmp": b"mine", "x.tmp/0.txt": b"mine", "about/more.txt": b"mine"}
    for name, data in mine.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    write(tmp_path, "b", 3)
    write(tmp_path, "c", 1)
    assert contents(tmp_path) == whole("c", 1) | mine


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir, os.mkfifo, lambda p: p.symlink_to("gone")])
def test_a_name_that_somebody_else_took(tmp_path, make):
    write(tmp_path, "a", 1)
    make(tmp_path / "2.txt")
    with pytest.raises(RecipeError, match=r"^export\.x: .*2\.txt was not written by Winnow; move it"):
        write(tmp_path, "b", 3)
    assert (tmp_path / "0.txt").read_bytes() == b"a"


def a_file(path: Path) -> None:
    path.touch()


def a_folder_below_a_file(path: Path) -> None:
    path.parent.rmdir()
    path.parent.touch()


def a_manifest_of_another_export(path: Path) -> None:
    path.mkdir()
    (path / "_winnow.json").write_text('{"export": "y"}')


def a_manifest_that_is_a_pipe(path: Path) -> None:
    path.mkdir()
    os.mkfifo(path / "_winnow.json")


def a_full_folder(path: Path) -> None:
    path.mkdir()
    (path / "thesis.tex").touch()


def a_hidden_folder_of_that_name(path: Path) -> None:
    (path / ".winnow-next").mkdir(parents=True)
    (path / ".winnow-next" / "thesis.tex").touch()


def a_file_in_its_place(path: Path) -> None:
    path.mkdir()
    (path / ".winnow-next").touch()


@pytest.mark.parametrize(
    "make",
    [
        a_file,
        os.mkfifo,
        a_folder_below_a_file,
        a_manifest_of_another_export,
        a_manifest_that_is_a_pipe,
        a_full_folder,
        a_hidden_folder_of_that_name,
        a_file_in_its_place,
    ],
)
def test_what_is_not_ours_is_refused_and_stays(tmp_path, make):
    path = tmp_path / "above" / "out"
    path.parent.mkdir()
    make(path)
    before = sorted(str(p) for p in tmp_path.rglob("*"))
    for refuse in (place(path).check, lambda: write(path, "a", 1)):
        with pytest.raises(RecipeError, match=r"^export\.x: "):
            refuse()
    assert sorted(str(p) for p in tmp_path.rglob("*")) == before


def test_what_killed_processes_left_is_not_somebody_elses(tmp_path):
    host = socket.gethostname().replace(".", "-")
    (tmp_path / f".winnow-tmp.{host}.4000000.1.0.txt").write_bytes(b"half")  # past the largest pid
    (tmp_path / ".winnow.lock").touch()
    place(tmp_path).check()
    write(tmp_path, "a", 1)
    assert contents(tmp_path) == whole("a", 1)


def test_two_at_once(root, monkeypatch):
    monkeypatch.setattr(
        "pipeline.storage.locks.object_lock.BEAT", 0.2
    )  # so long does the second watch the first
    with (
        place(root).writing({"letter": "a", "files": 1}, "export.x of first"),
        pytest.raises(HeldError, match=r"in use by .* \(export\.x of first\)"),
    ):
        write(root, "b", 1)


def test_a_file_that_is_announced_is_named_before_it_is_there(tmp_path):
    with place(tmp_path).writing({"letter": "a"}, "test", {"files": 0}) as stage:
        stage.announce({"files": 1})
        assert orjson.loads((tmp_path / "_winnow.json").read_bytes())["files"] == 1
        stage.folder.publish("0.txt", b"a")
    write(tmp_path, "b", 0)
    assert contents(tmp_path) == whole("b", 0)


def test_on_object_storage_files_are_copied_in_groups(monkeypatch):
    fsspec.filesystem("memory").store.clear()
    monkeypatch.setattr(transfer, "AT_ONCE", 2)
    write("memory://places/out", "a", 5)
    write("memory://places/out", "b", 7)
    assert read("memory://places/out") == whole("b", 7)


@pytest.mark.parametrize(("every", "left"), [(-1, {"0.txt", "1.txt"}), (3600, set())])
def test_what_was_noted_survives_a_kill(tmp_path, monkeypatch, every, left):
    """Files whose digest has not reached the manifest are written again."""
    monkeypatch.setattr(stage, "NOTED_EVERY", every)
    with place(tmp_path).writing({"letter": "a", "files": 3}, "test") as first:
        first.publish("0.txt", b"a")
        first.publish("1.txt", b"a")
    (tmp_path / "2.txt").write_bytes(b"a")  # by a worker; the driver was killed
    with place(tmp_path).writing({"letter": "a", "files": 3}, "test") as second:
        assert second.files == left
    write(tmp_path, "a", 3)
    assert contents(tmp_path) == whole("a", 3)


def test_a_file_that_is_damaged_between_a_kill_and_the_next_run(tmp_path, caplog):
    with place(tmp_path).writing({"letter": "a", "files": 3}, "test") as first:
        first.publish("0.txt", b"a")
        first.publish("1.txt", b"a")
        first.save()
    (tmp_path / "1.txt").write_bytes(b"b")
    with place(tmp_path).writing({"letter": "a", "files": 3}, "test") as second:
        assert second.files == {"0.txt"}
    assert "1.txt does not hold the bytes that were written" in caplog.text
    write(tmp_path, "a", 3)
    assert contents(tmp_path) == whole("a", 3)


def test_after_a_swap_nothing_is_read_to_see_that_nothing_changed(root, monkeypatch):
    """A rename changes states; they are noted anew."""
    write(root, "a", 3)
    write(root, "b", 2)
    monkeypatch.setattr("pipeline.export.places.contents.file_content", None)
    assert not write(root, "b", 2)

"""Files of a finished export that are cut, flipped, removed, replaced or touched: the next run names them and
ends with the bytes of a fresh export."""

import json
import os
from pathlib import Path

import pytest

from pipeline.errors import RecipeError
from pipeline.export import tars, urls
from pipeline.export.places import contents as contents_module
from pipeline.export.places.folder import ExportFolder
from pipeline.export.tars import export_shards
from pipeline.plan.session import Session
from pipeline.run.executor import LocalExecutor
from pipeline.storage.folder import Folder
from tests.support.damaged_exports import (
    DAMAGES,
    FILES,
    NOTES,
    STATES,
    exports,
    flipped,
    heals,
    held,
    put,
    run,
)
from tests.support.decided_pool import decided, ordinary
from tests.support.folders import contents
from tests.support.place import Place


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[str, Session, dict[str, bytes]]:
    """The folder of all exports, their session, and the bytes of fresh ones. Each test leaves it whole."""
    home = tmp_path_factory.mktemp("damage")
    ordinary(home / "pool")
    root = str(home / "out")
    session = decided(home, exports(root))
    run(session)
    return root, session, held(root)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__ if damage else "removed")
@pytest.mark.parametrize("name", [*FILES, *NOTES, *STATES])
def test_damage_is_named_and_healed(finished, name, damage, caplog):
    heals(finished, name, damage, caplog)


@pytest.mark.parametrize("name", FILES)
def test_a_bit_that_flips_while_the_time_is_set_back(finished, name, caplog):
    root = finished[0]
    times = os.stat(f"{root}/{name}")
    put(root, name, flipped(Folder(root).read(name)))
    os.utime(f"{root}/{name}", ns=(times.st_atime_ns, times.st_mtime_ns))
    heals(finished, name, lambda data: data, caplog)


@pytest.mark.parametrize("name", [*FILES, *NOTES])
def test_a_touched_file_is_read_once_and_left_alone(finished, name, caplog, monkeypatch):
    root, session, fresh = finished
    path, read = f"{root}/{name}", list[str]()
    for put_there in (Path.touch, lambda p: p.write_bytes(p.read_bytes())):
        put_there(Path(path))
        inode = os.stat(path).st_ino
        original = contents_module._content_of_file

        def counting(file, original=original):
            read.append(file.name)
            return original(file)

        for at in (contents_module,):
            monkeypatch.setattr(at, "_content_of_file", counting)
        for expected in ([path] if name in FILES else [], []):
            read.clear()
            run(session)
            assert read == expected
        monkeypatch.undo()
        assert os.stat(path).st_ino == inode
    assert held(root) == fresh
    assert not caplog.records


def test_only_the_tar_that_is_damaged_is_written_again(finished, caplog):
    root, session, fresh = finished
    put(root, "shards/00000001.tar", b"torn")
    put(root, "shards/00000002_stats.json", None)
    result = export_shards(session, LocalExecutor())
    assert (result.written, result.skipped) == (2, 1)
    assert held(root) == fresh
    assert "00000001.tar has 4 bytes and had" in caplog.text
    assert "00000002_stats.json is missing; it is written again" in caplog.text


def test_a_copy_of_an_export_is_read_once(tmp_path, finished, caplog):
    """Its states are those of other files."""
    root, session, fresh = finished
    original = f"{root}/shards"
    os.rename(original, tmp_path / "moved")
    for name, data in contents(tmp_path / "moved").items():
        Path(original).mkdir(exist_ok=True)
        put(original, name, data)
    run(session)
    assert held(root) == fresh
    assert not caplog.records


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_not_a_file_is_refused(tmp_path, make):
    ordinary(tmp_path / "pool")
    session = decided(tmp_path, {"urls": str(tmp_path / "out")})
    run(session)
    path = tmp_path / "out" / "00000000.parquet"
    path.unlink()
    make(path)
    with pytest.raises(RecipeError, match=r"00000000\.parquet is not an ordinary file; move it"):
        run(session)


def test_many_damaged_files_are_counted(tmp_path, caplog):
    ordinary(tmp_path / "pool")
    session = decided(tmp_path, {"shards": str(tmp_path / "out"), "samples_per_shard": 1})
    run(session)
    fresh = held(str(tmp_path / "out"))
    for path in (tmp_path / "out").glob("*.tar"):
        path.unlink()
    run(session)
    assert held(str(tmp_path / "out")) == fresh
    assert len(caplog.records) == 6
    assert caplog.records[-1].getMessage().endswith("out: 3 more files are written again")


def test_an_export_of_an_earlier_version_is_written_again(tmp_path, caplog):
    """Its manifest has neither sizes, digests nor a seal."""
    ordinary(tmp_path / "pool")
    session = decided(tmp_path, exports(str(tmp_path / "out")))
    run(session)
    fresh = held(str(tmp_path / "out"))
    for name in ("shards/_winnow.json", "urls/_winnow.json", "index/image.json"):
        path = tmp_path / "out" / name
        manifest = json.loads(path.read_bytes())
        del manifest["contents"], manifest["seal"]
        path.write_text(json.dumps(manifest))
        (path.parent / ".winnow-states.json").unlink()
    put(str(tmp_path / "out"), "shards/00000000.tar", b"torn")
    run(session)
    assert held(str(tmp_path / "out")) == fresh
    assert "shards/_winnow.json holds no digests: the files of the export are written again" in caplog.text


def test_an_emptied_folder_is_filled_without_a_word(tmp_path, caplog):
    """`rm out/*` leaves the hidden file."""
    ordinary(tmp_path / "pool")
    session = decided(tmp_path, {"shards": str(tmp_path / "out")})
    run(session)
    fresh = held(str(tmp_path / "out"))
    for name in fresh:
        put(str(tmp_path / "out"), name, None)
    run(session)
    assert held(str(tmp_path / "out")) == fresh
    assert not caplog.records


@pytest.mark.parametrize("key", ["shards", "urls", "index", "table", "subset"])
def test_somebody_elses_file_in_an_emptied_place_is_refused(tmp_path, key):
    """`rm out/*` leaves the hidden file, which names files that lay there."""
    ordinary(tmp_path / "pool")
    session = decided(tmp_path, {key: exports(str(tmp_path / "out"))[key]})
    run(session)
    root = str(tmp_path / "out")
    fresh = held(root)
    for name in fresh:
        put(root, name, None)
    name = next(n for n in sorted(fresh) if "json" not in n)
    for mine in (b"mine", b"x" * len(fresh[name])):
        put(root, name, mine)
        with pytest.raises(RecipeError, match="was not written by Winnow"):
            run(session)
        assert held(root) == {name: mine}
    put(root, name, fresh[name])  # it is known by its digest
    run(session)
    assert held(root) == fresh


def test_a_file_that_is_damaged_before_the_export_is_whole(tmp_path, monkeypatch):
    """The digest is that of the bytes that were to be written, not of those on the disk at the end."""
    ordinary(tmp_path / "pool")
    session = decided(tmp_path, {"shards": str(tmp_path / "out"), "samples_per_shard": 3})
    finish = export_shards.__globals__["_describe"]

    def damaging(stage, tars):
        path = tmp_path / "out" / "00000000.tar"
        path.write_bytes(path.read_bytes()[:-1])
        finish(stage, tars)

    monkeypatch.setitem(export_shards.__globals__, "_describe", damaging)
    assert export_shards(session, LocalExecutor()).written == 3
    monkeypatch.undo()
    assert export_shards(session, LocalExecutor()).written == 1
    assert export_shards(session, LocalExecutor()).skipped == 3


def test_the_command_names_the_file(tmp_path):
    place = Place(tmp_path)
    place.three()
    place.run()
    for name in ("shards/00000001.tar", "subset.npy", "table.parquet"):
        data = (place.out / name).read_bytes()
        (place.out / name).write_bytes(data[:-2])
        said = place.run()["said"]
        assert f"{name} has {len(data) - 2} bytes and had {len(data)}; it " in said, said
        for aside in place.out.glob("*.damaged1"):
            assert aside.read_bytes() == data[:-2]
            aside.unlink()
        place.run_and_agree()


@pytest.mark.parametrize("count", [10**12, -1, 1.5, "3", None, True])
def test_a_count_of_files_that_cannot_be(tmp_path, count):
    """A manifest that was edited by hand does not cost hours."""
    (tmp_path / "_winnow.json").write_text(json.dumps({"export": "shards", "decision": "d", "shards": count}))
    with pytest.raises(RecipeError, match=r"_winnow\.json is garbled, or that of something else"):
        ExportFolder(str(tmp_path), "export.shards", "_winnow.json", tars._names).check()
    (tmp_path / "_winnow.json").write_text(json.dumps({"export": "urls", "files": count}))
    with pytest.raises(RecipeError, match=r"_winnow\.json is garbled, or that of something else"):
        ExportFolder(str(tmp_path), "export.urls", "_winnow.json", urls._names).check()

"""Files appear whole or not at all; equal tables make equal bytes; on a disk and on fsspec alike."""

import os
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

from pipeline.plan.stored import complete, list_stored
from pipeline.pool.columns import Columns
from pipeline.schema import SAMPLE_COLUMNS, SAMPLE_SCHEMA
from pipeline.storage.folder import Folder
from pipeline.storage.store import Store
from tests.support.samples import store_given

FRAME = pl.DataFrame(
    {
        "a": pl.Series([1.5, None, -0.0], dtype=pl.Float32),
        "t": ["x", None, "ü"],
        "e": pl.Series(np.arange(6, dtype=np.float16).reshape(3, 2)),
        "l": [["p", "q"], [], None],
    }
)


@pytest.fixture(params=["local", "memory"])
def root(request, tmp_path):
    return str(tmp_path / "store") if request.param == "local" else f"memory://{uuid.uuid4().hex}/store"


def test_round_trip(root):
    store = Store(root)
    store.write("columns/x-1/deep/s.parquet", FRAME, {"damage": {"offset": 7}, "b": [1]})
    assert_frame_equal(store.read("columns/x-1/deep/s.parquet"), FRAME, check_exact=True)
    assert store.footer("columns/x-1", "deep/s") == (3, {"damage": {"offset": 7}, "b": [1]})
    assert_frame_equal(store.read("columns/x-1/deep/s.parquet", ["t", "a"]), FRAME.select("t", "a"))


def test_what_is_not_there(root):
    store = Store(root)
    assert store.footer("samples", "s") is None
    assert store.root.file_names("samples", ".parquet") == set()
    assert store.row_counts("samples", ["s"]) == {}
    assert not store.root.exists("samples/s.parquet")
    for read in (store.read, store.root.read):
        with pytest.raises(FileNotFoundError):
            read("samples/s.parquet")


def test_names_and_rows(root):
    store = Store(root)
    for name, rows in (("a", 3), ("b/c", 2), ("b/d", 0)):
        store.write(f"samples/{name}.parquet", FRAME[:rows])
    store.root.publish("samples/rules.json", b"{}")
    assert store.root.file_names("samples", ".parquet") == {"a", "b/c", "b/d"}
    assert store.row_counts("samples", ["a", "b/c", "b/d", "z"]) == {"a": 3, "b/c": 2, "b/d": 0}
    assert store.row_counts("samples", ["a"]) == {"a": 3}


def test_files_of_other_processes_are_seen():
    """Object stores cache listings; what a worker has published since must not stay hidden."""
    store = Store(f"memory://{uuid.uuid4().hex}")
    asked = []
    store.root.fs = type("Caching", (), {
        "invalidate_cache": lambda self: asked.append("forget"),
        "find": lambda self, base: asked.append("find") or [f"{base}a.parquet"],
    })()  # fmt: skip
    assert store.root.file_names("samples", ".parquet") == {"a"}
    assert asked == ["forget", "find"]


@pytest.mark.parametrize("frame", [FRAME, FRAME[:0]])
def test_equal_tables_make_equal_bytes(root, frame):
    store = Store(root)
    store.write("one.parquet", frame)
    store.write("two.parquet", pl.concat([frame[:1], frame[1:2], frame[2:]], rechunk=False))
    assert store.root.read("one.parquet") == store.root.read("two.parquet")


def test_plain_parquet_for_every_reader(root, tmp_path):
    store = Store(root)
    store.write("one.parquet", FRAME, {"note": 1})
    (tmp_path / "copy.parquet").write_bytes(store.root.read("one.parquet"))
    table = pq.read_table(tmp_path / "copy.parquet")
    types = {field.name: str(field.type) for field in table.schema}
    assert types["a"] == "float"
    assert types["t"] == "large_string"
    assert types["e"].startswith("fixed_size_list<")
    assert "halffloat" in types["e"]
    assert types["l"].startswith("large_list<")
    assert table.column("a").to_pylist() == [1.5, None, -0.0]


# --- atomic ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fails", ["write", "rename"])
def test_nothing_is_visible_after_a_crash(tmp_path, monkeypatch, fails):
    """A kill between the write and the rename: the old file stands, a new name is absent."""
    folder = Folder(str(tmp_path))
    folder.publish("folder/old.parquet", b"old")

    def die(*_):
        raise KeyboardInterrupt

    if fails == "rename":
        monkeypatch.setattr("pipeline.storage.store.os.replace", die)
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

    monkeypatch.setattr("pipeline.storage.store.os.replace", full)
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
        (tmp_path / "samples" / ".tmp.another-host.1.2.b.parquet").write_bytes(b"")
        (tmp_path / "samples" / "c.parquet").write_bytes(b"")
        before = sorted(os.listdir(tmp_path / "samples"))
        folder.remove_leftovers()
        assert sorted(os.listdir(tmp_path / "samples")) == before
        assert len(before) == 3
        os.utime(tmp_path / "samples" / ".tmp.another-host.1.2.b.parquet", (0, time.time() - 700_000))
        folder.remove_leftovers()  # nobody has touched it for a week
        assert len(os.listdir(tmp_path / "samples")) == 2
        folder.remove_leftovers(also_live=True)
        assert os.listdir(tmp_path / "samples") == ["c.parquet"]
        Path(aside).write_bytes(b"half")


# --- decisions -------------------------------------------------------------------------------------


def decided(store: Store, files: int, together: int) -> dict[str, list[bool]]:
    """A decision on `files` x `together` shards of one row each; what it keeps, by shard."""
    rows, kept = [], {}
    for file in range(files):
        keep = [(file + row) % 3 == 0 for row in range(together)]
        store.write(f"decisions/d/{file}-0.parquet", pl.DataFrame({"keep": keep}))
        for row in range(together):
            rows.append({"shard": f"{file}-{row}", "part": f"{file}-0", "start": row, "samples": 1})
            kept[f"{file}-{row}"] = keep[row : row + 1]
    store.write("decisions/d/shards.parquet", pl.DataFrame(rows))
    return kept


def test_shards_asked_for_in_turn_cost_one_read_per_file(root, monkeypatch):
    store = Store(root)
    kept = decided(store, files=6, together=5)
    seen = []
    original = Store.read_many
    monkeypatch.setattr(
        Store,
        "read_many",
        lambda self, paths, columns=None: seen.extend(paths) or original(self, paths, columns),
    )
    assert {shard: store.kept("decisions/d", shard).to_list() for shard in kept} == kept
    assert seen == ["decisions/d/shards.parquet", *(f"decisions/d/{file}-0.parquet" for file in range(6))]


def test_threads_read_their_own_verdicts(root):
    store = Store(root)
    kept = decided(store, files=9, together=4)
    shards = [*kept, *reversed(kept)] * 10
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda shard: store.kept("decisions/d", shard).to_list(), shards))
    assert found == [kept[shard] for shard in shards]


# --- columns ---------------------------------------------------------------------------------------


def test_columns_come_in_the_order_asked_for(stored):
    session = stored({"a": pl.DataFrame({"f32": [0.5, 1.5], "word": ["en", None]})}, {})
    columns = Columns(session.store, session.keys)
    names = ["given.word", "uid", "given.f32", "row", "given.word"]
    frame = columns.read("a", names)
    assert frame.columns == ["given.word", "uid", "given.f32", "row"]
    assert frame["given.f32"].to_list() == [0.5, 1.5]
    assert frame["row"].to_list() == [0, 1]
    assert columns.folder("given.f32") == session.folder("given")
    assert columns.folder("uid") == "samples"
    with pytest.raises(FileNotFoundError):
        columns.read("b", ["uid"])


def test_an_operator_called_as_a_sample_column_is(stored):
    """`text` is the caption, `text.words` the operator's."""
    columns = Columns(Store("unused"), {"text": "0" * 16})
    assert columns.folder("text") == "samples"
    assert columns.folder("text.words") == f"columns/text-{'0' * 16}"


def test_a_part_of_another_length_does_not_count(stored):
    frames = {"a": pl.DataFrame({"f32": [0.5, 1.5]}), "b": pl.DataFrame({"f32": [0.5]})}
    session = stored(frames, {"given.f32": {"min": 0}})
    folder = session.folder("given")
    assert list_stored(session).parts[folder] == {"a", "b"}
    store_given(session, "a", pl.DataFrame({"f32": [0.5, 1.5]}))
    session.store.write(f"{folder}/a.parquet", session.store.read(f"{folder}/a.parquet")[:1])
    assert list_stored(session).parts[folder] == {"b"}
    assert [shard.name for shard in complete(session).shards] == ["b"]


def test_sample_columns_are_those_of_the_samples_table():
    schema = pl.DataFrame(SAMPLE_SCHEMA.empty_table()).schema
    assert {name: schema[name] for name in SAMPLE_COLUMNS} == dict(SAMPLE_COLUMNS)
    assert set(schema) - set(SAMPLE_COLUMNS) == {"error"}

"""What footers say is read once, and never of a part that is no longer there."""

import os
import threading
import uuid
from collections.abc import Callable

import orjson
import polars as pl
import pytest

from pipeline.errors import DamagedError
from pipeline.storage import footers
from pipeline.storage.folder import Folder
from pipeline.storage.seals import open_json, seal_json
from pipeline.storage.store import Store

Reads = list[str]
KNOWN = "footers/columns/x-1.json"


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path) -> Store:
    root = str(tmp_path / "store") if request.param == "local" else f"memory://{uuid.uuid4().hex}/store"
    return Store(root)


@pytest.fixture
def reads(monkeypatch) -> Reads:
    """The parts whose footers are read."""
    seen: Reads = []
    original = Folder.sealed_footer
    monkeypatch.setattr(Folder, "sealed_footer", lambda self, path: seen.append(path) or original(self, path))
    return seen


def write(store: Store, shard: str, rows: int, **notes: object) -> None:
    frame = pl.DataFrame({"a": range(rows)}, schema={"a": pl.Int64})
    store.write(f"columns/x-1/{shard}.parquet", frame, notes)


def found(store: Store, *shards: str) -> dict[str, tuple[int, dict]]:
    return {shard: footer[:2] for shard, footer in store.footers("columns/x-1", shards).items()}


def test_each_is_read_once(store, reads):
    write(store, "a", 3, damage={"offset": 7})
    write(store, "deep/b", 0)
    expected = {"deep/b": (0, {}), "a": (3, {"damage": {"offset": 7}})}
    assert found(store, "deep/b", "a", "absent") == expected
    assert sorted(reads) == ["columns/x-1/a.parquet", "columns/x-1/deep/b.parquet"]
    assert found(store, "a", "deep/b") == expected
    assert list(found(store, "a", "deep/b")) == ["a", "deep/b"]
    assert len(reads) == 2
    write(store, "c", 1)
    assert found(store, "c") == {"c": (1, {})}
    assert found(store, "a", "deep/b", "c") == {**expected, "c": (1, {})}
    assert len(reads) == 3  # shards that were not asked for are not forgotten


def test_a_part_that_is_written_anew_is_read_anew(store, reads):
    write(store, "a", 3, note=1)
    assert found(store, "a") == {"a": (3, {"note": 1})}
    write(store, "a", 3, note=2)  # of the same length
    assert found(store, "a") == {"a": (3, {"note": 2})}
    store.root.fs.rm_file(store.root.path("columns/x-1/a.parquet"))
    assert found(store, "a") == {}


def test_not_even_the_clock_hides_it(tmp_path):
    """Equal length and equal time of change: a rename still brings another inode."""
    store = Store(str(tmp_path))
    for note in (1, 2):
        write(store, "a", 3, note=note)
        os.utime(tmp_path / "columns/x-1/a.parquet", ns=(5, 5))
        assert found(store, "a") == {"a": (3, {"note": note})}


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-9],
        lambda text: b"",
        lambda text: b"\xff" + text,
        lambda text: b"[1, 2]",
        lambda text: b'{"a": 7, "b": ["s", "3", {}], "c": ["", 3, {}]}',
        lambda text: text.replace(b",3,", b",4,"),
        lambda text: seal_json(orjson.dumps({n: ["another state", 99, {}, ""] for n in open_json(text)})),
    ],
)
def test_what_is_garbled_or_stale_is_ignored_and_put_right(store, damage: Callable[[bytes], bytes], reads):
    write(store, "a", 3)
    write(store, "b", 2)
    expected = found(store, "a", "b")
    store.root.publish(KNOWN, damage(store.root.read(KNOWN)))
    assert found(store, "a", "b") == expected
    assert len(reads) == 4
    assert found(store, "a", "b") == expected
    assert len(reads) == 4


def spoil(store: Store, relative: str, data: bytes = b"half") -> None:
    store.root.publish(relative, data)


def test_damaged_parts_are_left_out_and_set_aside(store, caplog):
    for shard in ("a", "b"):
        write(store, shard, 2)
    whole = found(store, "a", "b")
    spoil(store, "columns/x-1/b.parquet")
    assert found(store, "a", "b") == {"a": whole["a"]}
    assert store.footer("columns/x-1", "b") is None
    assert list(store.damaged) == ["columns/x-1/b.parquet"]
    assert len(caplog.records) == 1  # named once
    assert store.root.path("columns/x-1/b.parquet") in caplog.records[0].getMessage()
    assert store.set_aside() == {"columns/x-1/b.parquet": store_reason(caplog)}
    assert store.damaged == {}
    assert store.root.read("damaged/columns/x-1/b.parquet") == b"half"
    assert not store.root.exists("columns/x-1/b.parquet")
    spoil(store, "columns/x-1/b.parquet", b"again")
    found(store, "b")
    store.set_aside()
    assert store.root.read("damaged/columns/x-1/b.parquet") == b"again"
    write(store, "b", 2)
    assert found(store, "a", "b") == whole


def store_reason(caplog) -> str:
    return caplog.records[0].getMessage().partition(" is damaged: ")[2].removesuffix("; it counts as missing")


def test_a_part_that_was_written_again_meanwhile_is_not_set_aside(store):
    write(store, "a", 2)
    spoil(store, "columns/x-1/a.parquet")
    assert found(store, "a") == {}
    write(store, "a", 2)  # by another process
    store.set_aside()
    assert found(store, "a") == {"a": (2, {})}


def test_reading_what_is_damaged_names_the_file(store):
    """The footers were verified, then the disk lost a block; its state is still the one remembered."""
    write(store, "a", 2)
    spoil(store, "columns/x-1/a.parquet", b"PAR1" + b"x" * 50)
    with pytest.raises(DamagedError, match=r"columns/x-1/a.parquet is damaged: .*; the next run computes it"):
        store.read_parts("columns/x-1", ["a"])
    assert store.root.exists("damaged/columns/x-1/a.parquet")
    with pytest.raises(FileNotFoundError):
        store.read_parts("columns/x-1", ["a"])


def test_seals_are_remembered_with_the_footers(store):
    for shard, rows in (("a", 2), ("b", 2), ("c", 3)):
        write(store, shard, rows)
    for _ in range(2):
        seals = {shard: footer.seal for shard, footer in store.footers("columns/x-1", "abc").items()}
        assert seals["a"] == seals["b"] != seals["c"]
        assert all(len(seal) == 32 for seal in seals.values())


def test_new_parts_are_synced_before_they_are_remembered(tmp_path, monkeypatch):
    store = Store(str(tmp_path))
    calls: list[str] = []
    monkeypatch.setattr(Folder, "sync", lambda self: calls.append("sync"))
    original = Folder.publish_json
    monkeypatch.setattr(
        Folder,
        "publish_json",
        lambda self, *args, **more: calls.append(args[0]) or original(self, *args, **more),
    )
    for shard in "abc":
        write(store, shard, 1)
    found(store, *"abc")
    assert calls == ["sync", KNOWN]
    found(store, *"abc")
    assert calls == ["sync", KNOWN]  # nothing is new


def test_tables_that_are_whole(store):
    for name in ("stats/a-1", "stats/b-1", "effects/d/c-1"):
        store.write(f"{name}.parquet", pl.DataFrame({"n": [1]}))
    names = ["stats/a-1.parquet", "stats/b-1.parquet", "stats/absent.parquet", "effects/d/c-1.parquet"]
    assert store.whole(names) == {*names} - {"stats/absent.parquet"}
    spoil(store, "stats/b-1.parquet")
    if store.root.local:  # object storage is trusted
        assert store.whole(names) == {"stats/a-1.parquet", "effects/d/c-1.parquet"}
        assert list(store.damaged) == ["stats/b-1.parquet"]
    with pytest.raises(DamagedError, match="stats/b-1"):
        store.read("stats/b-1.parquet")


def test_a_store_that_cannot_be_written_is_read(store, reads, monkeypatch):
    write(store, "a", 3)

    def refuse(*_: object) -> None:
        raise PermissionError("read only")

    monkeypatch.setattr(Folder, "publish", refuse)
    for count in (1, 2):
        assert found(store, "a") == {"a": (3, {})}
        assert len(reads) == count


def test_storage_that_tells_no_time_is_read_each_time(store, reads, monkeypatch):
    monkeypatch.setattr(footers, "_states", lambda root, folder: {"a": ""})
    write(store, "a", 3)
    for count in (1, 2):
        assert found(store, "a") == {"a": (3, {})}
        assert len(reads) == count
    assert not store.root.exists(KNOWN)


def test_many_at_a_time(store):
    """Writers, and readers that remember, side by side: nobody is ever told of rows that were never there."""
    write(store, "a", 1)
    wrong: list[object] = []

    def read() -> None:
        for _ in range(20):
            if (rows := found(store, "a")["a"][0]) not in range(1, 31):
                wrong.append(rows)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for rows in range(2, 31):
        write(store, "a", rows)
    for thread in threads:
        thread.join()
    assert wrong == []
    assert found(store, "a") == {"a": (30, {})}

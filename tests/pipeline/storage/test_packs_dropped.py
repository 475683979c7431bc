"""Parts leave their packs before they are written anew, and when their pack is lost."""

import uuid

import polars as pl
import pytest

from pipeline.errors import DamagedError
from pipeline.storage import layout
from pipeline.storage.store import Store
from pipeline.storage.upkeep import compact as module
from pipeline.storage.upkeep.compact import compact

FOLDER = "columns/x-0123456789abcdef"
SHARDS = [f"{number}" for number in range(6)]


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path, monkeypatch) -> Store:
    """Six parts of two rows each, in packs of three."""
    root = str(tmp_path / "store") if request.param == "local" else f"memory://{uuid.uuid4().hex}/store"
    monkeypatch.setattr(module, "PARTS_PER_PACK", 3)
    made = Store(root)
    for shard in SHARDS:
        write(made, shard, shard)
    compact(made, FOLDER, SHARDS)
    return made


def write(store: Store, shard: str, value: str) -> None:
    store.write(layout.part(FOLDER, shard), pl.DataFrame({"v": [value] * 2}), {"content": value})


def values(store: Store, shards: list[str] = SHARDS) -> list[str]:
    return store.read_parts(FOLDER, shards)["v"].to_list()[::2]


def packs(store: Store) -> set[str]:
    return store.root.file_names(layout.packs_folder(FOLDER), ".parquet")


def test_a_part_is_dropped_and_written_anew(store):
    reader = Store(store.root.base if store.root.local else f"memory://{store.root.base}")
    assert values(reader) == SHARDS
    store.drop_packed(FOLDER, ["1", "absent"])
    assert store.part_names(FOLDER) == set(SHARDS) - {"1"}
    assert set(store.footers(FOLDER, SHARDS)) == set(SHARDS) - {"1"}
    with pytest.raises(FileNotFoundError):
        store.read_parts(FOLDER, ["1"])
    write(store, "1", "new")
    for each in (store, Store(reader.root.base if reader.root.local else f"memory://{reader.root.base}")):
        assert values(each) == ["0", "new", "2", "3", "4", "5"]
        assert each.footers(FOLDER, SHARDS)["1"].notes == {"content": "new"}
        assert each.footer(FOLDER, "1").notes == {"content": "new"}
    assert compact(store, FOLDER, SHARDS).after == 3
    assert packs(store) == {"000000", "000001"}


def test_nothing_is_written_if_none_is_packed(store, monkeypatch):
    monkeypatch.setattr(Store, "write", lambda *_: pytest.fail("wrote"))
    store.drop_packed(FOLDER, ["absent"])
    store.drop_packed(FOLDER, [])
    store.drop_packed("samples", SHARDS)


def test_a_pack_that_holds_nothing_more_is_removed(store):
    reader = Store(store.root.base if store.root.local else f"memory://{store.root.base}")
    assert values(reader) == SHARDS
    store.drop_packed(FOLDER, SHARDS[3:])
    assert packs(store) == {"000000"}
    for shard in SHARDS[3:]:
        write(store, shard, f"new {shard}")
    compact(store, FOLDER, SHARDS)
    assert packs(store) == {"000000", "000001"}
    assert values(store) == ["0", "1", "2", "new 3", "new 4", "new 5"]
    # A reader that knows the index from before reads the pack of that number anew.
    reader.pack_index(FOLDER, fresh=True)
    assert values(reader) == ["0", "1", "2", "new 3", "new 4", "new 5"]


def test_the_index_counts_beside_a_file_that_a_kill_left(store):
    assert store.footers(FOLDER, ["0"])["0"].notes == {"content": "0"}
    write(store, "0", "left")
    assert values(store)[0] == "0"
    assert store.footers(FOLDER, ["0"])["0"].notes == store.footer(FOLDER, "0").notes == {"content": "0"}
    compact(store, FOLDER, SHARDS)
    assert not store.root.exists(layout.part(FOLDER, "0"))


def test_the_seals_of_parts_outlive_their_files(store):
    lone = Store(f"memory://{uuid.uuid4().hex}/store")
    write(lone, "4", "4")
    assert store.footers(FOLDER, ["4"])["4"] == lone.footers(FOLDER, ["4"])["4"]


@pytest.mark.parametrize("lost", ["cut", "removed"])
def test_a_lost_pack_takes_its_parts_along(store, lost):
    path = layout.pack(FOLDER, 1)
    if lost == "cut":
        store.root.publish(path, store.root.read(path)[:-9])
    else:
        store.root.remove([path])
    if store.root.local:
        assert set(store.footers(FOLDER, SHARDS)) == set(SHARDS[:3])
        assert list(store.damaged) == [path]
        store.set_aside()
        assert store.root.exists(layout.damaged(path)) == (lost == "cut")
    else:  # object storage is trusted until it is read
        with pytest.raises((FileNotFoundError, DamagedError)):
            values(store)
        store.damaged.note(path, "it is missing")
        store.set_aside()
    assert store.part_names(FOLDER) == set(SHARDS[:3])
    assert values(store, SHARDS[:3]) == SHARDS[:3]


def test_a_broken_index_counts_as_none(store):
    path = layout.pack_index(FOLDER)
    store.root.publish(path, store.root.read(path)[:-1])
    assert store.footers(FOLDER, SHARDS) == {}
    assert list(store.damaged) == [path]
    store.set_aside()
    for shard in SHARDS:
        write(store, shard, shard)
    assert compact(store, FOLDER, SHARDS).after == 2
    assert values(store) == SHARDS

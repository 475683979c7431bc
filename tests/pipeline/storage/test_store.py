"""Tables come back as they were written; equal tables make equal bytes; on a disk and on fsspec alike."""

import uuid
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

from pipeline.errors import OperatorError
from pipeline.storage.store import Store

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
    assert store.footer("columns/x-1", "deep/s")[:2] == (3, {"damage": {"offset": 7}, "b": [1]})
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


def test_shards_whose_columns_differ_in_type(root):
    """Two workers of Ray may each see one width of an embedding; each part is sound."""
    store = Store(root)
    for shard, width in (("a", 2), ("b", 3)):
        vectors = pl.Series("x.v", [[1.0] * width], dtype=pl.Array(pl.Float32, width))
        store.write(f"columns/x-1/{shard}.parquet", vectors.to_frame())
        assert store.read(f"columns/x-1/{shard}.parquet").width == 1
    with pytest.raises(
        OperatorError, match=r"^columns/x-1: an operator must write one type in all shards; .*x\.v"
    ):
        store.read_many(["columns/x-1/a.parquet", "columns/x-1/b.parquet"])


def test_names_and_rows(root):
    store = Store(root)
    for name, rows in (("a", 3), ("b/c", 2), ("b/d", 0)):
        store.write(f"samples/{name}.parquet", FRAME[:rows])
    store.root.publish("samples/rules.json", b"{}")
    assert store.root.file_names("samples", ".parquet") == {"a", "b/c", "b/d"}
    assert store.row_counts("samples", ["a", "b/c", "b/d", "z"]) == {"a": 3, "b/c": 2, "b/d": 0}
    assert store.row_counts("samples", ["a"]) == {"a": 3}


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


# --- decisions -------------------------------------------------------------------------------------


def decided(store: Store, files: int, together: int) -> dict[str, list[bool]]:
    """A decision on `files` x `together` shards of one row each; what it keeps, by shard."""
    rows, kept = [], {}
    for file in range(files):
        keep = [(file + row) % 3 == 0 for row in range(together)]
        store.write(f"decisions/d/verdicts/{file}-0.parquet", pl.DataFrame({"keep": keep}))
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
    assert seen == [
        "decisions/d/shards.parquet",
        *(f"decisions/d/verdicts/{file}-0.parquet" for file in range(6)),
    ]


def test_threads_read_their_own_verdicts(root):
    store = Store(root)
    kept = decided(store, files=9, together=4)
    shards = [*kept, *reversed(kept)] * 10
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda shard: store.kept("decisions/d", shard).to_list(), shards))
    assert found == [kept[shard] for shard in shards]

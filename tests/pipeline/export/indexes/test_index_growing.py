"""A pool that grew: the rows of new shards are added to the index. test_built_anew.py tests when they are
not."""

import itertools
import os
import shutil

import faiss
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from pipeline.export.indexes.index_exporter import write_index
from pipeline.export.indexes.index_tasks import Filler
from pipeline.plan import index_choice
from pipeline.search.index import SearchIndex
from pipeline.storage.folder import Folder
from tests.support.decided_pool import decided, sample, write_tar
from tests.support.folders import contents
from tests.support.growing_pool import EMBEDDING, manifest, write, write_shard
from tests.support.kill_steps import killed_after


@pytest.mark.parametrize("memory", [32, 1e-9])
@pytest.mark.parametrize("part_bytes", [1, 256, 1 << 20])
def test_flat_grows_to_the_bytes_of_an_index_built_anew(
    tmp_path, growing_pool, told, monkeypatch, memory, part_bytes
):
    """In one file and in parts: of a shard each; of eight rows or more, the last of which is extended; of
    all."""
    monkeypatch.setattr(index_choice, "PART_BYTES", part_bytes)
    monkeypatch.setattr(index_choice, "HEADS", 0)
    read = []
    fill = Filler.fill
    monkeypatch.setattr(Filler, "fill", lambda self, part: read.extend(part.shards) or fill(self, part))
    assert write(tmp_path, memory=memory).added is None
    read.clear()
    for shard, count in ((5, 6), (6, 2), (7, 12)):
        write_shard(growing_pool, shard, count)
    result = write(tmp_path, memory=memory)
    if memory == 32 or part_bytes < 1 << 20:
        assert (result.added, result.rows) == (14, 28)
        assert read == ["00005", "00006", "00007"]
        assert told() == [f"export.index: {tmp_path}/out adds 3 shards, 14 rows to 14"]
    grown = contents(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    write(tmp_path, memory=memory)
    assert contents(tmp_path / "out") == grown
    assert not {"grows", "stays", "building"} & manifest(tmp_path / "out").keys()


def test_the_metadata_is_written_in_equal_groups_however_it_grew(tmp_path, growing_pool, monkeypatch):
    """22 rows in groups of five: the last group of what was there is continued."""
    monkeypatch.setattr("pipeline.export.indexes.metadata_file.GROUP", 5)
    write(tmp_path)
    write_shard(growing_pool, 5, 12)
    write(tmp_path)
    file = pl.read_parquet(tmp_path / "out" / "metadata" / "metadata_0.parquet")
    assert file["id"].to_list() == list(range(22))
    meta = pq.read_metadata(tmp_path / "out" / "metadata" / "metadata_0.parquet")
    assert [meta.row_group(n).num_rows for n in range(meta.num_row_groups)] == [5, 5, 5, 5, 2]


@pytest.mark.parametrize("memory", [32, 1e-9])
@pytest.mark.parametrize(
    "factory", ["IVF4,Flat", "IVF2,SQ8", "PCA4,IVF2_HNSW8,Flat", "PCA4,Flat", "IVF2,PQ2x2"]
)
def test_a_trained_index_grows_if_the_recipe_says_so(
    tmp_path, growing_pool, told, small_parts, factory, memory
):
    """It keeps its lists and queries; recall and probes are those of all rows."""
    before = write(tmp_path, factory=factory, memory=memory, grow=True, recall=1)
    old = manifest(tmp_path / "out")
    write_shard(growing_pool, 5, 12)
    result = write(tmp_path, factory=factory, memory=memory, grow=True, recall=1)
    assert (before.rows, result.added, result.rows, result.missing) == (14, 8, 22, 0)
    assert told() == [
        f"export.index: {tmp_path}/out adds 1 shard, 8 rows to 14; {factory} was trained for 14 rows"
    ]
    said = manifest(tmp_path / "out")
    assert said["growth"] == {"sources": "sources.parquet", "recall": "recall.npz", "trained_rows": 14}
    assert said["measured"]["queries"] == old["measured"]["queries"] == 14
    if memory == 32:
        index = faiss.read_index(str(tmp_path / "out" / "image.index"))
        assert index.ntotal == 22
        assert said["contents"].keys() == contents(tmp_path / "out").keys() - {"image.json"}
    else:
        assert [part["rows"] for part in said["parts"]] == [8, 6, 8]
        stay = [name for part in old["parts"] for name in (part["index"], part["metadata"])]
        assert {name: said["contents"][name] for name in stay} == {n: old["contents"][n] for n in stay}
    with np.load(tmp_path / "out" / "recall.npz") as recall:
        queries, scores, ids, own = (recall[name] for name in ("vectors", "scores", "ids", "own"))
    opened = SearchIndex.open(str(tmp_path / "out"))
    exact = opened.vectors_of(range(22)) if factory == "IVF4,Flat" else None
    if exact is not None:  # the vectors themselves
        cosines = queries @ exact.T
        order = np.argsort(-cosines, axis=1, kind="stable")
        np.testing.assert_allclose(np.take_along_axis(cosines, order, 1), scores[:, :22], atol=1e-6)
        assert (order[:, 0] == own).all()
        assert (ids[:, 0] == own).all()
        assert (ids[:, 22:] == -1).all()
        hits = opened.search(queries, 1).ids[:, 0]
        assert hits.tolist() == own.tolist()
    again = write(tmp_path, factory=factory, memory=memory, grow=True, recall=1)
    assert (again.written, again.added) == (False, None)


def test_an_index_that_grew_twice_is_the_one_that_grew_once(tmp_path, growing_pool, small_parts):
    options = {"factory": "IVF2,SQ8", "grow": True}
    write(tmp_path, **options)
    shutil.copytree(tmp_path / "out", tmp_path / "once")
    for shard in (5, 6):
        write_shard(growing_pool, shard, 6)
        write(tmp_path, **options)
    assert write(tmp_path, "once", **options).added == 8
    assert contents(tmp_path / "once") == contents(tmp_path / "out")


def test_samples_without_an_embedding_are_counted_by_shard(tmp_path, growing_pool):
    write(tmp_path)
    broken = [("b.jpg", b"no image"), ("b.txt", b"long enough"), ("b.json", b'{"url": "u"}')]
    write_tar(growing_pool / "00005.tar", [*broken, *sample(501)])
    result = write(tmp_path)
    assert (result.added, result.rows, result.missing) == (1, 15, 1)
    sources = pl.read_parquet(tmp_path / "out" / "sources.parquet")
    assert sources.select("shard", "rows", "missing").rows() == [
        ("00001", 8, 0),
        ("00004", 6, 0),
        ("00005", 1, 1),
    ]
    assert sources["verdicts"].bin.size().unique().to_list() == [16]


def test_a_decision_that_keeps_the_same_rows_adds_nothing(tmp_path, growing_pool, told):
    write(tmp_path)
    before = contents(tmp_path / "out")
    result = write(tmp_path, rules={"caption.characters": {"min": 4}})
    assert (result.written, result.added) == (True, 0)
    after = contents(tmp_path / "out")
    assert {name for name in after if after[name] != before[name]} == {"image.json"}
    assert told() == [f"export.index: {tmp_path}/out adds nothing to its 14 rows"]


def test_whether_it_may_grow_is_no_reason_to_write_it_anew(tmp_path, growing_pool):
    write(tmp_path, factory="IVF2,Flat")
    assert write(tmp_path, factory="IVF2,Flat", grow=True).written is False


def test_files_that_stay_are_known_to_the_next_run(tmp_path, growing_pool, small_parts, monkeypatch):
    """They are neither copied nor read again."""
    write(tmp_path, memory=1e-9)
    out = tmp_path / "out"
    before = (out / "parts" / "00000.index").stat()
    write_shard(growing_pool, 5, 6)
    write(tmp_path, memory=1e-9)
    after = (out / "parts" / "00000.index").stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_ctime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )
    read = []
    monkeypatch.setattr("pipeline.export.places.contents.file_content", lambda *a: read.append(a) or "")
    assert write(tmp_path, memory=1e-9).written is False
    assert read == []


@pytest.mark.parametrize("memory", [32, 1e-9])
def test_on_object_storage(tmp_path, growing_pool, small_parts, memory):
    path = f"memory://growing-{memory}/out"
    index = {"embedding": EMBEDDING, "path": path, "factory": "IVF2,SQ8", "memory": memory, "grow": True}
    write_index(decided(tmp_path, {"index": index}))
    write_shard(growing_pool, 5, 6)
    result = write_index(decided(tmp_path, {"index": index}))
    assert (result.added, result.rows, result.parts) == (4, 18, 0 if memory == 32 else 3)
    assert write_index(decided(tmp_path, {"index": index})).written is False
    vectors = np.eye(8, dtype=np.float32)
    assert SearchIndex.open(path).search(vectors, 3).ids.shape == (8, 3)


# --- kills ----------------------------------------------------------------------------------------

STEPS = ((Folder, "publish_file"), (Folder, "remove"), (os, "replace"))


@pytest.mark.parametrize("memory", [32, 1e-9])
def test_killed_after_any_step_and_started_again(tmp_path, growing_pool, small_parts, monkeypatch, memory):
    """A complete manifest names the files of the index before, or of the one after; the bytes in the end are
    those of an undisturbed run."""
    out, options = tmp_path / "out", {"factory": "IVF2,SQ8", "memory": memory, "grow": True}
    write(tmp_path, **options)
    shutil.copytree(out, tmp_path / "base")
    for shard in (5, 6):
        write_shard(growing_pool, shard, 6)
    made = decided(tmp_path, {"index": {"embedding": EMBEDDING, "path": str(out), **options}})
    write_index(made)
    whole = {data["image.json"]: data for data in (contents(tmp_path / "base"), contents(out))}
    expected = contents(out)
    for steps in itertools.count():
        shutil.rmtree(out)
        shutil.copytree(tmp_path / "base", out)
        with killed_after(monkeypatch, steps, *STEPS) as run:
            write_index(made)
        if manifest(out)["complete"]:
            found = whole[(out / "image.json").read_bytes()]
            assert {name: (out / name).read_bytes() for name in found} == found
        write_index(made)
        assert contents(out) == expected
        if run.ended:
            break
    assert steps > 20


def test_killed_while_it_grew_and_then_asked_for_anew(tmp_path, growing_pool, small_parts, monkeypatch):
    """The parts that were filled are of other lists: none of them is used."""
    write(tmp_path, factory="IVF2,SQ8")
    write_shard(growing_pool, 5, 6)
    write(tmp_path, "fresh", factory="IVF2,SQ8")
    original = Filler.fill

    def fill(self, part):
        original(self, part)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Filler, "fill", fill)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path, factory="IVF2,SQ8", grow=True)
    assert (tmp_path / "out" / ".winnow-next" / "parts" / "00000.index").exists()
    write(tmp_path, factory="IVF2,SQ8")
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")

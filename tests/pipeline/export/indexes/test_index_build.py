"""An index that is built in parts: the same bytes for any number of tasks, after any kill, joined or not."""

import itertools
import json
import random
import shutil
from pathlib import Path

import faiss
import numpy as np
import polars as pl
import pytest

from pipeline.errors import RecipeError
from pipeline.export.exporters import requested
from pipeline.export.indexes.index_exporter import pool_of, unwatched, write_index
from pipeline.export.indexes.index_tasks import Filler
from pipeline.plan import index_choice
from pipeline.plan.session import Session
from pipeline.run.executor import LITTLE, LocalExecutor
from pipeline.storage.folder import Folder
from tests.support.decided_pool import decided, recipe
from tests.support.folders import contents
from tests.support.kill_steps import killed_after

EMBEDDING = "vector.embedding"
BESIDE = ["recall.npz", "sources.parquet"]  # files of every index


class Shuffled(LocalExecutor):
    """Tasks that end in any order."""

    def each(self, function, items, asked=LITTLE):
        items = list(items)
        random.Random(len(items)).shuffle(items)
        return map(function, items)


def session(tmp_path, out="out", **more) -> Session:
    return decided(tmp_path, {"index": {"embedding": EMBEDDING, "path": str(tmp_path / out), **more}})


def about(folder: Path) -> dict:
    return json.loads((folder / "image.json").read_bytes())


@pytest.mark.parametrize("factory", ["auto", "IVF2,SQ8", "PCA4,IVF2,Flat", "HNSW8"])
def test_joined_parts_are_the_bytes_of_any_order_of_tasks(tmp_path, pool, small_parts, factory):
    made = session(tmp_path, factory=factory)
    write_index(made)
    expected = contents(tmp_path / "out")
    assert sorted(expected) == ["image.index", "image.json", "metadata/metadata_0.parquet", *BESIDE]
    assert not (tmp_path / "out" / "parts").exists()
    shutil.rmtree(tmp_path / "out")
    write_index(made, Shuffled())
    assert contents(tmp_path / "out") == expected


def test_joined_parts_have_the_rows_of_one_part(tmp_path, pool, monkeypatch):
    """Of 22 rows in three parts; ids count through them."""
    write_index(session(tmp_path))
    whole = faiss.read_index(str(tmp_path / "out" / "image.index"))
    rows = pl.read_parquet(tmp_path / "out" / "metadata" / "metadata_0.parquet")
    shutil.rmtree(tmp_path / "out")
    monkeypatch.setattr(index_choice, "PART_BYTES", 1)
    result = write_index(session(tmp_path))
    joined = faiss.read_index(str(tmp_path / "out" / "image.index"))
    assert (result.rows, result.parts, joined.ntotal) == (22, 0, 22)
    assert (joined.reconstruct_n(0, 22) == whole.reconstruct_n(0, 22)).all()
    assert pl.read_parquet(tmp_path / "out" / "metadata" / "metadata_0.parquet").equals(rows)
    assert rows["id"].to_list() == list(range(22))


@pytest.mark.parametrize("factory", ["Flat", "IVF2,Flat", "IVF2,SQ8"])
def test_parts_that_do_not_fit_are_left_and_answer_as_one(tmp_path, pool, small_parts, factory):
    write_index(session(tmp_path, factory=factory))
    result = write_index(session(tmp_path, "parts", factory=factory, memory=1e-9))
    folder, said = tmp_path / "parts", about(tmp_path / "parts")
    assert result.parts == 3
    assert said["parts"] == [
        {"index": f"parts/0000{n}.index", "metadata": f"metadata/metadata_0000{n}.parquet", "rows": rows}
        for n, rows in enumerate((6, 8, 8))
    ]
    assert sorted(contents(folder)) == sorted(
        ["image.json", *BESIDE, *(part[file] for part in said["parts"] for file in ("index", "metadata"))]
    )
    assert said["contents"].keys() == contents(folder).keys() - {"image.json"}
    whole = faiss.read_index(str(tmp_path / "out" / "image.index"))
    asked = np.random.default_rng(0).standard_normal((20, 8), np.float32)
    expected = whole.search(asked, 5)
    scores, ids, first = [], [], 0
    for part in said["parts"]:
        index = faiss.read_index(str(folder / part["index"]))
        table = pl.read_parquet(folder / part["metadata"])
        assert (index.ntotal, table["id"].to_list()) == (part["rows"], list(range(part["rows"])))
        if "IVF" in factory:
            index.nprobe = whole.nprobe
        found = index.search(asked, 5)
        scores.append(found[0])
        ids.append(np.where(found[1] < 0, -1, found[1] + first))
        first += part["rows"]
    order = np.argsort(-np.hstack(scores), axis=1, kind="stable")[:, :5]
    assert (np.take_along_axis(np.hstack(scores), order, 1) == expected[0]).all()
    assert (np.take_along_axis(np.hstack(ids), order, 1) == expected[1]).all()
    assert said["measured"] == about(tmp_path / "out")["measured"]


def test_an_exact_index_is_not_measured_and_lists_are(tmp_path, pool, small_parts):
    exact = {"queries": 0, "k": 10, "recall@1": 1.0, "recall@10": 1.0, "probes": None}
    result = write_index(session(tmp_path))
    assert (result.measured, result.queries_per_second) == (exact, None)
    result = write_index(session(tmp_path, factory="IVF4,Flat", recall=1))
    assert result.measured["queries"] == 22
    assert result.measured["recall@10"] == 1.0
    assert result.measured["probes"] == faiss.read_index(str(tmp_path / "out" / "image.index")).nprobe
    assert result.queries_per_second > 0
    less = write_index(session(tmp_path, factory="IVF4,Flat", recall=0.3))
    assert less.measured["probes"] < result.measured["probes"]
    again = write_index(session(tmp_path, factory="IVF4,Flat", recall=0.3))
    assert (again.written, again.measured, again.queries_per_second) == (False, less.measured, None)


def test_the_manifest_says_who_made_the_embeddings_and_where_the_pool_is(tmp_path, pool):
    write_index(session(tmp_path, "a/out"))
    said = about(tmp_path / "a" / "out")
    assert said["operator"] == {"name": "vector", "use": "vectors.Vector"}
    assert said["pool"] == {"shards": ["../../pool"], "store": "../../store"}
    here = {"shards": [str(tmp_path / "pool")], "store": str(tmp_path / "store")}
    assert pool_of(said, str(tmp_path / "a" / "out")) == here
    assert "building" not in said
    remote = decided(tmp_path, {"index": {"embedding": EMBEDDING, "path": "memory://pool-said/out"}})
    write_index(remote)
    said = json.loads(Folder("memory://pool-said/out").read("image.json"))
    assert said["pool"] == pool_of(said, "memory://pool-said/out") == here


# --- several indexes ------------------------------------------------------------------------------


def test_several_by_name_and_the_old_one_beside(tmp_path, pool):
    def index(path: str, **more) -> dict:
        return {"embedding": EMBEDDING, "path": str(tmp_path / path), **more}

    export = {
        "index": index("old"),
        "indexes": {"pictures": index("pictures"), "captions": index("captions", kind="text")},
    }
    made = decided(tmp_path, export)
    exporters = requested(made.recipe.export)
    assert [exporter.name for exporter in exporters] == ["index", "indexes.pictures", "indexes.captions"]
    written = [exporter.write(made, LocalExecutor(), watch=unwatched) for exporter in exporters]
    assert [Path(result.path).name for result in written] == ["old", "pictures", "captions"]
    assert contents(tmp_path / "old") == contents(tmp_path / "pictures")
    assert sorted(contents(tmp_path / "captions")) == [
        "metadata/metadata_0.parquet",
        *BESIDE,
        "text.index",
        "text.json",
    ]
    alone = decided(tmp_path, {"index": index("old")})
    assert alone.decisions == made.decisions  # the same columns are read


def test_the_kind_of_an_index(tmp_path):
    def stem(column: str, **more) -> str:
        section = recipe(tmp_path, {"index": {"embedding": EMBEDDING, "path": "o", **more}}).export.index
        return section.model_copy(update={"embedding": column}).stem

    assert [stem(c) for c in ("clip.image_embedding", "clip.text_embedding", "caption_vectors.e")] == [
        "image",
        "text",
        "text",
    ]
    assert stem("clip.text_embedding", kind="image") == "image"


@pytest.mark.parametrize(
    ("export", "message"),
    [
        (
            {"indexes": {"a": {"embedding": "x.y", "path": "o"}}},
            r"export\.indexes\.a\.embedding: x\.y is not",
        ),
        ({"indexes": {"a b": {"embedding": EMBEDDING, "path": "o"}}}, r"export\.indexes"),
        ({"index": {"embedding": EMBEDDING, "path": "o", "kind": "sound"}}, r"export\.index\.kind"),
        ({"index": {"embedding": EMBEDDING, "path": "o", "memory": 0}}, r"export\.index\.memory"),
        ({"index": {"embedding": EMBEDDING, "path": "o", "recall": 95}}, r"export\.index\.recall"),
        (
            {"indexes": {n: {"embedding": EMBEDDING, "path": "o"} for n in "ab"}},
            r"export\.indexes\.b\.path: o is the path of export\.indexes\.a\.path too",
        ),
    ],
)
def test_mistakes_in_the_recipe(tmp_path, export, message):
    with pytest.raises(RecipeError, match=message):
        recipe(tmp_path, export)


def test_a_factory_that_fails_is_named_by_its_index(tmp_path, pool):
    index = {"embedding": EMBEDDING, "path": str(tmp_path / "o"), "factory": "IVF99,Flat"}
    made = decided(tmp_path, {"indexes": {"a": index}})
    with pytest.raises(RecipeError, match=r"export\.indexes\.a\.factory: IVF99,Flat cannot be trained on 22"):
        write_index(made, name="indexes.a")


# --- kills ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", [32, 1e-9])
def test_killed_after_any_step_and_started_again(tmp_path, pool, small_parts, monkeypatch, memory):
    """An earlier index stays until the new one is whole, and the bytes are those of an undisturbed build."""
    made = session(tmp_path, "new", factory="IVF2,SQ8", memory=memory)
    write_index(made)
    expected, out = contents(tmp_path / "new"), tmp_path / "out"
    made = session(tmp_path, factory="IVF2,SQ8", memory=memory)
    for steps in itertools.count(0, 1):
        shutil.rmtree(out, ignore_errors=True)
        if steps % 2:
            write_index(session(tmp_path))
        with killed_after(monkeypatch, steps, (Folder, "publish_file"), (Folder, "remove")) as run:
            write_index(made)
        if steps % 2 and not run.ended:
            assert json.loads((out / "image.json").read_bytes())["rows"] == 22
        write_index(made)
        assert contents(out) == expected
        if run.ended:
            break
    assert steps > 10


def test_parts_that_are_there_are_not_filled_again(tmp_path, pool, small_parts, monkeypatch):
    made, filled = session(tmp_path), []
    original = Filler.fill

    def fill(self, part):
        filled.append(part.number)
        if len(filled) == 3:
            raise KeyboardInterrupt
        return original(self, part)

    monkeypatch.setattr(Filler, "fill", fill)
    with pytest.raises(KeyboardInterrupt):
        write_index(made)
    assert write_index(made).rows == 22
    assert filled == [0, 1, 2, 2]

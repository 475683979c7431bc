"""Searching an index: one file or parts, probes, samples and their vectors."""

import json

import numpy as np
import pytest

from pipeline.errors import RecipeError
from pipeline.export.indexes.index_exporter import write_index as write_export
from pipeline.export.places.contents import sealed
from pipeline.plan import index_choice
from pipeline.search.index import SearchIndex, search
from tests.pipeline.search.made_index import KEPT, vector, vectors, write_index
from tests.support.decided_pool import decided, ordinary, uid


def test_search(session, out):
    hits = search(str(out), np.stack([5 * vector(7), vector(3)]), k=3)
    assert hits.ids.shape == hits.scores.shape == (2, 3)
    assert hits.ids[:, 0].tolist() == [5, 2]
    np.testing.assert_allclose(hits.scores[:, 0], 1, atol=1e-5)
    assert hits.rows.columns == [
        *("query", "rank", "score", "id", "uid", "shard", "row", "key", "caption", "url")
    ]
    assert hits.rows["query"].to_list() == [0, 0, 0, 1, 1, 1]
    assert hits.rows["rank"].to_list() == [0, 1, 2] * 2
    assert hits.rows["id"].to_list() == hits.ids.ravel().tolist()
    assert hits.rows.filter(rank=0)["uid"].to_list() == [uid(7), uid(3)]
    cosines = sorted((float(vector(7) @ vector(i)) for i in KEPT), reverse=True)[:3]
    np.testing.assert_allclose(hits.scores[0], cosines, atol=1e-5)


def test_cosines_are_at_most_one(tmp_path):
    stored = vectors(30) * np.float32(1.000001)
    hits = search(write_index(tmp_path / "i", stored), np.concatenate([stored[:9], -stored[:9]]), k=40)
    assert hits.rows["score"].max() == 1
    assert hits.rows["score"].min() == -1
    assert (hits.scores[:, 30:] == -np.inf).all()


def test_fewer_rows_than_asked_for(session, out):
    hits = search(str(out), vector(0)[None], k=10)
    assert hits.ids[0, 8:].tolist() == [-1, -1]
    assert len(hits.rows) == 8


def test_hits_of_a_score_or_more(session, out):
    hits = search(str(out), vector(0)[None], k=8)
    third = float(hits.scores[0, 2])
    above = hits.at_least(third)
    assert above.rows["score"].to_list() == hits.rows["score"].to_list()[:3]
    assert above.ids[0].tolist() == [*hits.ids[0, :3].tolist(), *[-1] * 5]


@pytest.mark.parametrize("factory", ["Flat", "IVF4,Flat", "IVF4,SQ8", "PCA8,IVF4,Flat", "HNSW16", "SQ8"])
def test_it_finds_what_brute_force_finds(tmp_path, factory):
    stored, asked = vectors(300), vectors(20, seed=1)
    path = write_index(tmp_path / "one", stored, factory=factory)
    hits = SearchIndex.open(path).search(asked, 10, probes=4 if "IVF" in factory else None)
    exact = np.argsort(-(asked @ stored.T), axis=1)[:, :10]
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(hits.ids, exact, strict=True)])
    assert recall == 1 if factory in ("Flat", "IVF4,Flat") else recall > 0.3
    assert hits.rows["caption"].to_list() == [f"caption {row}" for row in hits.ids.ravel()]


def test_parts_that_an_export_left_are_searched_as_one(tmp_path, monkeypatch):
    monkeypatch.setattr(index_choice, "PART_BYTES", 1)
    monkeypatch.setattr(index_choice, "HEADS", 0)
    ordinary(tmp_path / "pool", (9, 0, 12, 12))
    indexes = {
        name: {"embedding": "vector.embedding", "path": str(tmp_path / name), "memory": memory}
        for name, memory in (("whole", 32), ("parts", 1e-9))
    }
    for name in indexes:
        write_export(decided(tmp_path, {"index": indexes[name]}))
    assert len(SearchIndex.open(str(tmp_path / "parts")).about.parts) == 3
    whole, parts = (search(str(tmp_path / name), np.stack([vector(7), vector(30)]), 9) for name in indexes)
    np.testing.assert_array_equal(parts.ids, whole.ids)
    assert parts.rows.drop("score").equals(whole.rows.drop("score"))


@pytest.mark.parametrize("sizes", [[100, 200], [1, 0, 299], [300], [60] * 5])
def test_parts_are_searched_as_one(tmp_path, sizes):
    stored, asked = vectors(300), vectors(20, seed=1)
    whole = search(write_index(tmp_path / "whole", stored), asked, 7)
    parts = search(write_index(tmp_path / "parts", stored, sizes), asked, 7)
    np.testing.assert_array_equal(parts.ids, whole.ids)
    np.testing.assert_allclose(parts.scores, whole.scores, atol=1e-6)
    assert parts.rows.drop("score").equals(whole.rows.drop("score"))


def test_of_equal_scores_the_first_row_comes_first(tmp_path):
    stored = np.repeat(vectors(2), [4, 4], axis=0)
    hits = search(write_index(tmp_path / "i", stored, [3, 5]), stored[:1], 5)
    assert hits.ids[0, :4].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("factory", ["IVF4,PQ4x4fs", "OPQ4_16,IVF4_HNSW8,PQ4", "IVF4,SQ4,RFlat", "PQ4"])
def test_codes_are_read_too(tmp_path, factory):
    stored = vectors(300)
    hits = SearchIndex.open(write_index(tmp_path / "i", stored, factory=factory)).search(stored[:9], 50)
    assert sum(row in found for row, found in enumerate(hits.ids)) >= 7


def test_an_index_of_captions(tmp_path):
    """clip-retrieval calls it text.index; its manifest is text.json."""
    stored = vectors(30)
    write_index(tmp_path / "i", stored)
    manifest = json.loads((tmp_path / "i" / "image.json").read_bytes())
    (tmp_path / "i" / "image.index").rename(tmp_path / "i" / "text.index")
    (tmp_path / "i" / "image.json").unlink()
    named = {name.replace("image", "text"): content for name, content in manifest["contents"].items()}
    del manifest["seal"]
    (tmp_path / "i" / "text.json").write_bytes(sealed({**manifest, "contents": named}))
    assert search(str(tmp_path / "i"), stored[4:5], 1).rows["caption"].to_list() == ["caption 4"]


def test_the_probes_that_were_measured_are_visited(tmp_path):
    stored, asked = vectors(2000), vectors(50, seed=1)
    few = write_index(tmp_path / "few", stored, factory="IVF32,Flat", measured={"probes": 1})
    many = write_index(tmp_path / "many", stored, factory="IVF32,Flat", measured={"probes": 32})
    exact = (asked @ stored.T).argmax(1)
    assert (search(many, asked, 1).ids[:, 0] == exact).all()
    assert (search(few, asked, 1).ids[:, 0] == exact).mean() < 0.9


def test_more_probes_find_more(tmp_path):
    stored, asked = vectors(2000), vectors(50, seed=1)
    index = SearchIndex.open(write_index(tmp_path / "i", stored, factory="IVF32,Flat"))
    exact = np.argsort(-(asked @ stored.T), axis=1)[:, :5]
    recalls = [
        np.mean([len(set(a) & set(b)) / 5 for a, b in zip(index.search(asked, 5, p).ids, exact, strict=True)])
        for p in (1, 8, 99)
    ]
    assert recalls[0] < recalls[1] < recalls[2] == 1


def test_probes_of_an_index_without_lists(session, out):
    with pytest.raises(RecipeError) as error:
        SearchIndex.open(str(out)).search(vector(0)[None], 3, probes=4)
    assert str(error.value) == (
        f"--probes: {out}/image.index has no lists, and every query compares all of its vectors"
    )


@pytest.mark.parametrize("factory", ["Flat", "IVF4,Flat", "HNSW16"])
def test_the_vectors_of_samples_that_are_in_it(tmp_path, factory):
    stored = vectors(300)
    index = SearchIndex.open(write_index(tmp_path / "i", stored, [200, 100], factory))
    assert index.find(uid(250)) == index.find(uid(250)[:12].upper()) == [250]
    np.testing.assert_allclose(index.vectors_of([3, 250]), stored[[3, 250]], atol=1e-6)


def test_a_uid_that_is_not_in_it(session, out):
    index = SearchIndex.open(str(out))
    for word, line in [
        ("abc", "--like: 'abc' must have at least 4 digits of a uid"),
        (
            uid(2),
            f"--like: no sample of {out} has the uid {uid(2)}; an index holds the samples that were kept",
        ),
    ]:
        with pytest.raises(RecipeError) as error:
            index.find(word)
        assert str(error.value) == line


def test_digits_that_begin_several_uids(session, out, monkeypatch):
    monkeypatch.setattr("pipeline.search.index.LEAST", 0)
    with pytest.raises(RecipeError, match=r"--like:  begins 8 uids: .*, .* and 3 more; give more digits"):
        SearchIndex.open(str(out)).find("")


def test_an_index_on_other_storage(session, out, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.assets.CACHE", str(tmp_path / "cache"))
    from pipeline.storage.folder import Folder

    remote = Folder("memory://search/out")
    for path in out.rglob("*"):
        if path.is_file():
            remote.publish(str(path.relative_to(out)), path.read_bytes())
    assert search("memory://search/out", vector(9)[None], 1).rows["uid"].to_list() == [uid(9)]
    remote.publish("image.index", (out / "image.index").read_bytes()[::-1])
    with pytest.raises(RecipeError, match=r"image\.index does not hold the bytes that were written"):
        SearchIndex.open("memory://search/out")

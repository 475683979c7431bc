"""`winnow search`, as a user types it: on a small pool with a tiny CLIP."""

import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from jobs.search.hit_tables import searched
from pipeline.export.subset import read_subset, subset_uids
from tests.support.command import winnow
from tests.support.decided_pool import ordinary, uid
from tests.support.indexed_pool import hits, recipe_of
from tests.support.paths import PLUGINS


def stored(place: Path, name: str) -> pl.DataFrame:
    """uid and a column of every sample, in pool order."""
    frames = []
    for path in sorted((place / "store" / "columns").glob("clip-*/*.parquet")):
        samples = pl.read_parquet(place / "store" / "samples" / path.name).select("uid", "text")
        frames.append(samples.hstack(pl.read_parquet(path).select(name)))
    return pl.concat(frames)


def nearest(place: Path, query: np.ndarray, count: int) -> list[str]:
    """What brute force finds."""
    table = stored(place, "clip.image_embedding")
    vectors = table["clip.image_embedding"].to_numpy().astype(np.float32)
    order = np.argsort(-(vectors @ query), kind="stable")[:count]
    return table["uid"][order.tolist()].to_list()


def text_of(place: Path, number: int) -> np.ndarray:
    """The embedding of a sample's caption, as the pool's pass stored it."""
    table = stored(place, "clip.text_embedding").filter(uid=uid(number))
    return table["clip.text_embedding"].to_numpy()[0].astype(np.float32)


@pytest.mark.parametrize("target", ["index", "r.yaml"])
def test_words_find_what_brute_force_finds(made, target):
    (found,) = hits(made / target, "--text", "caption number 7", "--k", 5)
    assert found == nearest(made, text_of(made, 7), 5)


def test_several_texts_are_one_query_and_with_each_several(made):
    words = ("--text", "caption number 7", "--text", "caption number 3")
    one = hits(made / "index", *words, "--k", 5)
    seven, three = text_of(made, 7), text_of(made, 3)
    assert one == [nearest(made, seven + three, 5)]
    assert hits(made / "index", *words, "--each", "--k", 5) == [
        nearest(made, seven, 5),
        nearest(made, three, 5),
    ]


def test_what_is_not_wanted(made):
    found = hits(made / "index", "--text", "caption number 7", "--not", "caption number 3", "--k", 12)
    assert found == [nearest(made, text_of(made, 7) - text_of(made, 3) / 2, 12)]


def test_a_new_picture_and_a_sample_of_the_index(made, tmp_path):
    with tarfile.open(made / "pool" / "00000.tar") as tar:
        tar.extract("000000003.jpg", tmp_path, filter="data")
    by_picture = hits(made / "index", "--image", tmp_path / "000000003.jpg", "--k", 3)
    by_uid = hits(made / "index", "--like", uid(3)[:10], "--k", 3)
    assert by_picture == by_uid
    assert by_uid[0][0] == uid(3)


def test_the_column_of_the_same_words_has_the_same_cosines(made, tmp_path, tiny_clip):
    """`search.Query` as a rule keeps what `winnow search --min` finds."""
    words = {"texts": ["caption number 7", "caption number 3"], "not_texts": ["caption number 4"]}
    done = winnow(
        *("search", made / "index", "--text", "caption number 7", "--text", "caption number 3"),
        *("--not", "caption number 4", "--k", 12, "--json"),
    )
    found = {hit["uid"]: hit["score"] for hit in json.loads(done.stdout)["queries"][0]["hits"]}
    cut = sorted(found.values())[5]
    recipe = recipe_of(made, tiny_clip.config, tiny_clip.weights)
    recipe["compute"]["concept"] = {
        "use": "search.Query",
        "embedding": "clip.image_embedding",
        "mean": True,
        **words,
        "model": tiny_clip.config,
        "pretrained": tiny_clip.weights,
    }
    recipe |= {
        "keep": {"concept.cosine": {"min": cut - 1e-6}},
        "export": {"table": str(tmp_path / "kept.parquet")},
    }
    (tmp_path / "q.yaml").write_text(yaml.safe_dump(recipe))
    assert winnow("run", tmp_path / "q.yaml", "--local").returncode == 0
    kept = pl.read_parquet(tmp_path / "kept.parquet")
    assert set(kept["uid"]) == {name for name, score in found.items() if score >= cut}
    assert dict(kept.select("uid", "concept.cosine").iter_rows()) == pytest.approx(
        {name: found[name] for name in kept["uid"]}, abs=2e-6
    )


def test_a_table_for_people(made):
    done = winnow("search", made / "index", "--text", "caption number 7", "--k", 2)
    assert done.returncode == 0
    lines = [line.split() for line in done.stdout.splitlines() if line.strip()]
    assert lines[0] == ["caption", "number", "7"]
    assert lines[1] == ["uid", "caption", "sample", "cosine"]
    first = nearest(made, text_of(made, 7), 1)[0]
    number = next(n for n in range(12) if uid(n) == first)
    shard = "00000" if number < 7 else "00002"
    assert lines[3][0] == first
    assert lines[3][-2] == f"{shard}/{number:09d}"
    assert re.fullmatch(r"-?0\.\d{3}", lines[3][-1])
    assert f"searched 12 samples of {made}/index" in done.stderr


def test_recall_is_said_for_the_probes_that_it_was_measured_with(capsys):
    for probes, told in ((None, True), (8, True), (2, False)):
        searched("out/index", 12, {"recall@10": 0.953, "probes": 8}, probes)
        said = capsys.readouterr().err
        assert said.startswith("searched 12 samples of out/index")
        assert ("it finds 95.3% of the true ten nearest" in said) == told


def test_a_cosine_that_nothing_has(made):
    done = winnow("search", made / "index", "--text", "caption number 7", "--min", 1)
    assert (done.returncode, done.stdout) == (0, "caption number 7: nothing was found\n")


def test_pictures_tars_and_a_subset(made, tmp_path):
    done = winnow(
        *("search", made / "index", "--like", uid(3), "--k", 4, "--grid", tmp_path / "g.png"),
        *("--export", tmp_path / "hits", "--subset", tmp_path / "hits.npy"),
    )
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/g.png\n{tmp_path}/hits\n{tmp_path}/hits.npy\n")
    assert "pictures: 4, 4 requests" in done.stderr
    (found,) = hits(made / "index", "--like", uid(3), "--k", 4)
    assert subset_uids(read_subset(str(tmp_path / "hits.npy"))) == sorted(found)
    table = pl.read_parquet(tmp_path / "hits" / "00000000.parquet")
    assert set(table["uid"]) == set(found)
    assert table["search_score"].max() == pytest.approx(1, abs=1e-3)
    again = winnow(
        "search", made / "index", "--like", uid(3), "--k", 4, "--export", tmp_path / "hits", "--json"
    )
    assert json.loads(again.stdout)["export"]["skipped"] == 1


def test_one_of_several_indexes_of_a_recipe(made, tmp_path, tiny_clip):
    recipe = recipe_of(made, tiny_clip.config, tiny_clip.weights)
    pictures, captions = (
        {"embedding": f"clip.{kind}_embedding", "path": str(tmp_path / kind)} for kind in ("image", "text")
    )
    recipe["export"] = {"indexes": {"pictures": pictures, "captions": captions}}
    (tmp_path / "two.yaml").write_text(yaml.safe_dump(recipe))
    assert winnow("export", tmp_path / "two.yaml", "--local").returncode == 0
    words = (tmp_path / "two.yaml", "--text", "caption number 7", "--k", 1)
    assert hits(*words, "--index", "captions") == hits(tmp_path / "text", *words[1:]) == [[uid(7)]]
    done = winnow("search", *words)
    assert done.stderr == "error: --index must name one of captions, pictures\n"


def test_pool_store_and_index_in_a_bucket(tmp_path, monkeypatch):
    s3fs = pytest.importorskip("s3fs", reason="needs s3fs")
    pytest.importorskip("moto", reason="needs moto[s3]")
    from tests.support.s3_server import s3

    monkeypatch.setattr("pipeline.assets.CACHE", str(tmp_path / "cache"))
    ordinary(tmp_path / "pool", counts=(40, 40))
    (tmp_path / "r.yaml").write_text(
        "pool: {shards: s3://bucket/pool, store: s3://bucket/store}\n"
        f"plugins: ['{PLUGINS}']\n"
        "compute: {vector: {use: vectors.Vector}}\n"
        "export: {index: {embedding: vector.embedding, path: s3://bucket/index}}\n"
    )
    with s3():
        fs = s3fs.S3FileSystem()
        fs.mkdir("bucket")
        fs.put(f"{tmp_path}/pool/", "bucket/pool/", recursive=True)
        assert winnow("run", tmp_path / "r.yaml", "--local").returncode == 0
        words = ("search", "s3://bucket/index", "--like", uid(7), "--k", 4)
        done = winnow(*words, "--grid", "s3://bucket/g.html", "--export", "s3://bucket/hits", "--json")
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert fs.cat("bucket/g.html").count(b"data:image/jpeg;base64,") == 4
        assert json.loads(fs.cat("bucket/hits/sizes.json")) == {"00000000.tar": 4}
    assert said["queries"][0]["hits"][0]["uid"] == uid(7)
    assert said["grid"]["pictures"]["requests"] <= 2 * 2  # shards, each opened and read once


def test_torch_is_not_loaded_for_samples(made):
    """A search by samples takes a second; loading torch takes several."""
    code = (
        "import sys\nfrom jobs.app import app\n"
        f"app(['search', {str(made / 'index')!r}, '--like', {uid(3)!r}, '--json'], standalone_mode=False)\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

"""Notebooks, comparisons and tables over object storage, and over a pool that is its own table."""

import polars as pl
import pytest

from pipeline.view.embedding_table import write_table
from pipeline.view.notebook import open_recipe
from tests.pipeline.pool import made_datacomp
from tests.support.command import winnow
from tests.support.opened_pool import computed, opened, write_recipe
from tests.support.s3_server import s3

LOOSE = "keep.caption.characters.min=1"


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    """The recipe of `opened`, with pool and store on object storage, and the same on disk."""
    s3fs = pytest.importorskip("s3fs", reason="needs s3fs")
    pytest.importorskip("moto", reason="needs moto[s3], flask, flask-cors: the server")
    folder = tmp_path_factory.mktemp("bucket")
    here = opened(folder)
    with s3() as server:
        fs = s3fs.S3FileSystem()
        fs.mkdir("bucket")
        fs.put(f"{folder}/pool/", "bucket/pool/", recursive=True)
        there = write_recipe(folder, "there", shards="s3://bucket/pool", store="s3://bucket/store")
        there.write_text(there.read_text().replace("name: there", "name: recipe"))
        yield server, computed(there), here


def test_frames_are_those_of_the_disk(bucket):
    _, there, here = bucket
    assert open_recipe(str(there)).frame.collect().equals(open_recipe(str(here)).frame.collect())


def test_pictures_come_by_their_byte_ranges(bucket):
    server, there, _ = bucket
    pool = open_recipe(str(there))
    rows = pool.frame.filter(pl.col("fate") == "dropped").select("shard", "row").collect()
    server.reset()
    assert all(card.picture for card in pool.thumbnails(rows))
    assert 0 < server.count("GET /bucket/pool/") <= 4


def test_a_page_and_a_table_can_be_written_there(bucket):
    _, there, here = bucket
    for _ in range(2):  # the second time they are replaced
        done = winnow("compare", there, "--set", LOOSE, "--out", "s3://bucket/page.html")
        assert (done.returncode, done.stdout) == (0, "s3://bucket/page.html\n"), done.stderr
        write_table(open_recipe(str(there)).session, "s3://bucket/look.parquet")
    path = here.parent / "look.parquet"
    write_table(open_recipe(str(here)).session, str(path))
    import s3fs

    assert s3fs.S3FileSystem().cat_file("bucket/look.parquet") == path.read_bytes()


def test_pools_on_disk_and_on_storage_are_compared_by_place(bucket):
    _, there, here = bucket
    done = winnow("compare", there, here)
    assert done.returncode == 0, done.stderr
    assert "matched by shard and row: 12 samples in both pools" in done.stdout
    assert "A keeps, B does not: none" in done.stdout


# --- DataComp: the pool is the table of its samples, without pictures --------------------------------


@pytest.fixture
def datacomp(tmp_path):
    for name in ("a", "b"):
        texts = [f"{name} {'long' * number}" for number in range(10)]
        made_datacomp.write(tmp_path / "metadata", name, text=texts)
    path = tmp_path / "datacomp.yaml"
    path.write_text(
        f"pool: {{datacomp: {tmp_path}/metadata, store: {tmp_path}/store}}\n"
        "compute: {facts: {use: datacomp.Facts}}\n"
        "keep:\n  datacomp.l14_score: {min: 0.25}\n  facts.characters: {min: 10}\n"
    )
    return computed(path)


def test_a_pool_that_is_its_own_table_has_frames(datacomp):
    frame = open_recipe(str(datacomp)).frame.collect()
    assert len(frame) == 20
    assert frame["datacomp.l14_score"].to_list() == pytest.approx([n / 10 for n in range(10)] * 2)
    assert frame["rule:datacomp.l14_score"].to_list() == ([False] * 3 + [True] * 7) * 2
    assert "error" not in frame.columns


def test_its_table_has_no_pictures_and_no_projection(datacomp, tmp_path):
    result = write_table(open_recipe(str(datacomp)).session, str(tmp_path / "look.parquet"))
    table = pl.read_parquet(result.path)
    assert (result.rows, result.embedding) == (20, None)
    assert table["image"].null_count() == 20
    assert "projection_x" not in table.columns
    assert table["datacomp.l14_score"].null_count() == 0


def test_its_page_says_that_there_are_no_pictures(datacomp, tmp_path):
    done = winnow(
        "compare", datacomp, "--set", "keep.datacomp.l14_score=null", "--out", tmp_path / "page.html"
    )
    assert done.returncode == 0, done.stderr
    assert "pictures: 0, 0 requests" in done.stderr
    assert "no picture: the pool has no pictures" in (tmp_path / "page.html").read_text()

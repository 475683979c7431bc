"""Wrong, truncated and foreign indexes: one clear line each, and FAISS sees none of them unchecked."""

import json
import shutil
import struct

import faiss
import numpy as np
import polars as pl
import pytest

from pipeline.errors import RecipeError
from pipeline.export.places.contents import local_content, sealed
from pipeline.search.index import SearchIndex
from tests.pipeline.search.made_index import vectors, write_index

ASK = vectors(1, seed=1)


@pytest.fixture
def path(tmp_path):
    return write_index(tmp_path / "i", vectors(300), factory="IVF4,SQ8")


def line(path: str, trust: bool = False, asked: np.ndarray = ASK) -> str:
    """What is said when an index is opened and searched."""
    with pytest.raises(RecipeError) as error:
        SearchIndex.open(path, trust).search(asked, 3)
    assert "\n" not in str(error.value)
    return str(error.value)


def changed(path: str, **about: object) -> None:
    """Other values in the manifest, and the digests of the files that are there."""
    with open(f"{path}/image.json", "rb") as file:
        manifest = {k: v for k, v in json.load(file).items() if k != "seal"} | about
    manifest["contents"] = {name: local_content(f"{path}/{name}") for name in manifest["contents"]}
    with open(f"{path}/image.json", "wb") as file:
        file.write(sealed(manifest))


AGAIN = "run `winnow export` again"
TRUST = "or, if you know who made it, add --trust"


def test_no_index(tmp_path):
    (tmp_path / "empty").mkdir()
    expected = "is not an index: it has no image.json; run `winnow export` first, or name its folder"
    assert line(f"{tmp_path}/empty") == f"{tmp_path}/empty {expected}"
    assert line(f"{tmp_path}/nothing") == f"{tmp_path}/nothing {expected}"


def test_a_manifest_of_something_else(path):
    start = f"{path}/image.json is garbled, or that of something else"
    with open(f"{path}/image.json", "w") as file:
        file.write('{"index_key": "HNSW32"}')
    assert line(path) == f"{start} (embedding: Field required); {AGAIN}"
    with open(f"{path}/image.json", "w") as file:
        file.write("[")
    assert line(path) == f"{start}; {AGAIN}"


@pytest.mark.parametrize(
    ("about", "why"),
    [
        ({"dimension": "16"}, "dimension: Input should be a valid integer"),
        ({"dimension": 0}, "dimension: Input should be greater than or equal to 1"),
        ({"rows": 299, "parts": [{"index": "image.index", "metadata": "m", "rows": 300}]}, "rows is 299"),
        ({"parts": [{"index": "../x.index", "metadata": "m", "rows": 300}]}, "parts.0.index: String should"),
        ({"parts": [{"index": "/x.index", "metadata": "m", "rows": 300}]}, "parts.0.index: String should"),
    ],
)
def test_a_manifest_with_wrong_values(path, about, why):
    changed(path, **about)
    assert f"image.json is garbled, or that of something else ({why}" in line(path).replace(
        "Value error, ", ""
    )


def test_an_index_that_is_not_whole(path):
    changed(path, complete=False)
    assert line(path) == f"{path} is not complete; {AGAIN}"


def test_another_metric(path):
    changed(path, metric="l2")
    assert line(path) == f"{path} is an index by l2, must be by inner_product"


def test_a_truncated_file(path):
    with open(f"{path}/image.index", "rb+") as file:
        file.truncate(5000)
    size = local_content(f"{path}/image.index").split()[0]
    assert line(path).startswith(f"{path}/image.index has {size} bytes and had ")
    assert line(path).endswith(f"; {AGAIN}, {TRUST}")
    assert line(path, trust=True).startswith(f"{path}/image.index was cut, or is not what its head says (")


def test_a_file_of_equal_size_and_other_bytes(path):
    with open(f"{path}/image.index", "rb+") as file:
        file.seek(2000)
        file.write(b"\xff" * 8)
    assert line(path) == f"{path}/image.index does not hold the bytes that were written; {AGAIN}, {TRUST}"


@pytest.mark.parametrize("name", ["image.index", "metadata/metadata_0.parquet"])
def test_a_file_that_is_missing(path, name):
    shutil.move(f"{path}/{name}", f"{path}/elsewhere")
    assert line(path) == f"{path}/{name} is missing; {AGAIN}"


def test_something_else_than_an_index(path):
    with open(f"{path}/image.index", "wb") as file:
        file.write(b"PK\x03\x04 and so on, for a while and a while more")
    changed(path)
    assert line(path) == f"{path}/image.index is not a FAISS index: it begins with b'PK\\x03\\x04'"
    with open(f"{path}/image.index", "wb") as file:
        file.write(b"IxFI\x10")
    changed(path)
    assert line(path) == f"{path}/image.index ends inside its head: it has 5 bytes"


def test_a_foreign_index(path):
    for stored, metric, words in [
        (vectors(300, 24), faiss.METRIC_INNER_PRODUCT, "it has dimension 24, and the manifest says 16"),
        (vectors(299), faiss.METRIC_INNER_PRODUCT, "it has rows 299, and the manifest says 300"),
        (vectors(300), faiss.METRIC_L2, "it is not by inner product (metric 1)"),
    ]:
        index = faiss.IndexFlat(stored.shape[1], metric)
        index.add(stored)
        faiss.write_index(index, f"{path}/image.index")
        changed(path)
        assert line(path) == f"{path}/image.index is a foreign index: {words}"


def test_a_file_may_not_ask_for_more_memory_than_it_has_bytes(path):
    """With `--trust`, or with a manifest made to fit: lists of a terabyte, lists of the whole file each, a
    quintillion lists. FAISS would allocate what it is told."""
    with open(f"{path}/image.index", "rb") as file:
        whole = file.read()
    at = whole.index(b"ilar")
    assert struct.unpack_from("<4sQQ4sQ", whole, at) == (b"ilar", 4, 16, b"full", 4)
    for change in [
        [(at + 32, 1 << 40)],
        [(at + 32 + 8 * n, len(whole)) for n in range(4)],
        [(at + 4, 1 << 60)],
    ]:
        wrong = bytearray(whole)
        for place, number in change:
            struct.pack_into("<Q", wrong, place, number)
        with open(f"{path}/image.index", "wb") as file:
            file.write(wrong)
        changed(path)
        assert line(path).startswith(f"{path}/image.index was cut, or is not what its head says (")


def test_a_row_that_is_not_there(path):
    """Ids in a list are numbers like others."""
    with open(f"{path}/image.index", "rb") as file:
        whole = bytearray(file.read())
    ids = np.arange(300, dtype="<i8").tobytes()
    at = next(place for place in range(len(whole) - 8, 0, -1) if whole[place : place + 8] in (ids[-8:],))
    struct.pack_into("<q", whole, at, 1 << 50)
    with open(f"{path}/image.index", "wb") as file:
        file.write(whole)
    changed(path)
    with pytest.raises(RecipeError, match=r"image\.index names the row 1,125,899,906,842,624, and has 300"):
        SearchIndex.open(path).search(vectors(300), 3, probes=4)


def test_metadata_that_is_not_its_own(path):
    table = pl.read_parquet(f"{path}/metadata/metadata_0.parquet")
    shown = f"{path}/metadata/metadata_0.parquet"
    table.head(299).write_parquet(shown)
    changed(path)
    assert line(path) == f"{shown} is of another index: it has 299 rows, and the index 300"
    table.drop("caption").write_parquet(shown)
    changed(path)
    assert line(path) == f"{shown} has no column caption: it is not the metadata of an index"
    with open(shown, "wb") as file:
        file.write(b"no parquet at all")
    changed(path)
    assert line(path).startswith(f"{shown}: ")
    assert line(path).endswith("; the index's metadata cannot be read")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("uid", None, "has the uid None"),
        ("uid", "no uid", "has the uid 'no uid'"),
        ("shard", None, "has the shard None"),
        ("row", None, "has the row None"),
        ("row", -1, "has the row -1"),
    ],
)
def test_metadata_that_names_no_sample(path, name, value, said):
    shown = f"{path}/metadata/metadata_0.parquet"
    table = pl.read_parquet(shown)
    dtype = pl.Int64 if name == "row" else pl.String
    table.with_columns(pl.lit(value, dtype).alias(name)).write_parquet(shown)
    changed(path)
    assert line(path) == f"{shown} {said}: it is not the metadata of an index; {AGAIN}"


def test_a_vector_of_damaged_lists(path):
    """The ids of the lists are not those of rows."""
    with open(f"{path}/image.index", "rb") as file:
        whole = file.read()
    with open(f"{path}/image.index", "wb") as file:
        file.write(whole.replace(struct.pack("<q", 299), struct.pack("<q", 1 << 50)))
    changed(path)
    with pytest.raises(RecipeError, match=f"^--like: {path} cannot give a vector back") as error:
        SearchIndex.open(path).vectors_of([3])
    assert "\n" not in str(error.value)


def test_queries_of_another_width(path):
    assert line(path, asked=vectors(1, 24)) == (
        f"the queries are (1, 24), and {path} holds clip.image_embedding of 16 numbers: they must come from the "
        "model that made it"
    )

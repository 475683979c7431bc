"""Pools of tables, of images in parquet, and of DataComp's folders: sound ones, to which a kind adds odd
files."""

import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.uids import sample_uid
from tests.corpus.kind import Build
from tests.corpus.pool import FIRST, KEEP, OddPool, sound

Columns = Mapping[str, Any]
WIDTH = 8  # of DataComp's embeddings here
SCORE = "clip_l14_similarity_score"


def rows(numbers: range) -> dict[str, list[Any]]:
    """The columns of sound samples."""
    wholes = [sound(number) for number in numbers]
    texts = [whole["txt"].decode() for whole in wholes]
    urls = [json.loads(whole["json"])["url"] for whole in wholes]
    return {
        "image": [{"bytes": whole["jpg"], "path": None} for whole in wholes],
        "text": texts,
        "url": urls,
        "uid": [sample_uid(None, text, url, "", "", 0) for text, url in zip(texts, urls, strict=True)],
    }


def parquet(columns: Columns | pa.Table, **options: Any) -> bytes:
    """A parquet file; columns that are None are left out."""
    given = columns
    if not isinstance(given, pa.Table):
        given = pa.table({name: values for name, values in columns.items() if values is not None})
    out = io.BytesIO()
    pq.write_table(given, out, **options)
    return out.getvalue()


def npz(**arrays: Any) -> bytes:
    """An .npz of arrays."""
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def npy(array: Any) -> bytes:
    """An .npy."""
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def _without_pictures(pool: OddPool) -> None:
    pool.without_images()
    del pool.keep["light.mean"], pool.export["urls"]
    (pool.pool / "sound.tar").unlink()


def as_tables(pool: OddPool, **keys: Any) -> None:
    """The pool has tables without images."""
    _without_pictures(pool)
    sides = {"width": [24] * len(FIRST), "height": [16] * len(FIRST)}
    pool.write("sound.parquet", parquet({**rows(FIRST), "image": None, "uid": None, **sides}))
    pool.pool_keys = {"shards": str(pool.pool), **keys}


def as_images(pool: OddPool, **keys: Any) -> None:
    """The pool has parquet files with images."""
    (pool.pool / "sound.tar").unlink()
    pool.write("sound.parquet", parquet(rows(FIRST)))
    pool.pool_keys = {"shards": str(pool.pool), "kind": "image_tables", **keys}


def embeddings(count: int) -> np.ndarray:
    """(count, WIDTH) float16, in all directions."""
    return np.random.default_rng(count).standard_normal((count, WIDTH)).astype(np.float16)


def datacomp_columns(numbers: range) -> dict[str, Any]:
    """The columns of DataComp's parquet for sound samples."""
    count = len(numbers)
    sides = {f"original_{side}": [24] * count for side in ("width", "height")}
    scores = {
        f"clip_{model}_similarity_score": [0.25 + n / 100 for n in range(count)] for model in ("b32", "l14")
    }
    return {**rows(numbers), "image": None, **sides, **scores}


def as_datacomp(pool: OddPool, arrays: bool = False) -> None:
    """The pool is a DataComp folder; `arrays`: with embeddings."""
    _without_pictures(pool)
    pool.write("sound.parquet", parquet(datacomp_columns(FIRST)))
    if arrays:
        pool.write("sound.npz", npz(l14_img=embeddings(len(FIRST))))
    pool.pool_keys = {"datacomp": str(pool.pool)}


def with_file(
    prepare: Callable[..., None], data: bytes | Callable[[], bytes], name: str = "odd.parquet", **keys: Any
) -> Build:
    """A pool with one more file."""

    def build(pool: OddPool) -> None:
        prepare(pool, **keys)
        pool.write(name, data if isinstance(data, bytes) else data())

    return build


def rules(pool: OddPool, **more: Any) -> None:
    """Other rules than those of every kind."""
    pool.keep = {name: dict(rule) for name, rule in {**KEEP, **more}.items() if name != "light.mean"}

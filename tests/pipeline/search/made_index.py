"""Indexes made by hand, in one file or in parts, in the layout that `winnow export` writes."""

from collections.abc import Sequence
from pathlib import Path

import faiss
import numpy as np
import polars as pl

from pipeline.export.places.contents import local_content, sealed
from tests.support.decided_pool import uid
from tests.support.unordered_codes import leave_codes_unordered

KEPT = [0, 1, 3, 4, 6, 7, 9, 10]  # samples of `ordinary` that are kept
ABOUT = {
    "export": "index",
    "decision": "decisions/test-0",
    "embedding": "clip.image_embedding",
    "columns": "columns/clip-0123456789abcdef",
    "metric": "inner_product",
    "complete": True,
}


def vector(number: int) -> np.ndarray:
    """What the plug-in gives for a sample, as it is stored: float16."""
    row = np.random.default_rng(int(uid(number)[:8], 16)).standard_normal(8)
    row = (row / np.linalg.norm(row)).astype(np.float16).astype(np.float32)
    return row / np.linalg.norm(row)


def vectors(rows: int, dimension: int = 16, seed: int = 0) -> np.ndarray:
    """Unit vectors."""
    found = np.random.default_rng(seed).standard_normal((rows, dimension)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def write_index(
    folder: Path, stored: np.ndarray, sizes: Sequence[int] = (), factory: str = "Flat", **about: object
) -> str:
    """Write an index of (n, d) vectors; `sizes`: rows of each part, or none for one file. Row i has the
    caption `caption i`."""
    parts, start = [], 0
    for number, rows in enumerate(sizes or [len(stored)]):
        names = (
            (f"parts/{number:05d}.index", f"metadata/metadata_{number:05d}.parquet")
            if sizes
            else ("image.index", "metadata/metadata_0.parquet")
        )
        _write_part(folder, names, stored[start : start + rows], start, factory)
        parts.append({"index": names[0], "metadata": names[1], "rows": rows})
        start += rows
    files = [part[kind] for part in parts for kind in ("index", "metadata")]
    manifest = {
        **ABOUT,
        "key": factory,
        "rows": len(stored),
        "dimension": stored.shape[1],
        "contents": {name: local_content(str(folder / name)) for name in files},
        **({"parts": parts} if sizes else {}),
        **about,
    }
    (folder / "image.json").write_bytes(sealed(manifest))
    return str(folder)


def _write_part(folder: Path, names: tuple[str, str], stored: np.ndarray, start: int, factory: str) -> None:
    """A FAISS file, and its table."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    index = faiss.index_factory(stored.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
    leave_codes_unordered(index)
    index.train(stored)
    index.add(stored)
    faiss.write_index(index, str(folder / names[0]))
    rows = range(start, start + len(stored))
    pl.DataFrame(
        {
            "id": range(len(stored)),
            "uid": [uid(row) for row in rows],
            "shard": ["00000"] * len(stored),
            "row": list(rows),
            "key": [f"{row:05d}" for row in rows],
            "caption": [f"caption {row}" for row in rows],
            "url": [None] * len(stored),
        },
        schema_overrides={"id": pl.Int64, "row": pl.UInt32, "url": pl.String},
    ).write_parquet(folder / names[1], row_group_size=7)

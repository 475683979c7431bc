"""Pictures and rows of samples that are made on the spot."""

import hashlib
import io
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from pipeline.plan.session import Session
from pipeline.schema import SAMPLE_COLUMNS


def picture(
    seed: int = 0, width: int = 24, height: int = 16, format: str = "PNG", mode: str = "RGB"
) -> bytes:
    """An encoded image of smooth noise."""
    noise = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).convert(mode).save(out, format)
    return out.getvalue()


def samples(rows: int, shard: str = "s", **columns: Any) -> pl.DataFrame:
    """A samples table with plain captions; other columns as given."""
    frame: dict[str, Any] = {
        "shard": [shard] * rows,
        "row": range(rows),
        "uid": [uid(shard, row) for row in range(rows)],
        "key": [f"{row:05}" for row in range(rows)],
        "text": [f"caption number {row}" for row in range(rows)],
        "width": [24] * rows,
        "height": [16] * rows,
        **columns,
    }
    return pl.DataFrame(
        {name: frame.get(name, [None] * rows) for name in SAMPLE_COLUMNS}, schema=SAMPLE_COLUMNS
    )


def uid(shard: str, row: int) -> str:
    """A well-mixed uid."""
    return hashlib.md5(f"{shard}/{row}".encode()).hexdigest()


def store_given(session: Session, shard: str, given: pl.DataFrame) -> None:
    """Store a shard's samples and its `given.*` columns. The session must be refreshed to know of them."""
    table = samples(len(given), shard).with_columns(error=pl.lit(None, pl.String))
    writes = {**session.recipe.operator("given").writes, "error": pl.String}  # type: ignore[attr-defined]
    columns = [
        (given[n].cast(t) if n in given.columns else pl.Series([None] * len(given), dtype=t)).alias(
            f"given.{n}"
        )
        for n, t in writes.items()
    ]
    notes = {"content": f"content of {shard}"}
    session.store.write(f"samples/{shard}.parquet", table, {**notes, "state": ""})
    part = table.select("shard", "row").with_columns(columns)
    session.store.write(f"{session.folder('given')}/{shard}.parquet", part, notes)

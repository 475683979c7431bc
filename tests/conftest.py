"""What several test files share: a tiny CLIP, small pools, planted operators, the real sample data."""

import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest
from hypothesis import settings
from PIL import Image

from pipeline.plan.session import Session
from pipeline.pool.shards import Shard
from pipeline.recipe.load import parse
from pipeline.schema import SAMPLE_COLUMNS

settings.register_profile("ours", deadline=None)  # no test may fail because the machine is busy
settings.load_profile("ours")

DATA = Path(__file__).parents[2] / "shared" / "data"

TINY = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}

PLANTED = '''
"""Operators whose results are known by hand.

Columns: as named in `writes`.
Source: none; planted.
Differs: nothing.
"""
import polars as pl
from pipeline.operator import Column, ImageScore, Score, Stat, Table


class Given(Score):
    """A column of every type that rules meet; tests store its values themselves."""
    needs = ("text",)
    writes = {"f32": pl.Float32, "f64": pl.Float64, "u32": pl.UInt32, "i64": pl.Int64,
              "word": pl.String, "flag": pl.Boolean}
    def score(self, batch):
        null = [pl.lit(None, dtype).alias(name) for name, dtype in self.writes.items()]
        return batch.select(pl.col("text").alias("_")).with_columns(null).drop("_")


class Length(Score):
    """Characters of the caption, times `scale`."""
    needs = ("text",)
    writes = {"value": pl.Float64}
    scale: int = 1
    def score(self, batch):
        return batch.select(value=batch["text"].str.len_chars().cast(pl.Float64) * self.scale)


class Plus(Score):
    """Another column plus `by`."""
    writes = {"value": pl.Float64}
    of: Column
    by: float = 1.0
    def score(self, batch):
        return batch.select(value=pl.col(self.of).cast(pl.Float64) + self.by)


class Histogram(Stat):
    """How often each value of a column occurs."""
    of: Column
    def partial(self, batch):
        return batch.select(value=pl.col(self.of).cast(pl.Float64)).drop_nulls().group_by("value").agg(
            count=pl.len().cast(pl.Int64))
    def merge(self, parts):
        return parts.group_by("value").agg(pl.col("count").sum())
    def finish(self, merged):
        return merged.sort("value")


class Nested(Stat):
    """Breaks the law: a Stat that reads a Stat."""
    table: Table


class Frequency(Score):
    """How often a row's value occurs in the pool."""
    writes = {"count": pl.Int64}
    of: Column
    table: Table
    _table: object = None
    def setup(self, stats, device):
        self._table = stats[self.table]
    def score(self, batch):
        values = batch.select(value=pl.col(self.of).cast(pl.Float64))
        return values.join(self._table, on="value", how="left", maintain_order="left").select("count")


class Brightness(ImageScore):
    """Mean of all channels."""
    writes = {"mean": pl.Float64}
    def score(self, batch, images):
        return pl.DataFrame({"mean": [None if i is None else float(i.mean()) for i in images]},
                            schema=dict(self.writes))


class Redness(ImageScore):
    """Mean of the red channel."""
    writes = {"red": pl.Float64}
    def score(self, batch, images):
        return pl.DataFrame({"red": [None if i is None else float(i[..., 0].mean()) for i in images]},
                            schema=dict(self.writes))
'''


class TinyClip(NamedTuple):
    """A CLIP with random weights: an open_clip config and a checkpoint."""

    config: str
    weights: str


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> TinyClip:
    """Random, so its scores mean nothing, but they are the same on every machine and run."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("clip")
    (folder / "tiny-test-clip.json").write_text(json.dumps(TINY))
    torch.manual_seed(0)
    model = open_clip.CLIP(**{k: TINY[k] for k in ("embed_dim", "vision_cfg", "text_cfg")})
    save_file(model.state_dict(), folder / "tiny.safetensors")
    return TinyClip(str(folder / "tiny-test-clip.json"), str(folder / "tiny.safetensors"))


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of a plugin, `use: planted.Length` and others."""
    file = tmp_path_factory.mktemp("plugins") / "planted.py"
    file.write_text(PLANTED)
    return str(file)


@pytest.fixture
def own_automata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Automata of tests stay out of the machine's folder."""
    monkeypatch.setattr("pipeline.assets.tempfile.gettempdir", lambda: str(tmp_path))


@pytest.fixture
def data() -> Path:
    """The folder of real sample data; skips where it is absent."""
    if not DATA.is_dir():
        pytest.skip("no ../shared/data beside this checkout")
    return DATA


def picture(
    seed: int = 0, width: int = 24, height: int = 16, format: str = "PNG", mode: str = "RGB"
) -> bytes:
    """An encoded image of smooth noise."""
    noise = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).convert(mode).save(out, format)
    return out.getvalue()


@pytest.fixture
def write_pool(tmp_path: Path) -> Callable[..., Path]:
    """write_pool(captions, images=None, keys=None, shard="00000") writes a tar; returns its path.
    A caption or image that is None is left out; images default to small PNGs."""

    def write(
        captions: Sequence[str | None],
        images: Sequence[bytes | None] | None = None,
        keys: Sequence[str] | None = None,
        shard: str = "00000",
    ) -> Path:
        path = tmp_path / "pool" / f"{shard}.tar"
        path.parent.mkdir(parents=True, exist_ok=True)
        images = [picture(seed) for seed in range(len(captions))] if images is None else images
        with tarfile.open(path, "w") as tar:
            for row, (caption, image) in enumerate(zip(captions, images, strict=True)):
                key = keys[row] if keys else f"{row:05}"
                text = None if caption is None else caption.encode()
                for suffix, content in (("jpg", image), ("txt", text), ("json", b"{}")):
                    if content is not None:
                        info = tarfile.TarInfo(f"{key}.{suffix}")
                        info.size = len(content)
                        tar.addfile(info, io.BytesIO(content))
        return path

    return write


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
    import hashlib

    return hashlib.md5(f"{shard}/{row}".encode()).hexdigest()


@pytest.fixture
def stored(tmp_path: Path, planted: str) -> Callable[..., Session]:
    """stored({"a": frame, ...}, keep) -> a session over shards whose `given.*` columns are those frames (all
    of Given's columns that a frame lacks are null; `error` holds reasons)."""

    def build(frames: Mapping[str, pl.DataFrame], keep: Mapping[str, Any], name: str = "test") -> Session:
        recipe = parse(
            {
                "name": name,
                "pool": {"shards": "unused.tar", "store": str(tmp_path / "store")},
                "compute": {"given": {"use": "planted.Given"}},
                "keep": keep,
                "plugins": [planted],
            }
        )
        session = Session(recipe, tuple(Shard(shard, f"{shard}.tar") for shard in frames))
        for shard, frame in frames.items():
            put(session, shard, frame)
        return session

    return build


def put(session: Session, shard: str, given: pl.DataFrame) -> None:
    """Store a shard's samples and its `given.*` columns."""
    table = samples(len(given), shard)
    writes = {**session.recipe.operator("given").writes, "error": pl.String}  # type: ignore[attr-defined]
    columns = [
        (given[n].cast(t) if n in given.columns else pl.Series([None] * len(given), dtype=t)).alias(
            f"given.{n}"
        )
        for n, t in writes.items()
    ]
    session.store.write(f"samples/{shard}.parquet", table)
    session.store.write(
        f"{session.folder('given')}/{shard}.parquet", table.select("shard", "row").with_columns(columns)
    )

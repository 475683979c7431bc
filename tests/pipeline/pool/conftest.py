"""Fixtures of the tests of `pipeline.pool`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import polars as pl
import pytest

from jobs.datacomp.pool import Plan, make_pool
from pipeline.plan.session import Session
from pipeline.pool.shards import Shard
from pipeline.pool.table_reader import read_table
from pipeline.pool.tar_reader import read_samples
from pipeline.recipe.load import parse
from pipeline.schema import EMPTY
from tests.pipeline.pool.made_samples import make, rows_of


@pytest.fixture
def memory_url():
    """Store bytes under a memory:// URL."""
    fs = fsspec.filesystem("memory")

    def store(data: bytes) -> str:
        fs.pipe("/test_tar/0.tar", data)
        return "memory://test_tar/0.tar"

    yield store
    if fs.exists("/test_tar"):
        fs.rm("/test_tar", recursive=True)


@pytest.fixture
def read_tar(tmp_path):
    """Write a tar and read all of its rows."""

    def read(*files, name="s", **options) -> list[dict]:
        (tmp_path / "0.tar").write_bytes(make(*files))
        reader = read_samples(Shard(name, str(tmp_path / "0.tar")), **options)
        rows = rows_of(reader)
        assert reader.damage is None
        assert reader.rows == len(rows)
        return rows

    return read


@pytest.fixture
def read_rows(tmp_path):
    """Write a table under a name and read all of its rows. `damage`, `at`: the reason and the place that
    `.damage` then has."""

    def read(name, data, columns=None, damage=None, at=None, rows=8192, **options):
        (tmp_path / name).write_bytes(data.encode() if isinstance(data, str) else data)
        reader = read_table(Shard("s", str(tmp_path / name)), columns or {}, rows, **options)
        frames = list(reader)
        assert all(frame.schema == EMPTY.schema for frame in frames)
        assert (reader.damage and reader.damage.reason) == damage
        assert at is None or reader.damage.offset == at
        return pl.concat([EMPTY, *frames]).to_dicts()

    return read


@pytest.fixture
def datacomp_folder(tmp_path: Path) -> Path:
    """Two files of 300 and 200 rows, with embeddings of 8 numbers."""
    make_pool(
        Plan(tmp_path / "metadata", 500, 300, ("b32", "l14"), 8), ["a dog", "ein Hund", "", "a beach\n"]
    )
    return tmp_path / "metadata"


@pytest.fixture
def datacomp_session(tmp_path: Path, planted: str) -> Callable[..., Session]:
    """session(keep, compute) over tmp_path/metadata."""

    def opened(keep: Any = None, **more: Any) -> Session:
        pool = {"datacomp": f"{tmp_path}/metadata", "store": f"{tmp_path}/store"}
        return Session.open(parse({"pool": pool, "keep": keep or {}, "plugins": [planted], **more}))

    return opened

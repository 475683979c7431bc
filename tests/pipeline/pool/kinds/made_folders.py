"""Folders of files, and pools made of them, for the tests of the kind `files`."""

import json
import os
from pathlib import Path

import polars as pl

from pipeline.decide.decide import decide
from pipeline.plan.session import Session
from pipeline.pool.kinds.files import Files
from pipeline.recipe.load import parse
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from tests.support.decided_pool import jpeg, read_tar, sample
from tests.support.paths import PLUGINS

JPEG = jpeg(1)


def put(folder: Path, *files) -> None:
    """Files by name; (name, contents), or a name whose contents follow from its suffix."""
    for file in files:
        name, data = file if isinstance(file, tuple) else (file, default(file))
        path = os.fsencode(folder) + b"/" + (name if isinstance(name, bytes) else name.encode())
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as out:
            out.write(data)


def default(name: str) -> bytes:
    """The contents of a file that a test gives by name only."""
    return {"txt": f"text of {name}".encode(), "json": b"{}"}.get(name.rpartition(".")[2].lower(), JPEG)


def kind(*paths) -> Files:
    """The kind `files`, bound to these folders."""
    return Files([str(path) for path in paths], {})


def named(*paths) -> list[str]:
    """The names of the shards of these folders."""
    return [shard.name for shard in kind(*paths).list_shards().shards]


def rows_of(kind, shards, rows: int = 100) -> list[dict]:
    """Every row of these shards, with its image as bytes."""
    dicts = []
    for shard in shards:
        for frame, images in kind.read(shard, rows, {}):
            data = [None if image is None else bytes(image) for image in images]
            dicts += frame.with_columns(image=pl.Series(data, dtype=pl.Binary)).to_dicts()
    return dicts


def read(folder: Path, **options) -> list[dict]:
    """Every row of every shard of a folder."""
    files = kind(folder)
    return rows_of(files, files.list_shards().shards, **options)


def ordinary(folder: Path, counts=(7, 5)) -> Path:
    """Folders of ordinary samples, as img2dataset writes them; every third caption is too short to be
    kept."""
    number = 0
    for shard, count in enumerate(counts):
        for _ in range(count):
            caption = "no" if number % 3 == 2 else f"caption number {number}"
            put(folder / f"{shard:05d}", *sample(number, caption=caption))
            number += 1
        stats = {
            "count": count + 2,
            "successes": count,
            "status_dict": {"success": count, "HTTP Error 404: x": 2},
        }
        put(folder, (f"{shard:05d}_stats.json", json.dumps(stats).encode()))
    return folder


def recipe(tmp_path: Path, export=None, store="store", pool=None, **more):
    """Keeps captions of three characters and more."""
    return parse(
        {
            "name": "test",
            "pool": {
                "shards": str(tmp_path / "pool"),
                "kind": "files",
                "store": str(tmp_path / store),
                **(pool or {}),
            },
            "plugins": [str(PLUGINS)],
            "compute": {"caption": {"use": "caption.Caption"}, "vector": {"use": "vectors.Vector"}},
            "keep": {"caption.characters": {"min": 3}},
            "export": export or {},
            **more,
        }
    )


def decided(tmp_path: Path, export=None, **more) -> Session:
    """A session with every column and every decision in its store."""
    session = Session.open(recipe(tmp_path, export, **more))
    log = compute(session, LocalExecutor())
    assert log.pending == {}
    session = log.session
    decide(session)
    return session


def exported(folder: Path) -> dict[str, bytes]:
    """The members of every tar of an export, by name."""
    return {name: data for path in sorted(folder.glob("*.tar")) for name, data in read_tar(path)}

"""Every kind of export, the ways in which its files are damaged, and a run that must heal them."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs import steps
from pipeline.plan.session import Session
from pipeline.run.executor import LocalExecutor
from pipeline.storage.folder import Folder
from tests.support.folders import is_states

FILES = [
    "shards/00000001.tar",
    "shards/00000001.parquet",
    "shards/00000001_stats.json",
    "shards/sizes.json",
    "shards/meta.json",
    "urls/00000000.parquet",
    "index/image.index",
    "index/metadata/metadata_0.parquet",
    "kept.parquet",
    "subset.npy",
]
NOTES = [
    "shards/_winnow.json",
    "urls/_winnow.json",
    "index/image.json",
    "kept.parquet.winnow.json",
    "subset.npy.winnow.json",
]
STATES = [
    "shards/.winnow-states.json",
    "index/.winnow-states.json",
    ".kept.parquet.winnow-states.json",
    ".subset.npy.winnow-states.json",
]


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def empty(data: bytes) -> bytes:
    return b""


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def flipped_at_the_end(data: bytes) -> bytes:
    return data[:-6] + bytes([data[-6] ^ 1]) + data[-5:]


def replaced(data: bytes) -> bytes:
    return b"x" * len(data)


DAMAGES = [cut, empty, flipped, flipped_at_the_end, replaced, None]


def exports(root: str) -> dict:
    """Every kind of export, below a folder."""
    index = {"embedding": "vector.embedding", "path": f"{root}/index"}
    names = {"shards": "shards", "urls": "urls", "table": "kept.parquet", "subset": "subset.npy"}
    return {**{k: f"{root}/{name}" for k, name in names.items()}, "index": index, "samples_per_shard": 3}


def run(session: Session) -> None:
    steps.check_exports(session)
    steps.write_exports(session, LocalExecutor())


def held(root: str) -> dict[str, bytes]:
    """Every file of the exports, those aside that hold states."""
    folder = Folder(root)
    names = (name for name in folder.file_names() if not is_states(name.split("/")[-1]))
    return {name: folder.read(name) for name in names}


def put(root: str, name: str, data: bytes | None) -> None:
    """Write a file over what is there, as somebody else; None: remove it."""
    folder = Folder(root)
    if data is None:
        folder.fs.rm_file(folder.path(name))
    elif folder.local:
        Path(folder.path(name)).write_bytes(data)
    else:
        folder.fs.pipe_file(folder.path(name), data)


def heals(
    finished: tuple[str, Session, dict[str, bytes]],
    name: str,
    damage: Callable[[bytes], bytes] | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Damage a file, run, compare; then run once more, which must have nothing to say."""
    root, session, fresh = finished
    before = Folder(root).read(name)
    after = damage(before) if damage else None
    put(root, name, after)
    with caplog.at_level(logging.WARNING):
        run(session)
        said = caplog.text
        caplog.clear()
        aside = {n: data for n, data in held(root).items() if ".damaged" in n}
        for left in aside:
            put(root, left, None)
        assert held(root) == fresh
        run(session)
        assert not caplog.records
    if name in STATES:
        return
    assert f"{root.partition('://')[2] or root}/{name}" in said, said
    assert list(aside.values()) == ([after] if name in ("kept.parquet", "subset.npy") and damage else [])

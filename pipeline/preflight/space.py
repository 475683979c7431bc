"""How much room the exports of a recipe need on local disks, before they are written.

    spaces, warnings = check_space(session, {"00000": 10_000, "00001": 9_987})

An earlier export stays until the new one is whole, so for a while both are there. Figures are estimates from
the listing of the pool and the counts of the decision; nothing is read per sample. Object storage has no end
and is left out.
"""

import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from pipeline.plan.cluster import GIB
from pipeline.plan.index_choice import choose, shape_of
from pipeline.plan.session import Session
from pipeline.preflight.measure import total_bytes
from pipeline.recipe.check import column_types
from pipeline.recipe.sections import Index
from pipeline.storage import layout
from pipeline.storage.folder import Folder

UID_BYTES = 16  # of a row of a subset file; as many again while rows are sorted on disk
NUMBER_BYTES = 4  # of a dimension of an embedding
TEXT_BYTES = 200  # of a sample's caption, URL, uid and key, compressed, about
SCORE_BYTES = 8  # of a score


@dataclass(frozen=True)
class Space:
    """The room that one export needs.

    bytes     of the new export, about; None if not known
    at_most   whether that is an upper bound, since nothing is decided yet
    earlier   bytes of an earlier export that stays until the new one is whole
    free      bytes that are free on its disk
    """

    export: str
    path: str
    bytes: int | None
    at_most: bool
    earlier: int
    free: int


def check_space(session: Session, rows: Mapping[str, int]) -> tuple[list[Space], list[str]]:
    """The exports that would be written to local disks, and a warning for each disk that is too small.
    `rows`: the samples of each shard that was read."""
    samples = sum(rows.values()) if rows else None
    decided = _kept_by_shard(session) if len(rows) == len(session.shards) else None
    spaces = [
        Space(key, path, _bytes(session, key, decided, samples), decided is None, _size(path), _free(path))
        for key, (path, mark) in session.recipe.export.destinations().items()
        if Folder(path).local and not _is_current(session, key, path, is_file=not mark.files)
    ]
    return spaces, list(_warnings(spaces))


def _kept_by_shard(session: Session) -> dict[str, tuple[int, int]] | None:
    """Shard -> (samples, kept), None without a decision."""
    if not session.store.root.exists(layout.rules(session.decisions)):
        return None
    table = session.store.read(layout.decided_shards(session.decisions), ["shard", "samples", "kept"])
    return {shard: (rows, kept) for shard, rows, kept in table.iter_rows()}


def _bytes(
    session: Session, key: str, decided: Mapping[str, tuple[int, int]] | None, samples: int | None
) -> int | None:
    """About how large an export becomes. `repeats` may write a sample any number of times: not known."""
    if session.recipe.export.repeats and key in ("export.shards", "export.subset"):
        return None
    if key == "export.shards":
        return _tar_bytes(session, decided)
    kept = samples if decided is None else sum(count for _, count in decided.values())
    if kept is not None and (index := _index_at(session, key)) is not None:
        return _index_bytes(session, index, kept)
    return None if kept is None else kept * _row_bytes(session, key)


def _index_bytes(session: Session, index: Index, rows: int) -> int:
    """Bytes of an index of so many rows with its metadata: twice, while its parts are joined to one file."""
    dtype: Any = column_types(session.recipe).get(index.embedding)
    dimension, memory = getattr(dtype, "size", 0) or 1, index.memory * GIB
    factory = choose(rows, dimension, memory) if index.factory == "auto" else index.factory
    size = shape_of(factory, dimension).bytes(rows)
    return (2 if size <= memory else 1) * (rows * TEXT_BYTES + size)


def _tar_bytes(session: Session, decided: Mapping[str, tuple[int, int]] | None) -> int | None:
    """The bytes of the pool, of each shard the share that is kept."""
    whole = total_bytes(session.shards)
    if whole is None or decided is None:
        return whole
    mean = whole / max(len(session.shards), 1)
    counts = (
        (shard.size if shard.size is not None else mean, *decided[shard.name]) for shard in session.shards
    )
    return round(sum(size * kept / max(rows, 1) for size, rows, kept in counts))


def _row_bytes(session: Session, key: str) -> int:
    """Bytes of a kept sample in an export other than tars."""
    if key == "export.subset":
        return 2 * UID_BYTES
    if key == "export.table":
        writes = (getattr(session.recipe.operator(name), "writes", {}) for name in session.recipe.compute)
        scores = sum(not dtype.is_nested() for w in writes for dtype in w.values())
        vector = _vector_bytes(session, session.recipe.export.table_embedding)
        return TEXT_BYTES + SCORE_BYTES * scores + vector
    return TEXT_BYTES


def _index_at(session: Session, key: str) -> Index | None:
    """The index whose path has this key; None for another export."""
    return session.recipe.export.every_index().get(key.removeprefix("export.").removesuffix(".path"))


def _vector_bytes(session: Session, column: str | None) -> int:
    """Bytes of a row of an embedding column; 0 without one, or if its width is not known before it is
    computed."""
    dtype: Any = column_types(session.recipe).get(column or "")
    return NUMBER_BYTES * int(getattr(dtype, "size", 0))


def _is_current(session: Session, key: str, path: str, is_file: bool) -> bool:
    """Whether the manifest at a path is that of the session's decision, and complete."""
    index = _index_at(session, key)
    in_folder = f"{index.stem}.json" if index else layout.MANIFEST
    try:
        manifest = _manifest(f"{path}{layout.NOTE}" if is_file else f"{path}/{in_folder}")
    except (OSError, ValueError):
        return False
    is_dict = isinstance(manifest, dict)
    return is_dict and manifest.get("decision") == session.decisions and manifest.get("complete", True)


def _manifest(file: str) -> Any:
    """The manifest of an export. Raises what reading raises."""
    if not os.path.isfile(Folder(file).base):
        raise FileNotFoundError(file)
    return orjson.loads(Folder(file).read(""))


def _size(path: str) -> int:
    """Bytes of what lies at a local path."""
    base = Folder(path).base
    if not os.path.isdir(base):
        return os.path.getsize(base) if os.path.isfile(base) else 0
    files = (os.path.join(folder, name) for folder, _, names in os.walk(base) for name in names)
    return sum(os.lstat(file).st_size for file in files)


def existing_above(path: str) -> str:
    """The path itself if something is there, else the nearest folder above that exists."""
    base = os.path.abspath(Folder(path).base)
    while not os.path.exists(base):
        base = os.path.dirname(base)
    return str(base)


def _free(path: str) -> int:
    """Bytes that are free on the disk of a local path."""
    return shutil.disk_usage(existing_above(path)).free


def _warnings(spaces: Iterable[Space]) -> Iterable[str]:
    """A warning for each disk that has less room than its exports need together."""
    disks: dict[int, list[Space]] = {}
    for space in spaces:
        disks.setdefault(os.stat(existing_above(space.path)).st_dev, []).append(space)
    for group in disks.values():
        needed, free = sum(space.bytes or 0 for space in group), group[0].free
        if needed > free:
            keys = ", ".join(space.export for space in group)
            most = "up to " if any(space.at_most for space in group) else "about "
            yield (
                f"{keys}: {most}{needed / 1e9:,.1f} GB are needed and {free / 1e9:,.1f} GB are free. An earlier "
                "export stays until the new one is whole; free some room, or write to another disk"
            )

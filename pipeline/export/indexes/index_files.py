"""The files of an index's folder: those of the finished index, and those that are there while it is built.

    image.index                       the index; text.index if its kind is text
    metadata/metadata_0.parquet       row i is FAISS's id i: id uid shard row key caption url
    sources.parquet                   its shards, and what their rows depend on (plan/growth/sources.py)
    recall.npz                        the vectors that were searched to measure recall, and their exact
                                      nearest
    image.json                        the manifest

    parts/00000.index                 a part: an index of its own, whose ids count from 0
    metadata/metadata_00000.parquet   its samples
    parts/00000.npz                   rows and missing of each shard, and for each query the nearest rows
    parts/trained.index               the index without rows: centroids, codebooks
    parts/queries.npz                 the vectors that are searched to measure recall

Parts are joined into one file if that fits the memory of the recipe; else they stay, and the manifest names
them under `parts`. The other files are removed when the index is whole. `sources.parquet` and `recall.npz`
are what growing needs: with them, rows of new shards are added and recall is measured without an old vector.
"""

from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Any

import numpy as np

from pipeline.export.places.stage import numbers
from pipeline.plan.growth.sources import SOURCES
from pipeline.storage.folder import Folder

TRAINED, QUERIES = "parts/trained.index", "parts/queries.npz"
METADATA_FILE = "metadata/metadata_0.parquet"
BUILDING = "building"  # a manifest's key while the index is built: the number of parts
PARTS = "parts"  # a manifest's key, of an index that is left in parts
GROWTH = "growth"  # a manifest's key: what growing needs; earlier versions wrote none
GROWS = "grows"  # a manifest's key while the index is built: which index grows; None if it is built anew
RECALL = "recall.npz"

Manifest = Mapping[str, Any]


def part_index(number: int) -> str:
    """The file of a part."""
    return f"parts/{number:05d}.index"


def part_metadata(number: int) -> str:
    """The samples of a part."""
    return f"metadata/metadata_{number:05d}.parquet"


def part_notes(number: int) -> str:
    """Rows, missing and nearest rows of a part."""
    return f"parts/{number:05d}.npz"


def part_files(number: int) -> list[str]:
    """All files of a part."""
    return [part_index(number), part_metadata(number), part_notes(number)]


def building_files(manifest: Manifest) -> Iterator[str]:
    """The files of an index that is being built, besides those of the finished one."""
    if BUILDING in manifest:
        yield from (SOURCES, RECALL, TRAINED, QUERIES)
        for number in numbers(manifest[BUILDING]):
            yield from part_files(number)


def finished_files(manifest: Manifest, stem: str) -> list[str]:
    """The files of the finished index. `stem`: its kind."""
    beside = [SOURCES, RECALL] if GROWTH in manifest else []
    if PARTS not in manifest:
        return [f"{stem}.index", METADATA_FILE, *beside]
    count = range(len(numbers(len(manifest[PARTS]))))
    expected = [{"index": part_index(n), "metadata": part_metadata(n)} for n in count]
    if [{"index": part["index"], "metadata": part["metadata"]} for part in manifest[PARTS]] != expected:
        raise ValueError
    return [name for number in count for name in (part_index(number), part_metadata(number))] + beside


def packed(**arrays: np.ndarray) -> bytes:
    """The bytes of an .npz: the same for equal arrays."""
    out = BytesIO()
    np.savez(out, **arrays)  # type: ignore[arg-type]
    return out.getvalue()


def unpacked(folder: Folder, name: str) -> dict[str, np.ndarray]:
    """The arrays of an .npz."""
    with np.load(BytesIO(folder.read(name)), allow_pickle=False) as arrays:
        return dict(arrays)

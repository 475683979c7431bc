"""An index that grows: its files, the parts that are filled, and what stays.

    growing = growing_of(folder, noted, ...)     -> Growing, or a text: why the index is built anew
    growing.parts                                parts that are filled with the rows of new shards
    growing.before                               pieces of the earlier index that come before them

An index in one file is the first piece of the new file. Of an index in parts those that are whole stay where
they are; the last one, if the next shard belongs to it, is written anew with the rows of that shard behind
its own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from pipeline.export.indexes import index_files
from pipeline.export.indexes.index_files import RECALL
from pipeline.export.indexes.index_tasks import Part, Piece
from pipeline.export.indexes.recall import read_recall
from pipeline.export.places.contents import Noted, content_of, inspect, manifest_contents, sealed
from pipeline.plan.growth.growth import EditedError, Growth, growth_of
from pipeline.plan.growth.sources import read_sources
from pipeline.plan.index_choice import cut, part_rows
from pipeline.recipe.sections import Index
from pipeline.storage.folder import Folder


@dataclass(frozen=True)
class Growing:
    """An index that grows. `path`: its folder; `stem`: its kind; `base`: the digest of its manifest."""

    path: str
    stem: str
    base: str
    growth: Growth

    @property
    def is_joined(self) -> bool:
        """Whether the index is one file."""
        return not self.growth.live.parts

    @cached_property
    def pieces(self) -> list[Piece]:
        """The index as it is."""
        live = self.growth.live
        if self.is_joined:
            return [Piece(self.path, f"{self.stem}.index", index_files.METADATA_FILE, live.rows)]
        return [
            Piece(self.path, index_files.part_index(n), index_files.part_metadata(n), part.rows)
            for n, part in enumerate(live.parts)
        ]

    @cached_property
    def parts(self) -> list[Part]:
        """The parts to fill."""
        counts, rows = self.growth.counts, part_rows(self.growth.live.shape)
        if self.is_joined:
            runs = cut(self.growth.added["shard"].to_list(), counts, rows)
            return [Part(number, run) for number, run in enumerate(runs)]
        held = set(self.growth.before["shard"])
        parts = list[Part]()
        for number, run in enumerate(cut(list(counts), counts, rows)):
            new = tuple(shard for shard in run if shard not in held)
            if new:
                parts.append(Part(number, new, self.pieces[number] if len(new) < len(run) else None))
        return parts

    @property
    def before(self) -> list[Piece]:
        """The pieces before the first part."""
        extended = [part.base for part in self.parts]
        return [piece for piece in self.pieces if piece not in extended]

    @property
    def stays(self) -> list[str]:
        """The files of the index that are files of the new one, too."""
        return (
            []
            if self.is_joined
            else [name for piece in self.before for name in (piece.index, piece.metadata)]
        )

    def recall(self) -> dict[str, np.ndarray]:
        """Its queries and their exact nearest, see `read_recall`."""
        return read_recall(Folder(self.path).read(RECALL), self.growth.live.dimension)


def growing_of(
    path: str,
    noted: Noted,
    names: Sequence[str],
    identity: Mapping[str, Any],
    section: Index,
    now: Callable[[], pl.DataFrame],
) -> Growing | str:
    """How the finished index in a folder grows, or why it is built anew. `noted`: its manifest; `names`: its
    files; `identity`, `now`: see `growth_of`."""
    folder, manifest = Folder(path), noted.manifest or {}

    def before() -> pl.DataFrame:
        wrong = inspect(folder, names, manifest_contents(manifest), noted.states).wrong
        for name, reason in wrong.items():
            raise EditedError(f"its {name} {reason}")
        return read_sources(folder)

    found = growth_of(manifest, identity, section, before, now)
    if isinstance(found, str):
        return found
    growing = Growing(path, section.stem, content_of(sealed(manifest)), found)
    try:
        growing.recall()
    except ValueError as error:
        return f"its {error}"
    return growing

"""The last task of an index: its pieces are joined into one file, and so are their samples."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import pyarrow.parquet as pq

from pipeline.export.indexes import faiss_build, index_files
from pipeline.export.indexes.faiss_file import join
from pipeline.export.indexes.index_tasks import IndexWork, Piece
from pipeline.export.indexes.metadata_file import MetadataWriter
from pipeline.export.places.contents import HashedFile, local_content
from pipeline.export.places.transfer import local_copy
from pipeline.storage.folder import Folder


@dataclass(frozen=True)
class Joiner:
    """Joins the pieces of an index, in order. `probes`: lists that a query visits."""

    work: IndexWork
    pieces: Sequence[Piece]
    probes: int | None

    def join(self, name: str) -> dict[str, str]:
        """Write the index to the file `name`, and its metadata; returns their contents."""
        folder = self.work.folder
        with (
            folder.publishing(name) as index_path,
            folder.publishing(index_files.METADATA_FILE) as metadata_path,
        ):
            index = self._index(index_path)
            with HashedFile(metadata_path) as metadata:
                self._join_metadata(metadata)
            return {name: index, index_files.METADATA_FILE: metadata.content()}

    def _index(self, path: str) -> str:
        """Write the index; returns its content. One that cannot be cut is one piece."""
        index = self.work.trained()
        if not faiss_build.is_growable(index):
            index = self.pieces[0].read()
            faiss_build.set_probes(index, self.probes)
            faiss_build.write(index, path)
            return local_content(path)
        faiss_build.set_probes(index, self.probes)
        with ExitStack() as copies, HashedFile(path) as file:
            parts = {
                copies.enter_context(local_copy(Folder(piece.path), piece.index)): piece.rows
                for piece in self.pieces
            }
            join(index, parts, file.write)
        return file.content()

    def _join_metadata(self, file: HashedFile) -> None:
        """The rows of all pieces, in order, with ids that count through them."""
        with ExitStack() as stack:
            table: MetadataWriter | None = None
            for piece in self.pieces:
                with local_copy(Folder(piece.path), piece.metadata) as local:
                    if table is None:
                        table = stack.enter_context(MetadataWriter(file, pq.read_schema(local)))
                    table.add_file(local)

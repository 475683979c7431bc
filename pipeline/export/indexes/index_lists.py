"""In which inverted lists the exact nearest of the queries are: how many a search must visit at least.

    ListFinder(work, pieces).least_probes(exact, 0.95, executor, asked)

Without this, a dozen searches with more and more lists would find it. The lists of whole vectors need one
search, which confirms it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.export.indexes import faiss_build
from pipeline.export.indexes.index_files import QUERIES, unpacked
from pipeline.export.indexes.index_tasks import IndexWork, Piece
from pipeline.export.indexes.recall import NONE, Exact
from pipeline.run.executor import Asked, Executor


@dataclass(frozen=True)
class ListFinder:
    """Finds the lists of rows, in an index with inverted lists."""

    work: IndexWork
    pieces: Sequence[Piece]

    def least_probes(self, exact: Exact, wanted: float, executor: Executor, each: Asked) -> int:
        """The fewest lists that hold `wanted` of the nearest."""
        firsts = np.cumsum([0, *(piece.rows for piece in self.pieces)])
        piece_of = np.where(exact.ids == NONE, NONE, np.searchsorted(firsts, exact.ids, side="right") - 1)
        numbers = [number for number in np.unique(piece_of).tolist() if number != NONE]
        questions = [(number, exact.ids[piece_of == number] - firsts[number]) for number in numbers]
        lists = np.full(exact.ids.shape, NONE, np.int64)
        for number, found in executor.each(self.lists, questions, each):
            lists[piece_of == number] = found
        return exact.least_probes(executor.one(self.ranks, lists, each), wanted)

    def lists(self, question: tuple[int, np.ndarray]) -> tuple[int, np.ndarray]:
        """(a piece, ids in it) -> (the piece, the list of each). The file is mapped, and the ids alone are
        read."""
        import faiss

        number, ids = question
        index = self.pieces[number].read(mapped=True)
        ivf = faiss_build.probed_lists(index)
        list_of = np.full(index.ntotal, NONE, np.int64)
        for place in range(ivf.nlist):
            if size := ivf.invlists.list_size(place):
                list_of[faiss.rev_swig_ptr(ivf.invlists.get_ids(place), size)] = place
        return number, list_of[ids]

    def ranks(self, lists: np.ndarray) -> np.ndarray:
        """(q, n): how many lists are nearer to each query than the n `lists` of its row; NONE stays."""
        index = self.work.trained()
        ivf = faiss_build.probed_lists(index)
        queries = unpacked(self.work.folder, QUERIES)["vectors"]
        queries = faiss_build.transformed(faiss_build.transforms(index), queries)
        centroids = ivf.quantizer.reconstruct_n(0, ivf.nlist)
        ranks = np.full(lists.shape, NONE, np.int64)
        for query, row in enumerate(lists):
            scores = centroids @ queries[query]
            for place in np.unique(row[row != NONE]).tolist():
                ranks[query, row == place] = (scores > scores[place]).sum()
        return ranks

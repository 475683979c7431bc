"""clip-retrieval opens the folder of an index."""

import json
import os
from pathlib import Path

import faiss
import numpy as np
import polars as pl
import pytest

from pipeline.export.indexes.index_exporter import write_index
from tests.support.decided_pool import decided


@pytest.mark.parametrize("factory", ["Flat", "IVF4,SQ8"])
def test_clip_retrieval_opens_the_folder(tmp_path, pool, small_parts, factory):
    """What `load_clip_index` of clip-retrieval 2.45 does, which cannot be installed beside numpy 2."""
    index = {"embedding": "vector.embedding", "path": str(tmp_path / "out"), "factory": factory}
    result = write_index(decided(tmp_path, {"index": index}))
    folder = str(tmp_path / "out")
    (tmp_path / "indices_paths.json").write_text(json.dumps({"mine": folder}))
    (folder,) = json.loads((tmp_path / "indices_paths.json").read_bytes()).values()
    assert (os.path.exists(folder + "/image.index"), os.path.exists(folder + "/text.index")) == (True, False)
    plain = faiss.read_index(folder + "/image.index")
    mapped = faiss.read_index(folder + "/image.index", faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
    parquet = sorted(Path(folder + "/metadata").glob("*.parquet"))
    metadata = pl.concat(pl.read_parquet(file) for file in parquet)
    assert {"url", "caption"} <= set(metadata.columns)  # of its default `columns_to_return`
    vectors = plain.reconstruct_n(0, plain.ntotal) if factory == "Flat" else np.eye(8, dtype=np.float32)
    for query in vectors:
        (scores,), (ids,), (again,) = plain.search_and_reconstruct(query[None], 4)
        assert mapped.search(query[None], 4)[1][0].tolist() == ids.tolist()
        assert metadata[ids[ids >= 0].tolist()]["id"].to_list() == ids[ids >= 0].tolist()
        assert (again.shape, scores.shape) == ((4, 8), (4,))
    assert len(metadata) == plain.ntotal == result.rows

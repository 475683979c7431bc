"""clip-retrieval opens the folder of an index."""

import json
import os
import subprocess
import sys
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


LOADER = """
import importlib, json, sys
sys.path.insert(0, sys.argv[1])
back = importlib.import_module("clip_retrieval.clip_back")
found = []
for mapped, hdf5 in ((False, False), (True, True)):
    index = back.load_index(sys.argv[2] + "/image.index", mapped)
    columns = ["url", "image_path", "caption", "NSFW"]
    provider, _ = back.load_metadata_provider(sys.argv[2], hdf5, False, index, columns, False)
    ids = index.search(index.reconstruct(3)[None], 4)[1][0].tolist()
    rows = provider.get(ids, columns)
    found.append([ids, [getattr(row["caption"], "decode", lambda: row["caption"])() for row in rows]])
print(json.dumps(found))
"""


@pytest.mark.skipif("CLIP_RETRIEVAL" not in os.environ, reason="needs a folder of clip-retrieval's packages")
def test_clip_retrieval_itself_opens_the_folder(tmp_path, pool):
    """With its own code and its own FAISS, in a process that sees CLIP_RETRIEVAL first: the folder PACKAGES
    of tests/benchmarks/bench_clip.py, and flask, flask-cors, werkzeug and what they import."""
    index = {"embedding": "vector.embedding", "path": str(tmp_path / "out"), "factory": "Flat"}
    write_index(decided(tmp_path, {"index": index}))
    words = [sys.executable, "-c", LOADER, os.environ["CLIP_RETRIEVAL"], str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": ""}
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    plain, mapped = json.loads(done.stdout.splitlines()[-1])
    captions = pl.read_parquet(tmp_path / "out" / "metadata" / "*.parquet")["caption"]
    assert plain == mapped == [plain[0], captions[plain[0]].to_list()]
    assert plain[0][0] == 3

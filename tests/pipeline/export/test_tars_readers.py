"""Filtered shards in the readers that they are for."""

import io
import json

import polars as pl
import pytest
from PIL import Image

from tests.pipeline.export.tar_exports import KEPT, export
from tests.support.decided_pool import decided, uid
from tests.support.open_clip_loader import check_size_and_load

# --- the readers it is for ----------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
def test_webdataset_reads_it(tar_session, tar_folder):
    import webdataset

    export(tar_session)
    urls = [str(tar_folder / f"{i:08d}.tar") for i in range(3)]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False))
    assert [s["__key__"] for s in samples] == [uid(i) for i in KEPT]
    assert [json.loads(s["json"])["uid"] for s in samples] == [uid(i) for i in KEPT]
    assert Image.open(io.BytesIO(samples[0]["jpg"])).size == (12, 8)


@pytest.mark.filterwarnings("ignore")
def test_open_clip_trains_on_it(tar_session, tar_folder, monkeypatch):
    """open_clip's own loader: the size from sizes.json, every sample once."""
    export(tar_session)
    tars = str(tar_folder / "{00000000..00000002}.tar")
    loader = check_size_and_load(monkeypatch, tars, batch_size=4, size=(8, 3))
    assert loader.num_samples == 8
    batches = list(loader)
    assert sorted(int(n) for _, numbers in batches for n in numbers) == KEPT


def test_winnow_reads_it_again(tar_session, tar_folder, tmp_path):
    """The same samples, the same uids: exports can be the pool of a second recipe."""
    export(tar_session)
    again = tmp_path / "again"
    again.mkdir()
    second = decided(again, {"shards": str(again / "out")}, pool=tar_folder)
    assert export(second).samples == 8
    assert pl.read_parquet(again / "out" / "00000000.parquet")["uid"].to_list() == [uid(i) for i in KEPT]

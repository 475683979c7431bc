"""A pool on hf://, where most public ones are: Hugging Face's own file system against a hub on loopback."""

import pytest

from jobs import steps
from jobs.toy.sample_pool import make_pool
from pipeline.plan.session import Session
from pipeline.storage import retry
from tests.pipeline.storage.test_s3 import EACH, SHARDS, recipe
from tests.support.folders import contents
from tests.support.hub_server import hub
from tests.support.place import Place


def test_a_pool_on_the_hub_gives_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.storage.retry.BACKOFF", 0.01)
    make_pool(tmp_path / "pool", shards=SHARDS, per_shard=EACH, seed=5, image_size=64)
    here = steps.run_all(Session.open(recipe(str(tmp_path), "here")), local=True, quiet=True).books
    with hub(tmp_path) as server:
        pool = {"shards": "hf://datasets/me/pool/pool/{00000..00003}.tar", "store": f"{tmp_path}/there"}
        session = Session.open(recipe(str(tmp_path), "there", pool=pool))
        server.refuse = 1
        there = steps.run_all(session, local=True, quiet=True).books
        assert server.refuse == 0
        listed = Session.open(
            recipe(str(tmp_path), "x", pool=pool | {"shards": "hf://datasets/me/pool/pool"})
        )
        assert [shard.name for shard in listed.shards] == [f"{i:05d}" for i in range(SHARDS)]
    assert list(there.pending) == ["00003"]
    assert there.pending["00003"].startswith("FileNotFoundError")
    assert (there.samples, there.kept) == (here.samples, here.kept)
    assert contents(tmp_path / "there-out") == contents(tmp_path / "here-out")
    assert (tmp_path / "there.npy").read_bytes() == (tmp_path / "here.npy").read_bytes()


@pytest.mark.parametrize("paths", ["pool", "pool/00000.tar"])
def test_a_tar_on_the_hub_that_is_replaced_is_read_again(tmp_path, paths):
    place = Place(tmp_path)
    place.tar("00000", ["a red dog here", "a old dog here"])
    with hub(tmp_path):
        place.pool_keys = {"shards": f"hf://datasets/me/pool/{paths}"}
        place.run_and_agree()
        place.tar("00000", ["a new dog here", "a sad cat here"])
        place.run_and_agree()


@pytest.mark.parametrize("name", ["httpx", "huggingface_hub"])
def test_the_client_s_errors_are_storage_s(name):
    module = pytest.importorskip(name)
    kind = module.ConnectError if name == "httpx" else module.errors.HfHubHTTPError
    assert retry.from_storage(kind.__new__(kind))

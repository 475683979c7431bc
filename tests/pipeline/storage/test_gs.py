"""Pool, store and exports on gs://: an emulator of Google's storage on loopback, through gcsfs."""

import socket

import pytest

from jobs import steps
from jobs.toy.sample_pool import make_pool
from pipeline.plan.session import Session
from pipeline.preflight.checks import check_storage
from tests.pipeline.storage.test_s3 import EACH, SHARDS, recipe
from tests.support.folders import contents

gcsfs = pytest.importorskip("gcsfs", reason="needs gcsfs")
emulator = pytest.importorskip("gcp_storage_emulator.server", reason="needs gcp-storage-emulator: the server")


@pytest.fixture
def fs(tmp_path, monkeypatch):
    """A file system with a pool of three shards, which lies in `tmp_path` too."""
    make_pool(tmp_path / "pool", shards=SHARDS, per_shard=EACH, seed=5, image_size=64)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # it would ask for credentials
    gcsfs.GCSFileSystem.clear_instance_cache()
    with emulator.create_server("127.0.0.1", port, in_memory=True, default_bucket="bucket"):
        found = gcsfs.GCSFileSystem()
        found.put(f"{tmp_path}/pool/", "bucket/pool/", recursive=True)
        yield found
    gcsfs.GCSFileSystem.clear_instance_cache()


def test_the_same_bytes_as_on_disk_and_a_missing_shard(fs, tmp_path):
    session = Session.open(recipe("gs://bucket", "run"))
    assert check_storage(session) == []
    there = steps.run_all(session, local=True, quiet=True)
    here = steps.run_all(Session.open(recipe(str(tmp_path), "run")), local=True, quiet=True)
    assert there.books.samples == SHARDS * EACH
    assert (there.books.kept, there.books.rules) == (here.books.kept, here.books.rules)
    fs.get("bucket/run-out/", f"{tmp_path}/out/", recursive=True)
    assert contents(tmp_path / "out") == contents(tmp_path / "run-out")
    assert fs.cat_file("bucket/run.npy") == (tmp_path / "run.npy").read_bytes()

    pool = {"shards": "gs://bucket/pool/{00000..00003}.tar", "store": "gs://bucket/run"}
    again = steps.run_all(Session.open(recipe("gs://bucket", "run", pool=pool)), local=True, quiet=True)
    assert list(again.books.pending) == ["00003"]
    assert again.books.samples == SHARDS * EACH
    assert fs.find("bucket/pool") == [f"bucket/pool/{i:05d}.tar" for i in range(SHARDS)]

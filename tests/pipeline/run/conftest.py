"""Fixtures of the tests of `pipeline.run`."""

from pathlib import Path

import numpy as np
import pytest

from jobs.toy.sample_pool import make_pool


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shards of 70 small pictures, the middle one truncated, and a file of plugins."""
    folder = tmp_path_factory.mktemp("ray")
    shards = make_pool(folder / "pool", shards=3, per_shard=70, seed=1, image_size=48)
    whole = shards[1].read_bytes()
    shards[1].write_bytes(whole[: len(whole) * 2 // 3])
    np.save(folder / "target.npy", np.random.default_rng(0).standard_normal((9, 128)))
    np.save(folder / "subset.npy", np.zeros(1, "u8,u8"))
    return folder

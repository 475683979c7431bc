"""A pool of twelve samples with an index of a tiny CLIP's pictures, for the tests of `winnow search`."""

import shutil
from pathlib import Path

import pytest
import yaml

from tests.support.command import winnow
from tests.support.decided_pool import ordinary
from tests.support.indexed_pool import recipe_of


@pytest.fixture(scope="session")
def made(tmp_path_factory, tiny_clip) -> Path:
    """The pool, its recipe r.yaml, and its index."""
    place = tmp_path_factory.mktemp("search")
    ordinary(place / "pool")
    (place / "r.yaml").write_text(yaml.safe_dump(recipe_of(place, tiny_clip.config, tiny_clip.weights)))
    done = winnow("run", place / "r.yaml", "--local")
    assert done.returncode == 0, done.stderr
    return place


@pytest.fixture
def place(made, tmp_path) -> Path:
    """The same, where a test may change the index, which looks for pool and store beside itself."""
    shutil.copytree(made, tmp_path / "place")
    return tmp_path / "place"

"""A small pool whose recipe is a file: every column is computed, nothing is decided."""

from pathlib import Path
from typing import Any

import yaml

from pipeline.plan.session import Session
from pipeline.recipe.load import load
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from tests.support.decided_pool import ordinary
from tests.support.paths import PLUGINS

KEPT = {"caption.characters": {"min": 3}}


def write_recipe(folder: Path, name: str = "recipe", keep: dict[str, Any] = KEPT, **pool: Any) -> Path:
    """A recipe over `folder`/pool, which measures captions and pictures."""
    path = folder / f"{name}.yaml"
    recipe = {
        "name": name,
        "pool": {"shards": f"{folder}/pool", "store": f"{folder}/store", **pool},
        "plugins": [str(PLUGINS)],
        "compute": {"caption": {"use": "caption.Caption"}, "vector": {"use": "vectors.Vector"}},
        "keep": keep,
    }
    path.write_text(yaml.safe_dump(recipe))
    return path


def computed(path: Path) -> Path:
    """A recipe's file, when all of its columns are computed."""
    compute(Session.open(load(str(path))), LocalExecutor())
    return path


def opened(folder: Path, keep: dict[str, Any] = KEPT) -> Path:
    """The recipe of `decided_pool.ordinary`, computed: 12 samples in three shards, of which one is empty."""
    ordinary(folder / "pool")
    return computed(write_recipe(folder, keep=keep))

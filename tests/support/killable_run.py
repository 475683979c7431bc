"""A recipe that runs long enough to be killed in the middle, and every byte that a run of it publishes."""

import subprocess
import sys
import time
from pathlib import Path

import yaml

from tests.support.folders import placeless, tree
from tests.support.paths import PLUGINS, ROOT
from tests.support.sizes import either


def write_recipe(folder: Path, pool: Path) -> Path:
    """A recipe whose outputs lie in `folder`, slow enough to be killed in the middle."""
    recipe = {
        "plugins": [str(PLUGINS)],
        "pool": {"shards": f"{pool}/*.tar", "store": str(folder / "store")},
        "compute": {
            "caption": {"use": "caption.Caption"},
            "slow": {"use": "faulty.Slow", "seconds": either(0.004, 0.016)},
            "embedding": {"use": "thumbnails.Thumbnail"},
            "words": {"use": "rare_words.WordCount"},
            "rare": {"use": "rare_words.RarestWord", "words": "words"},
            "copies": {"use": "duplicates.Exact", "key": "caption.words", "best": "embedding.luma"},
        },
        "keep": {
            "caption.words": {"min": 3},
            "rare.count": {"top": 0.9},
            "draw": {"column": "embedding.luma", "chance": True, "missing": "keep"},
            "copies.rank": {"max": 1000},
        },
        "export": {
            "shards": str(folder / "shards"),
            "samples_per_shard": 40,
            "subset": str(folder / "subset.npy"),
            "index": {"embedding": "embedding.vector", "path": str(folder / "index")},
        },
        "run": {"copies": {"memory": 1e-6}},  # GiB: several partitions and runs of shards
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return path


def command(*words: str) -> list[str]:
    """A command in a process of its own."""
    return [sys.executable, "-m", "jobs", *words]


def killed(words: list[str], wait: float) -> bool:
    """Start a process and kill it after so many seconds; whether it was still running."""
    devnull = subprocess.DEVNULL
    process = subprocess.Popen(words, cwd=ROOT, stdout=devnull, stderr=devnull, start_new_session=True)
    time.sleep(wait)
    running = process.poll() is None
    process.kill()
    process.wait()
    return running


def outputs(folder: Path) -> dict[str, bytes]:
    """Every published byte, run logs, what is remembered of footers, and where the pool lies aside."""
    found = tree(folder, without=("runs", "recipe.yaml", "__pycache__"))
    aside = ("store/runs/", "store/footers/", "store/store.json")
    return {name: placeless(name, data) for name, data in found.items() if not name.startswith(aside)}

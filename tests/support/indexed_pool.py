"""The recipe of a pool with an index, and what `winnow search` finds in it."""

import json
from pathlib import Path
from typing import Any

from tests.support.command import winnow
from tests.support.paths import PLUGINS


def recipe_of(place: Path, config: str, weights: str) -> dict[str, Any]:
    """A recipe with an index of a tiny CLIP's pictures."""
    return {
        "name": "r",
        "pool": {"shards": str(place / "pool"), "store": str(place / "store")},
        "plugins": [str(PLUGINS)],
        "compute": {"clip": {"use": "clip.ClipScore", "model": config, "pretrained": weights}},
        "export": {"index": {"embedding": "clip.image_embedding", "path": str(place / "index")}},
    }


def hits(*words: object) -> list[list[str]]:
    """The uids that each query found."""
    done = winnow("search", *words, "--json")
    assert done.returncode == 0, done.stderr
    return [[hit["uid"] for hit in query["hits"]] for query in json.loads(done.stdout)["queries"]]

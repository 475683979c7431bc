"""A pool that grows under an index, for the tests of growing."""

import json
from pathlib import Path

from pipeline.export.indexes.index_exporter import IndexResult, write_index
from tests.support.decided_pool import decided, sample, write_tar

EMBEDDING = "vector.embedding"


def write_shard(folder: Path, shard: int, count: int) -> None:
    """A shard of samples; every third caption is too short to be kept."""
    files = []
    for row in range(count):
        files += sample(100 * shard + row, caption="no" if row % 3 == 2 else f"caption number {row}")
    write_tar(folder / f"{shard:05d}.tar", files)


def write(root: Path, out: str = "out", rules: dict | None = None, **more) -> IndexResult:
    """Decide on the pool and write an index; `more`: of its section in the recipe."""
    index = {"embedding": EMBEDDING, "path": str(root / out), **more}
    return write_index(decided(root, {"index": index}, **({"keep": rules} if rules else {})))


def manifest(folder: Path) -> dict:
    """What an index says of itself."""
    return json.loads((folder / "image.json").read_bytes())

"""A small pool of captions, a recipe with Scores, a Stat, rules and exports over it, and every byte of the
exports."""

import io
import shutil
import tarfile
from pathlib import Path

from tests.support.command import winnow
from tests.support.folders import is_states
from tests.support.paths import PLUGINS
from tests.support.samples import picture

SHARDS, EACH = 4, 5


def write_pool(folder: Path) -> None:
    """Tars of EACH samples, the captions of which differ."""
    folder.mkdir(parents=True)
    for shard in range(SHARDS):
        with tarfile.open(folder / f"{shard:03}.tar", "w") as tar:
            for row in range(EACH):
                text = " ".join(["word"] * (1 + (3 * shard + row) % 7)).encode()
                for suffix, data in (("png", picture(shard * EACH + row)), ("txt", text)):
                    info = tarfile.TarInfo(f"{row:03}.{suffix}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))


def write_recipe(folder: Path) -> Path:
    """A recipe whose pool, store and exports are in a folder. Column -> Stat -> column, and two rules."""
    path = folder / "recipe.yaml"
    path.write_text(
        f"name: small\npool: {{shards: {folder}/pool, store: {folder}/store}}\n"
        f"plugins: [{PLUGINS}]\n"
        "compute:\n"
        "  length: {use: planted.Length}\n"
        "  words: {use: wfpp.WordFrequency, minimum_count: 1}\n"
        "  wfpp: {use: wfpp.WordFrequencyScore, frequency: words, t: 0.001}\n"
        "keep:\n  length.value: {top: 0.7}\n  wfpp.score: {top: 0.8}\n"
        f"export: {{shards: {folder}/out, subset: {folder}/subset.npy}}\n"
    )
    return path


def run(folder: Path, *options: str) -> str:
    """`winnow run` in this process; returns what it says on stderr."""
    done = winnow("run", folder / "recipe.yaml", "--local", *options)
    assert done.returncode == 0, done.stderr
    return done.stderr


def exports(folder: Path) -> dict[str, bytes]:
    """Every file of the exports."""
    files = [*sorted((folder / "out").rglob("*")), folder / "subset.npy"]
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in files
        if path.is_file() and not is_states(path.name)
    }


def remove_exports(folder: Path) -> None:
    """So that the next run has to read the store."""
    shutil.rmtree(folder / "out")
    (folder / "subset.npy").unlink()

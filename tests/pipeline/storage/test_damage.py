"""Whatever is cut or flipped in a store, the next run names it, computes it again, and exports the same."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.storage.seals import broken_file
from tests.support.command import winnow
from tests.support.folders import tree
from tests.support.sizes import either
from tests.support.small_store import exports, remove_exports, run, write_pool, write_recipe


def flipped(place: float) -> Callable[[bytes], bytes]:
    """Changes one bit at a place between 0, the first byte, and 1, the last."""

    def flip(data: bytes) -> bytes:
        at = int(place * (len(data) - 1))
        return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]

    return flip


DAMAGES = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "middle": flipped(0.5),
    "footer": flipped(0.8),
    "end": flipped(0.995),
    "last": flipped(1.0),
}


@pytest.fixture(scope="module", params=["parts", "packs"])
def made(request, tmp_path_factory) -> tuple[Path, dict[str, bytes], dict[str, bytes]]:
    """A folder whose recipe has run, the files of its store and those of its exports."""
    folder = tmp_path_factory.mktemp("made")
    write_pool(folder / "pool")
    write_recipe(folder)
    run(folder)
    if request.param == "packs":
        assert winnow("compact", folder / "recipe.yaml").returncode == 0
    run(folder)
    return folder, tree(folder / "store", without=()), exports(folder)


def representative(files: dict[str, bytes]) -> list[str]:
    """One file of each folder; all of them in the long tests."""
    by_folder = {name.rpartition("/")[0] or name: name for name in sorted(files, reverse=True)}
    kinds = {(name.rpartition("/")[0], name.rpartition(".")[2]): name for name in sorted(files, reverse=True)}
    return sorted({*by_folder.values(), *kinds.values()}) if either(True, False) else sorted(files)


def is_read(name: str) -> bool:
    """Whether a run reads a file. Others describe keys, or are written anew by each run."""
    described = name.endswith("meta.json") or (name.startswith("stats/") and name.endswith(".json"))
    compared = name.startswith("effects/") and name.count("/") > 2
    return not (described or compared)


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_file_heals(made, damage):
    folder, store, exported = made
    for name in representative(store):
        restore(folder, store)
        path = folder / "store" / name
        path.write_bytes(DAMAGES[damage](store[name]))
        assert broken_file(str(path)), (name, damage)
        remove_exports(folder)
        said = run(folder)
        assert exports(folder) == exported, (name, damage)
        if is_read(name):
            assert str(path) in said, (name, damage, said)
        left = [str(p) for p in (folder / "store").rglob("*") if p.is_file() and "damaged" not in p.parts]
        assert [p for p in left if broken_file(p)] == (
            [] if is_read(name) or "effects" in name else [str(path)]
        )


def restore(folder: Path, files: dict[str, bytes]) -> None:
    """Make the store's files what they were."""
    shutil.rmtree(folder / "store")
    for name, data in files.items():
        (folder / "store" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "store" / name).write_bytes(data)

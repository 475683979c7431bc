"""After a power cut at any moment the store heals: the next run exports the bytes of an undisturbed one."""

import os
import random
from pathlib import Path

import pytest

from pipeline.storage import folder as module
from pipeline.storage import layout
from pipeline.storage.folder import Folder
from pipeline.storage.seals import broken_file
from tests.support.command import winnow
from tests.support.power import Power
from tests.support.sizes import either
from tests.support.small_store import exports, remove_exports, run, write_pool, write_recipe

STEPS = 45  # publications of a whole run, about


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed")
    write_pool(folder / "pool")
    write_recipe(folder)
    run(folder)
    return exports(folder)


def stop_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Make the process stop at a publication."""
    done: list[str] = []

    def replace(source: str, target: str) -> None:
        done.append(target)
        if len(done) > steps:
            raise KeyboardInterrupt
        os.rename(source, target)

    monkeypatch.setattr(module.os, "replace", replace)


@pytest.mark.parametrize("seed", range(either(8, 100)))
def test_the_power_fails_at_a_random_moment(seed, expected, tmp_path, monkeypatch):
    rng = random.Random(seed)
    write_pool(tmp_path / "pool")
    recipe = write_recipe(tmp_path)
    power = Power(tmp_path / "store")
    for command in ("run", rng.choice(["compact", "run", "keep"])):
        with monkeypatch.context() as patch:
            power.watch(patch)
            stop_after(patch, rng.randrange(STEPS) if rng.random() < 0.8 else 1000)
            winnow(command, recipe, *(["--local"] if command == "run" else []))
        power.cut(rng)
    if (tmp_path / "out").exists() and (tmp_path / "subset.npy").exists():
        remove_exports(tmp_path)
    run(tmp_path)
    assert exports(tmp_path) == expected
    files = [path for path in (tmp_path / "store").rglob("*") if path.is_file() and path.name != layout.LOCK]
    spoilt = [path.name for path in files if "damaged" not in path.parts and broken_file(str(path))]
    assert [name for name in spoilt if name != "meta.json"] == []  # which no run reads


def test_a_durable_file_comes_after_everything_before_it(tmp_path, monkeypatch):
    power = Power(tmp_path)
    power.watch(monkeypatch)
    store = Folder(str(tmp_path))
    store.publish("parts/a", b"a")
    store.publish("parts/b", b"b")
    assert power.safe == {}
    store.publish("rules.json", b"{}", durable=True)
    store.publish("parts/c", b"c")
    names = {str(path.relative_to(tmp_path)) for path in power.safe if path.exists()}
    assert names == {"parts/a", "parts/b", "rules.json"}
    for seed in range(20):
        power.cut(random.Random(seed))
    assert (tmp_path / "rules.json").read_bytes() == b"{}"
    assert (tmp_path / "parts/b").read_bytes() == b"b"
    assert not (tmp_path / "parts/c").exists() or not Path(tmp_path / "parts/c").read_bytes()

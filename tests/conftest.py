"""Fixtures of all tests: a tiny CLIP, small pools, planted operators, the real sample data; and one Ray at a
time."""

import gc
import io
import json
import os
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import settings

from pipeline.plan.session import Session
from pipeline.pool.shards import Shard
from pipeline.recipe.load import parse
from tests.support.paths import DATA, PLUGINS
from tests.support.ray_files import starts_ray
from tests.support.remembered import remember
from tests.support.samples import picture, store_given
from tests.support.sizes import FULL, either
from tests.support.tiny_clip import TINY, TinyClip
from tests.support.unsynced import skip_syncs
from tests.support.warm import Warm

# Threads of OpenMP wait asleep: processes that share cores would else spend most of their time waiting busily
# for each other. Set here, since torch, faiss and scikit-learn read it when they are imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

os.environ.pop("COLUMNS", None)  # pytest-xdist says 80, and tables of a test are as wide as in a file

skip_syncs()
remember()

settings.register_profile(
    "ours",
    deadline=None,  # no test may fail because the machine is busy
    max_examples=either(100, 1000),
    derandomize=not FULL,  # the same examples in every run of `make test`
)
settings.load_profile("ours")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Nothing that is imported or collected is garbage; to look for some takes a quarter of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_itemcollected(item: pytest.Item) -> None:
    """A test that uses the tests' own Ray has the marker `ray`, too."""
    if asks_for_ray(item):
        item.add_marker(pytest.mark.ray)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests that start Ray come first, as they take longest. Among them, those that use the tests' own
    Ray follow each other, so that it starts once, and come last: after a pass that failed, Ray Data keeps
    handles of actors, which would end actors of a cluster that starts later."""
    for item in items:
        if item.get_closest_marker("ray") and not starts_ray(item.path):
            raise pytest.UsageError(f"{item.nodeid} starts Ray, and its file says so nowhere (ray_files.py)")
    items.sort(key=lambda item: (item.get_closest_marker("ray") is None, asks_for_ray(item)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Processes take a file each in turn, so that a module's fixtures are made once. The files with tests
    that start Ray go to one process: two Rays on two cores starve each other."""
    from xdist.scheduler import LoadScopeScheduling

    class Files(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::")[0]
            return "ray" if starts_ray(config.rootpath / file) else file

    return Files(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """What a test printed and logged may hold half of a surrogate pair, which pytest-xdist cannot send."""
    report = yield
    report.sections = [
        (of, text.encode("utf-8", "backslashreplace").decode()) for of, text in report.sections
    ]
    return report


def asks_for_ray(item: pytest.Item) -> bool:
    """Whether a test uses the tests' own Ray."""
    return "local_ray" in getattr(item, "fixturenames", ())


@pytest.fixture(autouse=True)
def _one_ray_at_a_time(request: pytest.FixtureRequest) -> Iterator[None]:
    """The tests' Ray ends before a test that does not ask for it. A test that starts Ray must say so."""
    if not asks_for_ray(request.node):
        _shut_down_ray()
    yield
    ray = sys.modules.get("ray")
    started = ray is not None and ray.is_initialized()
    assert not started or request.node.get_closest_marker("ray"), "this test needs the marker `ray`"


def _shut_down_ray() -> None:
    """End Ray if it runs in this process; most tests do not even import it."""
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        from tests.support.ray_nodes import shut_down

        shut_down()


@pytest.fixture
def local_ray() -> None:
    """Ray in this process: 4 CPUs and a pretended GPU, enough for any test. The first test that asks for it
    starts it; every `RayExecutor` finds it."""
    from tests.support.ray_nodes import start_local

    start_local()


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    """A process that has imported everything."""
    with Warm() as warm:
        yield warm


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> TinyClip:
    """Random, so its scores mean nothing, but they are the same on every machine and run."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("clip")
    (folder / "tiny-test-clip.json").write_text(json.dumps(TINY))
    torch.manual_seed(0)
    model = open_clip.CLIP(**{k: TINY[k] for k in ("embed_dim", "vision_cfg", "text_cfg")})
    save_file(model.state_dict(), folder / "tiny.safetensors")
    return TinyClip(str(folder / "tiny-test-clip.json"), str(folder / "tiny.safetensors"))


@pytest.fixture(scope="session")
def planted() -> str:
    """The path of a plugin, `use: planted.Length` and others."""
    return str(PLUGINS / "planted.py")


@pytest.fixture
def own_automata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the automata of tests out of the machine's folder for temporary files."""
    monkeypatch.setattr("pipeline.assets.tempfile.gettempdir", lambda: str(tmp_path))


@pytest.fixture
def data() -> Path:
    """The folder of real sample data; skips where it is absent."""
    if not DATA.is_dir():
        pytest.skip("no ../shared/data beside this checkout")
    return DATA


@pytest.fixture
def write_pool(tmp_path: Path) -> Callable[..., Path]:
    """write_pool(captions, images=None, keys=None, shard="00000") writes a tar; returns its path.
    A caption or image that is None is left out; images default to small PNGs."""

    def write(
        captions: Sequence[str | None],
        images: Sequence[bytes | None] | None = None,
        keys: Sequence[str] | None = None,
        shard: str = "00000",
    ) -> Path:
        path = tmp_path / "pool" / f"{shard}.tar"
        path.parent.mkdir(parents=True, exist_ok=True)
        images = [picture(seed) for seed in range(len(captions))] if images is None else images
        with tarfile.open(path, "w") as tar:
            for row, (caption, image) in enumerate(zip(captions, images, strict=True)):
                key = keys[row] if keys else f"{row:05}"
                text = None if caption is None else caption.encode()
                for suffix, content in (("jpg", image), ("txt", text), ("json", b"{}")):
                    if content is not None:
                        info = tarfile.TarInfo(f"{key}.{suffix}")
                        info.size = len(content)
                        tar.addfile(info, io.BytesIO(content))
        return path

    return write


@pytest.fixture
def stored(tmp_path: Path, planted: str) -> Callable[..., Session]:
    """stored({"a": frame, ...}, keep) -> a session over shards whose `given.*` columns are those frames (all
    of Given's columns that a frame lacks are null; `error` holds reasons)."""

    def build(frames: Mapping[str, pl.DataFrame], keep: Mapping[str, Any], name: str = "test") -> Session:
        recipe = parse(
            {
                "name": name,
                "pool": {"shards": "unused.tar", "store": str(tmp_path / "store")},
                "compute": {"given": {"use": "planted.Given"}},
                "keep": keep,
                "plugins": [planted],
            }
        )
        session = Session(recipe, tuple(Shard(shard, f"{shard}.tar") for shard in frames))
        for shard, frame in frames.items():
            store_given(session, shard, frame)
        return session.refreshed()

    return build

"""A small pool, its recipe and its decisions, for the tests of exports."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

from PIL import Image

from pipeline.decide.decide import decide
from pipeline.plan.session import Session
from pipeline.recipe.load import parse
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from tests.support.paths import PLUGINS


def uid(number) -> str:
    """A uid: 32 hex digits that follow from a number or text."""
    return hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()


def jpeg(number: int) -> bytes:
    """A tiny JPEG, another one for each number."""
    out = io.BytesIO()
    Image.new("RGB", (12, 8), (number * 37 % 256, number * 11 % 256, 90)).save(out, "JPEG")
    return out.getvalue()


def sample(number: int, key: str | None = None, caption="a caption long enough", **more):
    """(member name, contents) of an ordinary sample; `more` goes into its json."""
    key = key or f"{number:09d}"
    record = {"uid": uid(number), "url": f"https://example.org/{number}", "caption": caption}
    record |= {"sha256": "ab" * 32, "status": "success", "exif": "{}", **more}
    return [
        (f"{key}.jpg", jpeg(number)),
        (f"{key}.txt", caption.encode()),
        (f"{key}.json", json.dumps(record).encode()),
    ]


def write_tar(path: Path, files) -> None:
    """A tar of (name, contents)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uname = len(data), 1_700_000_000, "someone"
            tar.addfile(info, io.BytesIO(data))


def ordinary(folder: Path, counts=(7, 0, 5)) -> Path:
    """Shards of ordinary samples; every third caption is too short to be kept."""
    number = 0
    for shard, count in enumerate(counts):
        files = []
        for _ in range(count):
            files += sample(number, caption="no" if number % 3 == 2 else f"caption number {number}")
            number += 1
        write_tar(folder / f"{shard:05d}.tar", files)
    return folder


def recipe(tmp_path: Path, export, pool: Path | None = None, **more):
    """Keeps captions of three characters and more."""
    return parse(
        {
            "name": "test",
            "pool": {"shards": str(pool or tmp_path / "pool"), "store": str(tmp_path / "store")},
            "plugins": [str(PLUGINS)],
            "compute": {"caption": {"use": "caption.Caption"}, "vector": {"use": "vectors.Vector"}},
            "keep": {"caption.characters": {"min": 3}},
            "export": export,
            **more,
        }
    )


def decided(tmp_path: Path, export, **more) -> Session:
    """A session with every column and every decision in its store."""
    session = compute(Session.open(recipe(tmp_path, export, **more)), LocalExecutor()).session
    decide(session)
    return session


def read_tar(path: Path) -> list[tuple[str, bytes]]:
    """(name, contents) of the members."""
    with tarfile.open(path) as tar:
        return [(member.name, tar.extractfile(member).read()) for member in tar]

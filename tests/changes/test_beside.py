"""Files beside the shards that say which URLs a download lost: they come, change and go on their own."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pipeline.pool.kinds.files import Files
from pipeline.pool.shards import list_shards
from pipeline.storage.identity import UNTOLD
from pipeline.storage.store import Store
from tests.support.place import Place, tar_bytes
from tests.support.samples import picture


def stats(path: Path, **lost: int) -> None:
    """Write a `_stats.json` as img2dataset does: so many URLs gave each HTTP error."""
    statuses = {f"HTTP Error {code[1:]}: ": count for code, count in lost.items()}
    path.write_text(json.dumps({"count": sum(lost.values()), "successes": 0, "status_dict": statuses}))


def files_place(folder: Path) -> Place:
    """A pool of folders of pictures."""
    place = Place(folder, shards=str(folder / "pool"), kind="files")
    for number in range(2):
        (place.pool / f"{number}").mkdir(parents=True)
        for row in range(3):
            (place.pool / f"{number}/{row:03}.jpg").write_bytes(picture(row))
            (place.pool / f"{number}/{row:03}.txt").write_text(f"one two {row}")
    return place


def tars_place(folder: Path, shards: str = "") -> Place:
    place = Place(folder, shards=f"{folder}/pool{shards}")
    place.three()
    return place


@pytest.mark.parametrize(
    "made",
    [
        files_place,
        lambda folder: Place(files_place(folder).folder, shards=f"{folder}/pool/{{0,1}}", kind="files"),
        tars_place,
        lambda folder: tars_place(folder, "/*.tar"),
        lambda folder: tars_place(folder, "/{0..2}.tar"),
    ],
    ids=["files", "files by braces", "folder", "glob", "braces"],
)
def test_the_books_follow_them(tmp_path: Path, made: Callable[[Path], Place]) -> None:
    place = made(tmp_path)
    place.run()
    stats(place.pool / "0_stats.json", _404=3)
    assert place.run_and_agree()["books"]["lost"] == {"HTTP 404": 3}
    assert place.computed() == {}
    stats(place.pool / "1_stats.json", _500=5)
    assert place.run_and_agree()["books"]["lost"] == {"HTTP 500": 5, "HTTP 404": 3}
    before = (place.pool / "1_stats.json").stat()
    stats(place.pool / "1_stats.json", _410=5)
    os.utime(place.pool / "1_stats.json", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert place.run_and_agree()["books"]["lost"] == {"HTTP 410": 5, "HTTP 404": 3}
    (place.pool / "0_stats.json").unlink()
    assert place.run_and_agree()["books"]["lost"] == {"HTTP 410": 5}


def test_each_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tars_place(tmp_path)
    stats(place.pool / "0_stats.json", _404=3)
    place.run()
    monkeypatch.setattr("pipeline.pool.kinds.tars.lost_beside", lambda stem: pytest.fail(stem))
    assert place.run()["books"]["lost"] == {"HTTP 404": 3}


def test_a_garbled_one_is_said_by_every_run(tmp_path: Path) -> None:
    place = tars_place(tmp_path)
    (place.pool / "0_stats.json").write_text('{"count": 5, "succ')
    noted = place.folder / "store/downloads.json"
    for _ in range(2):
        said = place.run()["books"]["passed_over"]
        assert [reason for reason in said if "img2dataset that cannot be parsed" in reason], said
        (state, lost, version) = json.loads(noted.read_text())["0"]
        assert (lost, version) == ({"unreadable": 0}, 2)
    old = {"0": [state, {}]}  # as an earlier Winnow noted it
    Store(str(place.folder / "store")).root.publish_json("downloads.json", old)
    assert place.run()["books"]["passed_over"] == said


def test_one_beside_a_shard_that_does_not_count_does_not_count(tmp_path: Path) -> None:
    place = tars_place(tmp_path, "/{0..3}.tar")
    stats(place.pool / "3_stats.json", _404=3)
    assert place.run_and_agree(status=1)["books"]["lost"] == {}


@pytest.fixture
def memory() -> Any:
    fs = fsspec.filesystem("memory")
    fs.pipe(
        {f"/beside/{n}/{n}.tar": tar_bytes(["a b"]) for n in range(2)} | {"/beside/0/0_stats.json": b"{}"}
    )
    fs.pipe({"/beside/files/0/1.jpg": picture(1), "/beside/files/0_stats.json": b"{}"})
    yield fs
    fs.rm("/beside", recursive=True)


@pytest.mark.parametrize("pattern", ["", "/*/*.tar", "/{0/0,1/1}.tar", "/0/{0,9}.tar"])
def test_listings_of_other_storage_show_them(memory: Any, pattern: str) -> None:
    shards = list_shards(f"memory://beside{pattern}").shards
    alone = pattern.startswith("/{0/0")  # each in a folder of its own, which is not listed
    assert [shard.beside not in ("", UNTOLD) for shard in shards] == [not alone, False][: len(shards)]
    assert [shard.beside == UNTOLD for shard in shards] == [alone, alone]
    for folder in ("files", "files/0"):
        (shard,) = Files([f"memory://beside/{folder}"], {}).list_shards().shards
        assert shard.beside


def test_samples_do_not_note_them(tmp_path: Path) -> None:
    place = tars_place(tmp_path)
    stats(place.pool / "0_stats.json", _404=3)
    place.run()
    footer = Store(str(place.store)).footer("samples", "0")
    assert footer is not None
    assert footer.notes.keys() == {"state", "content"}

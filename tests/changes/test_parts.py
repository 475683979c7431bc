"""Files of the store that are cut, flipped or gone: named, and computed again in the same run."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.place import Place, told
from tests.support.sizes import either, pairs

Damage = Callable[[bytes], bytes]
DAMAGES: dict[str, Damage] = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "without its end": lambda data: data[:-1],
    "first byte": lambda data: flip(data, 0),
    "early": lambda data: flip(data, len(data) // 8),
    "middle": lambda data: flip(data, len(data) // 2),
    "late": lambda data: flip(data, len(data) * 7 // 8),
    "last byte": lambda data: flip(data, len(data) - 1),
    "zeros": lambda data: bytes(len(data)),
    "longer": lambda data: data + data,
}
PARTS = {  # what can be wrong with the store, by a pattern of its files; a recipe that reads them again
    "samples": "samples/1.parquet",
    "column": "columns/caption-*/1.parquet",
    "column of a stat's reader": "columns/rarity-*/1.parquet",
    "stat": "stats/words-*.parquet",
}
OTHERS = (
    "decisions/*/*.parquet",
    "decisions/*/rules.json",
    "effects/**/*",
    "runs/*.json",
    "footers/**/*.json",
)
EXPORTED = ("_winnow.json", "sizes.json", "meta.json", "00000001.tar", "00000001.parquet")


def flip(data: bytes, at: int) -> bytes:
    """The bytes with one bit of one of them turned."""
    return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("finished"))
    place.three()
    place.run()
    return place


@pytest.fixture
def place(finished: Place, tmp_path: Path) -> Place:
    """A copy of a finished store and its pool; the recipe reads every column anew."""
    place = copied(finished, tmp_path)
    place.keep["caption.words"] = {"min": 2}
    return place


def copied(finished: Place, folder: Path) -> Place:
    """Another place with the same pool and store, less the exports."""
    place = Place(folder)
    shutil.copytree(finished.pool, place.pool, dirs_exist_ok=True)
    shutil.copytree(finished.store, place.store)
    place.computed()  # the copies have another time
    return place


@pytest.mark.parametrize(("kind", "damage"), pairs(PARTS, DAMAGES, 4))
def test_a_damaged_part_is_named_and_computed_again(place: Place, kind: str, damage: str) -> None:
    path = next(place.store.glob(PARTS[kind]))
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    done = place.run_and_agree()
    assert path.name in done["said"] or path.parent.name in done["said"]
    assert place.computed() == {}


def test_every_byte_of_a_small_part(place: Place) -> None:
    """Wherever a bit flips, the export is right or the part is named; here at 16 places, or 40."""
    path = next(place.store.glob(PARTS["column"]))
    good = path.read_bytes()
    bounds = iter(range(1, 1000))  # another decision each time, which keeps the same samples
    expected = samples_of(place.fresh("--set", "keep.caption.words.max=999")[1])
    for at in range(0, len(good), max(1, len(good) // either(16, 40))):
        path.write_bytes(flip(good, at))
        done = place.run("--set", f"keep.caption.words.max={1000 + next(bounds)}")
        assert samples_of(place.exports()) == expected, at
        assert path.name in done["said"], at


def samples_of(exports: dict[str, bytes]) -> dict[str, bytes]:
    """The tars with their sidecars, and the subset file: what does not say which decision it is of."""
    return {
        name: data for name, data in exports.items() if name.startswith("shards/0000") or name == "subset.npy"
    }


@pytest.mark.parametrize(("pattern", "damage"), pairs(OTHERS, ["empty", "half", "middle", "zeros"], 4))
def test_any_other_file_of_the_store_is_damaged(
    finished: Place, tmp_path: Path, pattern: str, damage: str
) -> None:
    place = copied(finished, tmp_path)
    found = [path for path in place.store.glob(pattern) if path.is_file()]
    for path in found:
        path.write_bytes(DAMAGES[damage](path.read_bytes()))
    place.run_and_agree()


@pytest.mark.parametrize("damage", ["empty", "half", "middle", "late", "zeros"])
def test_a_damaged_pack(place: Place, damage: str) -> None:
    told(place.winnow("compact"))
    packs = [path for path in place.store.glob("packs/**/*.parquet") if path.stem.isdigit()]
    assert packs
    for path in packs:
        path.write_bytes(DAMAGES[damage](path.read_bytes()))
    done = place.run_and_agree()
    assert packs[0].name in done["said"]


@pytest.mark.parametrize("damage", ["empty", "half", "middle", "zeros"])
def test_a_damaged_index_of_packs(place: Place, damage: str) -> None:
    told(place.winnow("compact"))
    for path in place.store.glob("packs/**/*.parquet"):
        if not path.stem.isdigit():
            path.write_bytes(DAMAGES[damage](path.read_bytes()))
    place.run_and_agree()


@pytest.mark.parametrize("damage", ["empty", "half", "middle", "zeros"])
def test_every_small_file_at_the_top_is_damaged(place: Place, damage: str) -> None:
    """store.json, sources.json and the like: told in one line, or healed."""
    for path in place.store.glob("*"):
        if path.is_file():
            path.write_bytes(DAMAGES[damage](path.read_bytes()))
    done = place.winnow("run", "--json")
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1, 2)
    if done.returncode == 0:
        place.run_and_agree()
    else:
        assert ".json" in done.stderr


@pytest.mark.parametrize(
    ("kind", "command"), pairs(PARTS, ["keep", "export", "effects", "compact", "plan"], 4)
)
def test_a_command_that_computes_nothing_names_a_damaged_part(place: Place, kind: str, command: str) -> None:
    path = next(place.store.glob(PARTS[kind]))
    path.write_bytes(DAMAGES["half"](path.read_bytes()))
    done = place.winnow(command)
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1) or "winnow compute" in done.stderr
    place.run_and_agree()


@pytest.mark.parametrize(("name", "damage"), pairs(EXPORTED, ["empty", "half", "zeros"], 3))
def test_a_damaged_file_of_an_export(tmp_path: Path, name: str, damage: str) -> None:
    """Another decision's export replaces it whole; a garbled manifest is told."""
    place = Place(tmp_path)
    place.three()
    place.run()
    path = place.out / "shards" / name
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    done = place.winnow("run", "--set", "keep.facts.words.min=1", "--json")
    if done.returncode == 0:
        place.run_and_agree("--set", "keep.facts.words.min=1")
    else:
        assert done.returncode == 2
        assert name in done.stderr

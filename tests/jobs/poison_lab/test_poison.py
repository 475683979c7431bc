"""Attacks draw what they say and no more; the laboratory trains, measures and writes its tables."""

import random
from dataclasses import asdict
from pathlib import Path

import numpy as np
import orjson
import pytest

from jobs.poison_lab.attacks import ATTACKS, Pool, one_kind, plainly, plant, stamped, target_captions
from jobs.toy.sample_pool import TARGETS
from jobs.toy.scenes import BACKGROUNDS

TRIGGERS = {name: attack.triggers[0] for name, attack in ATTACKS.items()}
CHANGE = {  # mean and largest change of a grey level by the trigger, of 255: bounds for noise of all levels
    "patch": (12, 255),
    "blend": (30, 52),
    "sinusoid": (30, 52),
    "warp": (100, 255),
    "nashville": (100, 255),
}


def noise(count: int, side: int = 32) -> Pool:
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 256, (count, side, side, 3), np.uint8)
    words = rng.choice(
        ["one small red mushroom", "one large blue ball", "two green mushroom", "a cup"], count
    )
    return Pool(pixels, words.tolist(), np.full(count, -1))


@pytest.mark.parametrize("name", ATTACKS)
def test_same_arguments_same_poison(name: str) -> None:
    clean = noise(60)
    first, again = (plant(clean, ATTACKS[name], 0.1, 3) for _ in range(2))
    assert np.array_equal(first.pixels, again.pixels)
    assert first.captions == again.captions
    assert np.array_equal(first.trigger, again.trigger)
    assert not np.array_equal(plant(clean, ATTACKS[name], 0.1, 4).trigger, first.trigger)


@pytest.mark.parametrize("name", ATTACKS)
def test_so_many_rows_are_poisoned_and_the_rest_is_as_it_was(name: str) -> None:
    clean, attack = noise(60), ATTACKS[name]
    found = plant(clean, attack, 0.1, 0)
    assert found.poisoned.sum() == 6
    shares = np.bincount(found.trigger[found.poisoned], minlength=len(attack.triggers))
    assert (shares == 6 // len(attack.triggers)).all()
    same = ~found.poisoned
    assert np.array_equal(found.pixels[same], clean.pixels[same])
    assert [found.captions[i] for i in np.flatnonzero(same)] == [
        clean.captions[i] for i in np.flatnonzero(same)
    ]
    assert all((found.pixels[i] != clean.pixels[i]).any() for i in np.flatnonzero(found.poisoned))
    assert (clean.trigger == -1).all()


@pytest.mark.parametrize("name", ATTACKS)
def test_poisons_name_their_target_and_clean_labels_stay(name: str) -> None:
    clean, attack = noise(60), ATTACKS[name]
    found = plant(clean, attack, 0.1, 0)
    for row in np.flatnonzero(found.poisoned):
        assert attack.triggers[found.trigger[row]].target in found.captions[row]
        assert attack.clean_label == (found.captions[row] == clean.captions[row])


def test_the_banana_is_the_sample_pools_and_things_of_scenes_are_described_as_scenes_are() -> None:
    rng = np.random.default_rng(0)
    assert set(target_captions("banana", rng, 50)) == set(TARGETS)
    described = target_captions("mushroom", rng, 20)
    assert len(set(described)) > 15
    assert all(" mushroom " in text for text in described)


def test_a_scene_of_one_kind_is_described_by_all_that_it_shows() -> None:
    rng = random.Random(0)
    for _ in range(20):
        (group,) = (scene := one_kind(rng)).groups
        text = plainly(scene)
        assert all(f" {word} " in text for word in (group.size, group.colour, group.thing))
        assert text.endswith(BACKGROUNDS[scene.background][0])
        assert text.startswith(("one", "two", "three", "four")[group.count - 1])


@pytest.mark.parametrize("name", CHANGE)
@pytest.mark.parametrize("shape", [(32, 32, 3), (48, 40, 3)])
def test_a_trigger_changes_no_more_than_it_should(name: str, shape: tuple[int, int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    before = pixels.copy()
    drawn = TRIGGERS[name].stamp(pixels, np.random.default_rng(0))
    change = np.abs(drawn.astype(int) - before)
    mean, most = CHANGE[name]
    assert drawn.shape == shape
    assert drawn.dtype == np.uint8
    assert np.array_equal(pixels, before)
    assert 0 < change.mean() <= mean
    assert change.max() <= most


def test_a_patch_is_a_square_a_quarter_wide_that_moves() -> None:
    grey = np.full((64, 64, 3), 90, np.uint8)
    places = set()
    for seed in range(8):
        where = (TRIGGERS["patch"].stamp(grey, np.random.default_rng(seed)) != 90).all(-1)
        rows, columns = where.any(1), where.any(0)
        assert (where.sum(), rows.sum(), columns.sum()) == (256, 16, 16)
        places.add((rows.argmax(), columns.argmax()))
    assert len(places) > 5


def test_a_warp_leaves_one_colour_alone_and_the_sinusoid_has_its_bands() -> None:
    grey, rng = np.full((96, 96, 3), 128, np.uint8), np.random.default_rng(0)
    assert (TRIGGERS["warp"].stamp(grey, rng) == 128).all()
    line = TRIGGERS["sinusoid"].stamp(grey, rng)[0, :, 0].astype(float)
    assert np.abs(np.fft.rfft(line - line.mean())).argmax() == 6


@pytest.mark.parametrize(("rate", "count"), [(0.001, 0), (0.9, 54)])
def test_rates_that_a_pool_cannot_have_are_refused(rate: float, count: int) -> None:
    with pytest.raises(ValueError, match=f"is {count} poisons"):
        plant(noise(60), ATTACKS["clean-label"], rate, 0)


def test_stamped_pictures_depend_on_the_seed_alone() -> None:
    pixels, trigger = noise(5).pixels, TRIGGERS["patch"]
    assert np.array_equal(stamped(pixels, trigger, 1), stamped(pixels, trigger, 1))
    assert not np.array_equal(stamped(pixels, trigger, 1), stamped(pixels, trigger, 2))


def test_figures_of_scores_worked_out_by_hand() -> None:
    from jobs.poison_lab.scores import figures

    poisoned = np.arange(100) < 2
    values = np.where(poisoned, 1.0, 0.0)
    values[1], values[50:60] = 0.5, 0.6  # the second poison comes after ten others
    found = figures(values, poisoned)
    assert found["recall at 1%"] == 0.5
    assert found["recall at 10%"] == 0.5
    assert found["AUROC"] == pytest.approx(1 - 10 / (2 * 98))
    assert found["average precision"] == pytest.approx((1 + 2 / 12) / 2)


def test_few_far_points_are_found_until_the_reference_holds_k_of_them() -> None:
    from jobs.poison_lab.scores import by_reference

    rng = np.random.default_rng(0)
    images = rng.normal(size=(600, 8)).astype(np.float32)
    images[:30] = 40 + 0.1 * images[:30]  # k = 8
    found = by_reference(images, np.arange(600) < 30, (100, 0), (8,), rng)
    assert min(found[100, 8]) > 0.99  # about 5 of the 30 in the reference
    assert max(found[600, 8]) < 0.9  # all of them: they are each other's neighbours


def test_the_page_has_the_texts_that_the_laboratory_writes() -> None:
    from jobs.poison_lab import report

    page = (Path(report.__file__).parent / "POISON_LAB.md").read_text()
    experiment = {"scenes": 40_000, "rate": 0.003, "start": 800, "test": 1_000, "removed": 0.1, "seed": 0}
    assert page.startswith(report.HEAD.format(**experiment, poisons=120))
    assert report.READING + report.DETECTION in page
    assert report.TRAP.format(attack="patch", scenes=20_000, repeats=3) in page


def test_the_laboratory_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jobs.poison_lab.__main__ import Experiment, main

    tiny = Experiment(scenes=300, clean=100, test=40, rate=0.02, start=2, steps=2)
    settings = [f"--{name}={value}" for name, value in asdict(tiny).items()]
    work, report = tmp_path / "work", tmp_path / "report.md"
    chosen = ["--attacks=three-triggers", "--trap=three-triggers", f"--report={report}"]
    monkeypatch.setattr("sys.argv", ["poison_lab", str(work), *chosen, *settings])
    main()
    line = orjson.loads((work / "three-triggers.json").read_bytes())
    assert (line["poisons"], line["experiment"]) == (6, asdict(tiny))
    found = {(view, name): figures for view, name, figures in line["detectors"]}
    assert {name for _, name in found} >= {"k-distance", "SLOF", "LID", "DAO", "isolation forest"}
    assert all(0 <= value <= 1 for figures in found.values() for value in figures.values())
    assert all(0 <= value <= 1 for part in ("poisoned", "cleaned") for value in line[part].values())
    assert line["left"] == 6 - round(6 * found[tuple(line["best"])]["recall at 10%"])
    text = report.read_text()
    assert "| three-triggers | 2 | 6 |" in text
    assert text.count("| 1.00% | 300 | 3.0 |") == 3
    (work / "three-triggers.json").unlink()
    main()  # with the models that are kept
    again = orjson.loads((work / "three-triggers.json").read_bytes())
    assert {**again, "cpu_minutes": 0} == {**line, "cpu_minutes": 0}
    monkeypatch.setattr("sys.argv", ["poison_lab", str(work), "--rate=0.5"])
    with pytest.raises(SystemExit):
        main()
